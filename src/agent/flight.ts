import type { ReservedBatch } from "../outbox/reserve.ts";
import type { AppendBatch, OpAck } from "../protocol/schema.ts";
import type { RedeemedShare } from "../transport/transport.ts";

/** A batch that is under way. */
export interface Flight {
	readonly batch: AppendBatch;
	readonly bytes: number;
	/** Never rejects, so that a flight that nobody awaits yet is no unhandled rejection. */
	readonly answer: Promise<{ ack: OpAck /** Since it left. */; ms: number } | { error: unknown }>;
}

/** Sends a reserved batch, stamped with the epoch of the redemption that it leaves under. */
export function launch(reserved: ReservedBatch, handle: RedeemedShare): Flight {
	const batch = wireBatch(reserved, handle.redemption.capability_epoch);
	const leftAt = performance.now();
	const answer = handle.appendOps(batch).then(
		(ack) => ({ ack, ms: performance.now() - leftAt }),
		(error: unknown) => ({ error }),
	);
	return { batch, bytes: reserved.bytes, answer };
}

function wireBatch(batch: ReservedBatch, capabilityEpoch: number): AppendBatch {
	const { batch_id, first_position, source_watermark } = batch;
	const ops = batch.ops.map(({ depends_on, ...op }, seq) => ({
		...op,
		batch_id,
		seq,
		expected_cursor: first_position + seq,
		capability_epoch: capabilityEpoch,
		...(depends_on === null ? {} : { depends_on }),
	}));
	return { batch_id, ops, source_watermark };
}
