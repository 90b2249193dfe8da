import type { OpAck } from "../protocol/schema.ts";
import type { Outcome, Step } from "./decide.ts";
import type { Reconciliation, RemotePosition } from "./reconcile.ts";

/** What a redemption found, in one word; see `reconcile`. */
export const RECONCILE_CASES = [
	/** The share stands where its last ack said. */
	"in_step",
	/** More of ours is there than was acknowledged: a reply was lost. */
	"reply_lost",
	/** The op at the end is ours, its batch is not; the same bytes again tell op by op. */
	"resend",
	/** Compared: the server lost data, as after a restored backup. */
	"server_behind",
	/** Compared: another writer, or an older copy of this outbox. */
	"server_ahead",
	/** Compared: the op at the end is not ours. */
	"foreign_op",
] as const;
export type ReconcileCase = (typeof RECONCILE_CASES)[number];

/**
 * What an agent tells of its work while it does it; what can be read off the outbox is not in it. Each call costs some
 * additions and waits for nothing. Nothing that grows with the sessions is ever told: no ids, no texts.
 */
export interface AgentMeter {
	/** Everything that OpenCode had committed at `at` (epoch ms) is captured. */
	level(at: number): void;
	/** So many ops were appended. */
	captured(ops: number): void;
	/** A session was captured by snapshot; `isRefill` where its log had been followed and did not go on. */
	snapshot(isRefill: boolean): void;
	/** A transaction of the outbox was committed: written, and synced where there was anything to write. */
	committed(ms: number): void;
	/** A batch leaves, with so many payload bytes. */
	sent(bytes: number): void;
	/** The server's answer to a batch, `ms` after it left. */
	answered(ms: number, ack: Pick<OpAck, "applied" | "duplicates" | "rejected">): void;
	/** A batch ended without one. */
	unanswered(): void;
	reconciled(which: ReconcileCase): void;
	/** An attempt came to nothing and is made again, unless a person must act first. */
	retried(step: Step | "connect", reason: Outcome | "unreachable"): void;
}

/** The word for what `reconcile` decided. */
export function caseOf(
	next: Reconciliation,
	local: { readonly acked_cursor: number; readonly sealed_cursor: number },
	{ cursor }: Pick<RemotePosition, "cursor">,
): ReconcileCase {
	if (next.do === "ack") return "reply_lost";
	if (next.do === "send") return cursor === local.acked_cursor ? "in_step" : "resend";
	if (cursor < local.acked_cursor) return "server_behind";
	return cursor > local.sealed_cursor ? "server_ahead" : "foreign_op";
}
