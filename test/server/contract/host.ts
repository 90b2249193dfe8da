import type { ShareLimits } from "../../../src/protocol/limits.ts";

/** A running share server that a contract is held against. */
export interface Host {
	/** Its origin. It takes SERVER_KEY and OTHER_SERVER_KEY. */
	readonly url: string;
	readonly limits: ShareLimits;
	/** Every decision so far, oldest first. */
	audit(): Promise<readonly Decision[]>;
	close(): Promise<void>;
}

/** A row of the audit log: event, method, share, code. */
export type Decision = readonly [event: string, method: string, share_id: string | null, code: string | null];

export const OTHER_SERVER_KEY = "another-server-key-0123456789abcdef";
