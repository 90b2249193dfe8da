import type { Refusal } from "../protocol/codes.ts";
import { ShareRefusal } from "../protocol/refusal.ts";
import type { OpAck } from "../protocol/schema.ts";

/** What a server tells of its work while it does it: some additions for each call, and nothing that names a share. */
export interface ServerMeter {
	/** A call was decided and committed: so long in all, and of that so long in the commit, in ms. */
	called(method: string, ms: number, commitMs: number): void;
	refused(method: string, code: Refusal): void;
	/** A batch got this answer. */
	appended(ack: Pick<OpAck, "applied" | "duplicates" | "rejected">, ops: readonly { readonly payload: string }[]): void;
	/** @param read tells what is there now; asked when somebody wants to know. */
	figures(read: () => ServerFigures): void;
}

export interface ServerFigures {
	readonly websockets: number;
	/** The database with its write-ahead log. */
	readonly databaseBytes: number;
}

/**
 * Runs a decision in its transaction, and tells the meter how it went.
 *
 * @param commit runs what it is given in one transaction, and returns when that is durable.
 */
export function measured<T>(
	meter: ServerMeter | undefined,
	method: string,
	body: () => T,
	commit: (body: () => T) => T,
): T {
	if (meter === undefined) return commit(body);
	const startedAt = performance.now();
	let decidedAt = startedAt;
	try {
		const result = commit(() => {
			const decision = body();
			decidedAt = performance.now();
			return decision;
		});
		const now = performance.now();
		meter.called(method, now - startedAt, now - decidedAt);
		return result;
	} catch (error) {
		if (error instanceof ShareRefusal) meter.refused(method, error.code);
		throw error;
	}
}
