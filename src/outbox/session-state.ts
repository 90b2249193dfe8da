import type { SourceState, Wanted } from "./session.ts";

/**
 * Where a session stands, in one word. The first line that holds decides:
 *
 * - `unshared`: a person took it back, and nothing is captured or sent; or its share went with the session that OpenCode
 *   deleted.
 * - `parked`: nothing is sent until a person acts; `parked_code` and `last_error` say why. Capture goes on.
 * - `unsharing`: it is to be taken back, or deleted with the session; the server has not confirmed it yet.
 * - `excluded`: the rules leave it out; `excluded` says why. Nothing more of it is captured or sent; what is pending stays.
 * - `comparing`: positions are not to be trusted; the share is compared with OpenCode before anything is sent.
 * - `retrying`: something is to be sent, and the last attempt failed; `last_error` says how, `next_retry_at` when next.
 * - `pending`: something is to be sent, or a share is to be made, and nothing stands in the way.
 * - `not_shared`: known, but no share was ever asked for.
 * - `incomplete`: everything was sent but the dead letters, which wait for a person.
 * - `synced`: the share has everything that was captured.
 */
export const SESSION_STATES = [
	"unshared",
	"parked",
	"unsharing",
	"excluded",
	"comparing",
	"retrying",
	"pending",
	"not_shared",
	"incomplete",
	"synced",
] as const;
export type SessionState = (typeof SESSION_STATES)[number];

/** What the state follows from. */
export interface StateFacts {
	readonly wanted: Wanted;
	readonly source_state: SourceState;
	readonly parked_code: string | null;
	readonly excluded: string | null;
	readonly compare_reason: string | null;
	readonly last_error: string | null;
	readonly pending: number;
	readonly dead: number;
	/** Null until the share that was asked for is granted. */
	readonly share_id: string | null;
}

/** The one place where a session's state is derived. `asked`: a share was asked for, granted or not. */
export function stateOf(facts: StateFacts, asked: boolean): SessionState {
	if (facts.wanted === "never") return "unshared";
	if (facts.parked_code !== null) return "parked";
	if (facts.wanted === "unshare" || facts.wanted === "delete") return "unsharing";
	if (facts.excluded !== null) return "excluded";
	if (facts.compare_reason !== null) return "comparing";
	const ungranted = facts.share_id === null && (asked || facts.wanted === "share");
	if (facts.pending > 0 || ungranted) return facts.last_error === null ? "pending" : "retrying";
	if (!asked) return facts.source_state === "deleted" ? "unshared" : "not_shared";
	return facts.dead > 0 ? "incomplete" : "synced";
}
