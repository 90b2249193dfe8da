import type { Rejection } from "../protocol/codes.ts";
import type { AppendBatch, OpAck } from "../protocol/schema.ts";

export interface Verdict {
	/** Everything below this position is at the server. */
	readonly cursor: number;
	/** The first op that was refused; nothing from it on was applied. */
	readonly rejected?: { readonly position: number; readonly code: Rejection; readonly reason: string };
}

/**
 * True when the server has an op of the batch already, but not at the position that it was sealed for: an OpenCode that was
 * put back to an earlier state and then to the later one again tells the same events twice. No retry mends that.
 */
export function isFromEarlier(batch: AppendBatch, ack: OpAck): boolean {
	const duplicates = new Set(ack.duplicates);
	return batch.ops.some((op) => duplicates.has(op.op_id) && op.expected_cursor >= ack.cursor);
}

/**
 * What an ack says about the batch it answers, or undefined when it contradicts itself: then the outcome is unknown.
 *
 * The transport has made sure that the ack names exactly the ops that were sent.
 */
export function verdictOf(batch: AppendBatch, ack: OpAck): Verdict | undefined {
	const refusals = new Map(ack.rejected.map((rejection) => [rejection.op_id, rejection]));
	const refused = batch.ops.find((op) => refusals.has(op.op_id));
	const end = refused ?? { expected_cursor: (batch.ops.at(-1)?.expected_cursor ?? 0) + 1 };
	if (refused === undefined) return ack.cursor < end.expected_cursor ? undefined : { cursor: end.expected_cursor };
	const { code, reason } = refusals.get(refused.op_id) ?? { code: "invalid_payload", reason: "" };
	const position = refused.expected_cursor;
	return { cursor: Math.min(position, ack.cursor), rejected: { position, code, reason } };
}
