import { hash } from "node:crypto";
import { type SealedBatch, type SealedOp, sealBatch } from "../model/batch.ts";
import type { Watermark } from "../model/op.ts";

/** What sealing froze of a batch, beside its ops. */
export interface Frozen {
	readonly session_id: string;
	readonly first_position: number;
	/** When its first op was captured: the time part of the `batch_id`. */
	readonly captured_at: number;
	readonly watermark: Watermark | null;
}

/** Names a batch, and digests all of it that is sent but the epoch: its ops, their positions and the watermark. */
export function freeze(batch: Frozen, ops: readonly SealedOp[]): SealedBatch {
	const { batch_id, digest } = sealBatch(batch.session_id, batch.first_position, batch.captured_at, ops);
	const { seq, event_id } = batch.watermark ?? { seq: "-", event_id: "-" };
	return { batch_id, digest: hash("sha256", `${digest}\n${seq}\n${event_id}\n`, "hex") };
}
