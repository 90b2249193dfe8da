import Database from "better-sqlite3";
import { openOutbox } from "../src/outbox/outbox.ts";
import { type Bench, type Context, figure } from "./figure.ts";
import { fresh } from "./folder.ts";
import { interleaved, seconds } from "./measure.ts";
import { capture } from "./ops.ts";

const GROUPS = [1, 10, 100, 1000];
/** Of one measurement; an op by itself waits for the disk, so that fewer do. */
const OPS = { alone: 500, grouped: 10_000 };

/** `append` against an insert of the same rows into the same table: what capturing costs beyond the disk. */
export const append: Bench = {
	name: "append",
	about: "1 KiB ops appended in groups, one durable transaction each",
	async *run(context) {
		for (const group of GROUPS) {
			const ops = (group < 10 ? OPS.alone : OPS.grouped) / (context.isQuick ? 100 : 1);
			const groups = Math.max(1, Math.ceil(ops / group));
			const ours = () => appended(context, group, groups);
			const theirs = () => inserted(context, group, groups);
			yield figure(
				{
					...{ what: `append, groups of ${group}`, against: "a prepared insert into the same table", unit: "ops/s" },
					bar: { atLeast: 0.85 },
				},
				await interleaved({ ours, theirs }, context.repeats),
			);
		}
	},
};

async function appended(context: Context, group: number, groups: number): Promise<number> {
	const outbox = await openOutbox(fresh(context));
	const captures = Array.from({ length: groups }, (_, n) => capture("ses_1", n * group, (n + 1) * group));
	const took = await seconds(() => {
		for (const one of captures) outbox.append(one, 1);
	});
	outbox.close();
	return (group * groups) / took;
}

/** The `op` table as the outbox makes it, and nothing else of it: no watermark, no entity, no hash, no comparison. */
async function inserted(context: Context, group: number, groups: number): Promise<number> {
	const path = fresh(context);
	(await openOutbox(path)).close();
	const db = new Database(path);
	db.pragma("journal_mode = WAL");
	db.pragma("synchronous = FULL");
	const insert = db.prepare(`
		INSERT INTO op (session_id, op_id, type, key, payload, bytes, hash, captured_at) VALUES (?, ?, ?, ?, ?, ?, '', 1)`);
	const captures = Array.from({ length: groups }, (_, n) => capture("ses_1", n * group, (n + 1) * group));
	const write = db.transaction((items: (typeof captures)[number]["items"]) => {
		for (const item of items)
			if ("payload" in item)
				insert.run("ses_1", item.op_id, item.type, item.key, item.payload, Buffer.byteLength(item.payload));
	});
	const took = await seconds(() => {
		for (const { items } of captures) write.immediate(items);
	});
	db.close();
	return (group * groups) / took;
}
