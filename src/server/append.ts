import type { Rejection } from "../protocol/codes.ts";
import type { ShareLimits } from "../protocol/limits.ts";
import { ShareRefusal } from "../protocol/refusal.ts";
import type { AppendBatch, DurableOp, OpAck } from "../protocol/schema.ts";
import type { Entities } from "./entity.ts";
import type { Ledger } from "./ledger.ts";
import { flawOf } from "./payload.ts";

type Verdict = "applied" | "duplicate" | { code: Rejection; reason: string };

const BEHIND_A_REJECTION: Verdict = { code: "cursor_gap", reason: "An op before it in its batch was rejected." };

export interface AppendState {
	readonly ledger: Ledger;
	readonly entities: Entities;
	readonly limits: ShareLimits;
	/** The share's cursor, and the batch that took the position before it; moved on by every op that is applied. */
	cursor: number;
	lastBatchId: string | null;
	/** Of payloads that the share holds. */
	bytes: number;
}

/**
 * Applies a batch to a share at `cursor`, op by op; the caller's transaction makes it one effect.
 *
 * The ops up to the first rejected one are applied, and nothing behind it: where another writer has taken the position of
 * the first, the second would fit the cursor and leave a hole that nobody sees (G3). For the same reason nothing is applied
 * behind duplicates that another copy of the client's outbox has put there, on top of other ops than this client's.
 */
export function applyBatch(state: AppendState, share_id: string, batch: AppendBatch): OpAck {
	const { ledger, entities, cursor: first } = state;
	const ack: OpAck = { cursor: first, applied: [], duplicates: [], rejected: [] };
	const named = batch.ops.flatMap(({ op_id, depends_on }) => (depends_on === undefined ? op_id : [op_id, depends_on]));
	const remembered = ledger.remembered(share_id, first, named);
	const write = entities.writer(
		share_id,
		batch.ops.map(({ key }) => key),
	);
	for (const op of batch.ops) {
		let verdict = verdictOn(state, remembered, op);
		if (verdict === "applied")
			verdict = ack.rejected.length > 0 ? BEHIND_A_REJECTION : behind(state, remembered, batch, op.seq);
		if (verdict === "duplicate") {
			ack.duplicates.push(op.op_id);
		} else if (verdict === "applied") {
			state.bytes += write(op, state.cursor);
			remembered.set(op.op_id, state.cursor);
			ack.applied.push(op.op_id);
			ack.cursor = ++state.cursor;
			state.lastBatchId = batch.batch_id;
		} else {
			ack.rejected.push({ op_id: op.op_id, ...verdict });
		}
	}
	ledger.insert(share_id, first, ack.applied);
	return ack;
}

/** On an op that fits the cursor: whether all of its batch before it is there, in its place, and what that depends on. */
function behind(
	{ cursor, lastBatchId }: AppendState,
	remembered: ReadonlyMap<string, number>,
	batch: AppendBatch,
	seq: number,
): Verdict {
	// What this very batch has put there was judged then.
	if (lastBatchId === batch.batch_id) return "applied";
	const before = batch.ops.slice(0, seq);
	const moved = before.find((op) => remembered.get(op.op_id) !== op.expected_cursor);
	if (moved) return conflict(moved.expected_cursor, cursor);
	const after = before[0]?.depends_on;
	return after === undefined || remembered.has(after) ? "applied" : missing(after);
}

/**
 * The table of verdicts; the first line that holds decides.
 *
 * @param remembered of the batch's ops and what they depend on, those that were applied: before, or by this batch so far.
 */
function verdictOn(state: AppendState, remembered: ReadonlyMap<string, number>, op: DurableOp): Verdict {
	const { ledger, limits, cursor } = state;
	const at = op.expected_cursor;
	if (remembered.has(op.op_id)) return "duplicate";
	if (at < ledger.floor(cursor)) return "duplicate";
	if (at < cursor) return conflict(at, cursor);
	if (at > cursor)
		return { code: "cursor_gap", reason: `Position ${at} cannot be taken yet; the cursor is ${cursor}.` };
	const flaw = flawOf(op, limits);
	if (flaw) return flaw;
	// A batch of the client's before this one: all of it, and nothing else since.
	const follows = op.seq === 0 && op.depends_on === state.lastBatchId;
	if (op.depends_on !== undefined && !follows && !remembered.has(op.depends_on)) return missing(op.depends_on);
	return "applied";
}

function conflict(position: number, cursor: number): Verdict {
	return { code: "cursor_conflict", reason: `Position ${position} was taken by another op; the cursor is ${cursor}.` };
}

function missing(dependency: string): Verdict {
	return { code: "missing_dependency", reason: `It depends on ${dependency}, which was not applied.` };
}

/** Code invalid_request for a batch that no client of ours seals. */
export function refuseMisshapen(batch: AppendBatch, limits: ShareLimits): void {
	if (batch.ops.length > limits.ops_per_batch)
		throw new ShareRefusal("invalid_request", `A batch has at most ${limits.ops_per_batch} ops.`);
	if (batch.ops.some((op, index) => op.batch_id !== batch.batch_id || op.seq !== index))
		throw new ShareRefusal("invalid_request", "The ops do not bear their batch's id, or are not numbered from 0.");
}

/** Where a share stands. */
export function standingOf(row: { cursor: number; last_batch_id: string | null; bytes: number }) {
	return { cursor: row.cursor, lastBatchId: row.last_batch_id, bytes: row.bytes };
}
