import type { Watermark } from "../model/op.ts";

/** Where this outbox believes a share to stand. */
export interface LocalPosition {
	/** A: ops that the server has acknowledged. */
	readonly acked_cursor: number;
	/** S: end of what is sealed; A <= S. */
	readonly sealed_cursor: number;
	/** op_id at A - 1; null when A is 0. */
	readonly acked_op_id: string | null;
	/** op_id of our sealed op at `cursor - 1`, for A < cursor <= S. */
	opIdBelow(cursor: number): string | undefined;
	/** Our sealed batch that has the op at `cursor - 1`, for A < cursor <= S. */
	batchIdBelow(cursor: number): string | undefined;
}

/** Where the share says it stands. */
export interface RemotePosition {
	/** C: the position that its next op must take. */
	readonly cursor: number;
	/** op_id at C - 1; null when C is 0. */
	readonly last_op_id: string | null;
	/** The batch that took C - 1; absent where a server does not tell. */
	readonly last_batch_id?: string | null | undefined;
}

export type Reconciliation =
	/**
	 * Send what is sealed again, same bytes: nothing of ours arrived since (C = A), or the op at C - 1 is ours and the batch
	 * is not. Another copy of this outbox may have put that very event there, on top of other ops than ours; the answers
	 * tell op by op.
	 */
	| { readonly do: "send" }
	/**
	 * A < C <= S, and our batch took C - 1: it arrived, its reply was lost. A batch's name follows from all it holds and
	 * from the batch before it, so the whole prefix is ours. Acknowledge through `cursor`, go on.
	 */
	| { readonly do: "ack"; readonly cursor: number }
	/** Positions cannot be trusted; compare on top of C. `reason` is for a person. */
	| { readonly do: "compare"; readonly reason: string };

/**
 * Decides, after a failure of unknown outcome or a restart, what of ours the server has (design 3).
 *
 * Total: every pair of positions has exactly one answer.
 */
export function reconcile(local: LocalPosition, remote: RemotePosition): Reconciliation {
	const { acked_cursor: A, sealed_cursor: S } = local;
	const { cursor: C, last_op_id } = remote;
	const compare = (reason: string) => ({ do: "compare", reason }) as const;
	if (C < A) return compare(`the server went back from ${A} ops to ${C}, as after a restored backup`);
	if (C > S)
		return compare(
			`the share has ${C} ops, this outbox knows of ${S}: another writer, or an older copy of this outbox`,
		);
	const ours = C === A ? local.acked_op_id : local.opIdBelow(C);
	if (last_op_id !== (ours ?? null)) return compare(`op ${C - 1} of the share is not the one sent from here`);
	const isProven = C > A && remote.last_batch_id != null && remote.last_batch_id === local.batchIdBelow(C);
	return isProven ? { do: "ack", cursor: C } : { do: "send" };
}

/**
 * True when `a` covers at least what `b` does. By the ids, which grow with time: a log that was wiped counts anew. Where
 * one of them is not known (a session without a log), what positions suggest.
 */
export function isAhead(a: Watermark | null, b: Watermark | null, byPosition: boolean): boolean {
	return a !== null && b !== null ? a.event_id >= b.event_id : byPosition;
}
