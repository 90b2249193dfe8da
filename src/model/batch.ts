import { hash } from "node:crypto";
import { ulid } from "ulid";

/** The frozen facts of one op in a batch, in the order of their positions. */
export interface SealedOp {
	readonly op_id: string;
	/** opHash of the op: covers its id, type, key and payload. */
	readonly hash: string;
	readonly depends_on: string | null;
}

export interface SealedBatch {
	readonly batch_id: string;
	/** Covers everything that is sent but the epoch: hex sha256, 64 characters. */
	readonly digest: string;
}

/**
 * Names and digests a batch from what it holds, so that the same rows always seal to the same batch.
 *
 * @param firstPosition the position of the first op; the others follow without gaps.
 * @param createdAt time part of the `batch_id`, in epoch ms: when the first op was captured, never "now".
 */
export function sealBatch(
	sessionId: string,
	firstPosition: number,
	createdAt: number,
	ops: readonly SealedOp[],
): SealedBatch {
	const lines = ops.map((op) => `${op.op_id} ${op.hash} ${op.depends_on ?? "-"}\n`);
	const digest = hash("sha256", `${sessionId}\n${firstPosition}\n${ops.length}\n${lines.join("")}`, "buffer");
	return { batch_id: ulid(createdAt, bytesAsRandom(digest)), digest: digest.toString("hex") };
}

/** Feeds a ULID's sixteen random characters from a digest's bytes. */
function bytesAsRandom(bytes: Uint8Array): () => number {
	let index = 0;
	return () => (bytes[index++ % bytes.length] ?? 0) / 256;
}
