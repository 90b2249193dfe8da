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
}

/** Where the share says it stands. */
export interface RemotePosition {
	/** C: the position that its next op must take. */
	readonly cursor: number;
	/** op_id at C - 1; null when C is 0. */
	readonly last_op_id: string | null;
}

export type Reconciliation =
	/**
	 * A <= C <= S, and the op at C - 1 is ours: send what is sealed again, same bytes. What arrived before is answered
	 * op by op as a duplicate. Not taken for acknowledged on the word of one position: an older copy of this outbox may
	 * have put that very event there, on top of other ops than ours.
	 */
	| { readonly do: "send" }
	/** Positions cannot be trusted; compare on top of C. `reason` is for a person. */
	| {
			readonly do: "compare";
			readonly reason: string;
			/** True when what the server has acknowledged is not there any more: then other shares may be concerned as well. */
			readonly rewritten: boolean;
	  };

/**
 * Decides, after a failure of unknown outcome or a restart, what of ours the server has (design 3).
 *
 * Total: every pair of positions has exactly one answer.
 */
export function reconcile(local: LocalPosition, remote: RemotePosition): Reconciliation {
	const { acked_cursor: A, sealed_cursor: S } = local;
	const { cursor: C, last_op_id } = remote;
	const compare = (reason: string) => ({ do: "compare", reason, rewritten: C <= A }) as const;
	if (C < A) return compare(`the server went back from ${A} ops to ${C}, as after a restored backup`);
	if (C > S)
		return compare(
			`the share has ${C} ops, this outbox knows of ${S}: another writer, or an older copy of this outbox`,
		);
	const ours = C === A ? local.acked_op_id : local.opIdBelow(C);
	if (last_op_id !== (ours ?? null)) return compare(`op ${C - 1} of the share is not the one sent from here`);
	return { do: "send" };
}
