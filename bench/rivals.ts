import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import Database from "better-sqlite3";
import { buildDBClient, SqliteQueue } from "liteque";
import { better, defineQueue } from "plainjob";
import { type Bench, type Context, figure } from "./figure.ts";
import { fresh } from "./folder.ts";
import { interleaved, type Measurement, seconds } from "./measure.ts";
import { op } from "./ops.ts";
import { BATCH, passed } from "./queue.ts";

const OPS = { ours: 10_000, theirs: 1_000 };
const BUN = fileURLToPath(new URL("../node_modules/.bin/bun", import.meta.url));
const BUNQUEUE = fileURLToPath(new URL("bunqueue.bun.ts", import.meta.url));

/** The same way of an op through what people would take from npm instead. */
export const plainjob: Bench = {
	name: "plainjob",
	about: "the queue bench against job queues on SQLite from npm",
	async *run(context) {
		const ops = context.isQuick ? { ours: BATCH, theirs: BATCH } : OPS;
		const ours = () => passed(context, ops.ours);
		const against = async (name: string, theirs: Measurement, note: string, bar?: { atLeast: number }) =>
			figure(
				{
					what: `append + seal + reserve + ack, against ${name}`,
					against: name,
					unit: "ops/s",
					note,
					...(bar && { bar }),
				},
				await interleaved({ ours, theirs }, context.repeats),
			);
		const oneByOne = "batches of 100 against jobs that are taken and done one by one";
		yield await against(
			"plainjob, FULL",
			() => throughPlainjob(context, ops.theirs, "FULL"),
			`${oneByOne}; they are added in hundreds (addMany)`,
			{
				atLeast: 10,
			},
		);
		yield await against(
			"plainjob as shipped (NORMAL)",
			() => throughPlainjob(context, ops.theirs, "NORMAL"),
			`${oneByOne}; a power loss takes its last jobs`,
			{ atLeast: 2.5 },
		);
		yield await against(
			"liteque, FULL",
			() => throughLiteque(context, ops.theirs),
			`${oneByOne}; its transaction is mended to run on this better-sqlite3`,
			{
				atLeast: 10,
			},
		);
		yield await against(
			"bunqueue, durable (NORMAL, on Bun)",
			() => throughBunqueue(context, ops.theirs),
			`${oneByOne}; a power loss takes its last jobs, and nothing sets it to FULL`,
			{ atLeast: 2.5 },
		);
	},
};

const payloads = (ops: number) => Array.from({ length: ops }, (_, n) => op("ses_1", n).payload);

async function throughPlainjob(context: Context, ops: number, synchronous: "FULL" | "NORMAL"): Promise<number> {
	const db = new Database(fresh(context));
	const silent = { error() {}, warn() {}, info() {}, debug() {} };
	const queue = defineQueue({ connection: better(db), logger: silent, serializer: String });
	db.pragma(`synchronous = ${synchronous}`);
	const jobs = payloads(ops);
	const took = await seconds(() => {
		for (let n = 0; n < ops; n += BATCH) queue.addMany("op", jobs.slice(n, n + BATCH));
		for (let n = 0; n < ops; n++) {
			const job = queue.getAndMarkJobAsProcessing("op");
			if (job === undefined || queue.getJobById(job.id) === undefined) throw new Error("a job is missing");
			queue.markJobAsDone(job.id);
		}
	});
	queue.close();
	return ops / took;
}

/** liteque awaits inside of better-sqlite3's own transaction, which refuses that since its version 12. */
async function throughLiteque(context: Context, ops: number): Promise<number> {
	const db = buildDBClient(fresh(context), { runMigrations: true });
	const { $client: client } = db as unknown as { $client: Database.Database };
	client.pragma("synchronous = FULL");
	const transaction = async (body: (db: unknown) => Promise<unknown>) => {
		client.exec("BEGIN");
		const result = await body(db);
		client.exec("COMMIT");
		return result;
	};
	Object.assign(db, { transaction });
	const queue = new SqliteQueue<string>("op", db, { defaultJobArgs: { numRetries: 1 }, keepFailedJobs: false });
	const jobs = payloads(ops);
	const took = await seconds(async () => {
		for (const job of jobs) await queue.enqueue(job);
		for (let n = 0; n < ops; n++) {
			const job = await queue.attemptDequeue({ timeoutSecs: 60 });
			if (job === null) throw new Error("a job is missing");
			await queue.finalize(job.id, job.allocationId, "completed");
		}
	});
	client.close();
	return ops / took;
}

/** It runs on Bun alone; what it prints is what it took. */
function throughBunqueue(context: Context, ops: number): number {
	const { stdout, stderr } = spawnSync(BUN, [BUNQUEUE, fresh(context), String(ops)], { encoding: "utf8" });
	const took = Number(stdout.trim().split("\n").at(-1));
	if (!(took > 0)) throw new Error(`bunqueue: ${stdout}${stderr}`);
	return ops / took;
}
