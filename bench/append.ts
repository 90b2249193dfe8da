import Database from "better-sqlite3";
import { digestOf } from "../src/model/json.ts";
import { opHash } from "../src/model/op-hash.ts";
import type { Capture } from "../src/outbox/append.ts";
import { openOutbox } from "../src/outbox/outbox.ts";
import { type Bench, type Context, figure } from "./figure.ts";
import { fresh } from "./folder.ts";
import { byTurns, compared, seconds } from "./measure.ts";
import { capturesOf } from "./ops.ts";

const GROUPS = [1, 10, 100, 1000];
/** Of one measurement; an op by itself waits for the disk, so that fewer do. */
const OPS = { alone: 500, grouped: 10_000 };

/** `append` against an insert of its ops alone, and against all that it must leave behind, written by hand. */
export const append: Bench = {
	name: "append",
	about: "1 KiB ops appended in groups, one durable transaction each",
	async *run(context) {
		for (const group of GROUPS) {
			const ops = (group < 10 ? OPS.alone : OPS.grouped) / (context.isQuick ? 100 : 1);
			const groups = Math.max(1, Math.ceil(ops / group));
			const { ours, bare, whole } = await byTurns(
				{
					ours: () => appended(context, group, groups),
					bare: () => byHand(context, group, groups, opsAlone),
					whole: () => byHand(context, group, groups, everyRow),
				},
				context.repeats,
			);
			const about = { what: `append, groups of ${group}`, unit: "ops/s" };
			const bar = { atLeast: 0.85 };
			yield figure({ ...about, against: "a prepared insert into the same table", bar }, compared(ours, bare));
			yield figure({ ...about, against: "the same rows of every table, hashed, by hand" }, compared(ours, whole));
		}
	},
};

async function appended(context: Context, group: number, groups: number): Promise<number> {
	const outbox = await openOutbox(fresh(context));
	const captures = capturesOf(group, groups);
	const took = await seconds(() => {
		for (const one of captures) outbox.append(one, 1);
	});
	outbox.close();
	return (group * groups) / took;
}

/** An outbox that was just made, as a database and no more. */
export async function bareOutbox(context: Context): Promise<Database.Database> {
	const path = fresh(context);
	(await openOutbox(path)).close();
	const db = new Database(path);
	db.pragma("journal_mode = WAL");
	db.pragma("synchronous = FULL");
	return db;
}

/** Writes one group inside a transaction. */
export type Write = (capture: Capture) => void;

async function byHand(context: Context, group: number, groups: number, prepared: (db: Database.Database) => Write) {
	const db = await bareOutbox(context);
	const write = db.transaction(prepared(db));
	const captures = capturesOf(group, groups);
	const took = await seconds(() => {
		for (const one of captures) write.immediate(one);
	});
	db.close();
	return (group * groups) / took;
}

/** The `op` table as the outbox makes it, and nothing else of it: no watermark, no entity, no hash, no comparison. */
export function opsAlone(db: Database.Database): Write {
	const insert = db.prepare(`
		INSERT INTO op (session_id, op_id, type, key, payload, bytes, hash, captured_at) VALUES (?, ?, ?, ?, ?, ?, '', 1)`);
	return ({ items }) => {
		for (const item of items)
			if ("payload" in item)
				insert.run("ses_1", item.op_id, item.type, item.key, item.payload, Buffer.byteLength(item.payload));
	};
}

/** All that `append` leaves behind of new entities, hashes included; without a look at what is there, or a decision. */
export function everyRow(db: Database.Database): Write {
	const insertOp = db.prepare(`
		INSERT INTO op (session_id, op_id, type, key, payload, bytes, hash, floor_seq, floor_event_id, captured_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 1)`);
	const insertEntity = db.prepare(
		"INSERT INTO entity (session_id, key, digest, first_op, last_op) VALUES (?, ?, unhex(?), ?, ?)",
	);
	const move = db.prepare(`
		UPDATE session SET watermark_seq = ?, watermark_event_id = ?, pending_ops = pending_ops + ?,
			pending_bytes = pending_bytes + ?, oldest_pending_at = 1
		WHERE session_id = 'ses_1'`);
	db.exec("INSERT INTO session (session_id) VALUES ('ses_1')");
	return ({ items, from, to }) => {
		let written = 0;
		for (const item of items) {
			if (!("payload" in item)) continue;
			const { op_id, type, key, payload } = item;
			const bytes = Buffer.byteLength(payload);
			const digest = digestOf(payload);
			const floor = [from?.seq ?? null, from?.event_id ?? null];
			const op = insertOp.run("ses_1", op_id, type, key, payload, bytes, opHash(item, digest), ...floor);
			insertEntity.run("ses_1", key, digest, op.lastInsertRowid, op.lastInsertRowid);
			written += bytes;
		}
		move.run(to?.seq, to?.event_id, items.length, written);
	};
}
