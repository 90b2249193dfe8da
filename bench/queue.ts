import type Database from "better-sqlite3";
import { openOutbox } from "../src/outbox/outbox.ts";
import { LIMITS } from "../src/protocol/limits.ts";
import { bareOutbox, everyRow, opsAlone, type Write } from "./append.ts";
import { type Bench, type Context, figure } from "./figure.ts";
import { fresh } from "./folder.ts";
import { byTurns, compared, interleaved, seconds } from "./measure.ts";
import { capturesOf } from "./ops.ts";

/** Ops in a batch, and in a captured group. */
export const BATCH = 100;
const OPS = 10_000;
const OWNER = "bench";
const LEASE_MS = 60_000;

/** The whole way of an op through the outbox against the same written by hand. */
export const queue: Bench = {
	name: "queue",
	about: "1 KiB ops appended, sealed, reserved and acknowledged in batches of 100",
	async *run(context) {
		const ops = context.isQuick ? BATCH : OPS;
		const about = { what: `append + seal + reserve + ack, batches of ${BATCH}`, unit: "ops/s" };
		const { ours, bare, whole } = await byTurns(
			{
				ours: () => passed(context, ops),
				bare: () => byHand(context, ops),
				whole: () => byHand(context, ops, { prepared: everyRow }),
			},
			context.repeats,
		);
		const against = "the same by hand on better-sqlite3";
		yield figure({ ...about, against, bar: { atLeast: 0.8 }, note: BY_HAND }, compared(ours, bare));
		yield figure({ ...about, against: "by hand, appending every row, hashed" }, compared(ours, whole));
		const sides = {
			ours: () => passed(context, ops, { isDeleted: true }),
			theirs: () => byHand(context, ops, { isDeleted: true }),
		};
		yield figure(
			{ ...about, what: `${about.what}, ops deleted`, against, note: DELETED },
			await interleaved(sides, context.repeats),
		);
	},
};

const BY_HAND =
	"by hand: the same op, batch and session rows in three transactions per batch; no hash, no entity, no superseding";
const DELETED =
	"by hand with the ack, ours once all are sent: what is sent is kept for a week, and the file grows with it";

/**
 * Ops per second through an outbox of their own: three durable transactions per batch, as the agent makes them.
 *
 * @param isDeleted what is kept for a week, since each op is its entity's last one, is deleted in the end.
 */
export async function passed(context: Context, ops: number, { isDeleted = false } = {}): Promise<number> {
	const outbox = await openOutbox(fresh(context));
	const captures = capturesOf(BATCH, ops / BATCH);
	const limits = { ...LIMITS, ops_per_batch: BATCH };
	const took = await seconds(() => {
		let cursor = 0;
		for (const one of captures) {
			outbox.append(one, 1);
			const batch = outbox.transaction(() => {
				outbox.seal("ses_1", limits, 1);
				return outbox.reserve("ses_1", OWNER, LEASE_MS, 1);
			});
			if (batch === undefined) throw new Error("nothing was sealed");
			cursor += batch.ops.length;
			outbox.ack("ses_1", cursor, 1);
		}
		while (isDeleted && outbox.retain(1, 0).more);
	});
	outbox.close();
	return ops / took;
}

/**
 * What whoever needs just this would write, on the outbox's own tables.
 *
 * @param prepared what a capture is appended by.
 */
async function byHand(
	context: Context,
	ops: number,
	{ isDeleted = false, prepared = opsAndWatermark }: { isDeleted?: boolean; prepared?: typeof opsAndWatermark } = {},
): Promise<number> {
	const db = await bareOutbox(context);
	const unsealed = db.prepare<[string, number, number], Row>(
		"SELECT id, op_id, type, key, payload, bytes FROM op WHERE session_id = ? AND id > ? ORDER BY id LIMIT ?",
	);
	const insertBatch = db.prepare(`
		INSERT INTO batch (batch_id, session_id, first_id, last_id, first_position, ops, bytes, digest, depends, sealed_at,
			attempts, lease_owner, lease_until)
		VALUES (?, ?, ?, ?, ?, ?, ?, '', '', 1, 1, ?, ?)`);
	const moveCursor = db.prepare(
		"UPDATE session SET acked_id = ?, acked_cursor = acked_cursor + ?, acked_op_id = ? WHERE session_id = 'ses_1'",
	);
	const removeOps = db.prepare("DELETE FROM op WHERE session_id = ? AND id <= ?");
	const removeBatch = db.prepare("DELETE FROM batch WHERE batch_id = ?");

	const append = db.transaction(prepared(db));
	const reserve = db.transaction((after: number) => {
		const rows = unsealed.all("ses_1", after, BATCH);
		const [first, last] = [rows[0], rows.at(-1)];
		if (first === undefined || last === undefined) throw new Error("nothing is there");
		const bytes = rows.reduce((sum, row) => sum + row.bytes, 0);
		const batch_id = `batch_${first.id}`;
		insertBatch.run(batch_id, "ses_1", first.id, last.id, first.id - 1, rows.length, bytes, OWNER, LEASE_MS);
		return { batch_id, rows, last };
	});
	const ack = db.transaction(({ batch_id, rows, last }: ReturnType<typeof reserve>) => {
		if (isDeleted) removeOps.run("ses_1", last.id);
		removeBatch.run(batch_id);
		moveCursor.run(last.id, rows.length, last.op_id);
	});

	const captures = capturesOf(BATCH, ops / BATCH);
	const took = await seconds(() => {
		let after = 0;
		for (const one of captures) {
			append.immediate(one);
			const batch = reserve.immediate(after);
			ack.immediate(batch);
			after = batch.last.id;
		}
	});
	db.close();
	return ops / took;
}

/** What `append` leaves behind, without what it knows of each entity, and without a hash. */
function opsAndWatermark(db: Database.Database): Write {
	const write = opsAlone(db);
	const moveWatermark = db.prepare(
		"UPDATE session SET watermark_seq = ?, watermark_event_id = ? WHERE session_id = 'ses_1'",
	);
	db.exec("INSERT INTO session (session_id) VALUES ('ses_1')");
	return (one) => {
		write(one);
		moveWatermark.run(one.to?.seq, one.to?.event_id);
	};
}

interface Row {
	readonly id: number;
	readonly op_id: string;
	readonly type: string;
	readonly key: string;
	readonly payload: string;
	readonly bytes: number;
}
