import { spawnSync } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { OUTBOX_KIND } from "../src/outbox/kind.ts";
import { openOutbox, outboxOn } from "../src/outbox/outbox.ts";
import { openReport } from "../src/outbox/report.ts";
import { LIMITS } from "../src/protocol/limits.ts";
import { openDatabase } from "../src/sqlite/database.ts";
import { MAIN, startCli } from "../test/fixture/cli.ts";
import { type Bench, type Context, type Figure, figure, plain } from "./figure.ts";
import { fresh } from "./folder.ts";
import { interleaved, seconds, spreadOf } from "./measure.ts";
import { capture } from "./ops.ts";
import { envIn, peakRssOf } from "./process.ts";

/** Pending ops; the first is what the others are held against. */
const SIZES = [1e3, 1e4, 1e5, 1e6];
const QUICK_SIZES = [10, 100];
/** Of an op of these figures, in bytes: a million of them are made. */
const PAYLOAD_BYTES = 256;
const START_MS = 1000;
const STATUS_MS = 100;
const RSS_MB = 150;
/** How long an agent sends before its memory is looked at. */
const AGENT_MS = 10_000;

/** What a backlog costs by its size: per op, at the start of an agent, for a look at it, and in memory. */
export const backlog: Bench = {
	name: "backlog",
	about: `10^3 to 10^6 pending ops of ${PAYLOAD_BYTES} bytes, of 1 and of 1,000 sessions`,
	async *run(context) {
		const [small = 0, ...large] = context.isQuick ? QUICK_SIZES : SIZES;
		for (const sessions of context.isQuick ? [10] : [1, 1000]) {
			let dataDir = "";
			for (const size of large) {
				dataDir = mkdtempSync(join(context.folder, "data-"));
				context.tell(`backlog: ${counted(size, sessions)}`);
				await fill(join(dataDir, "outbox.db"), size, sessions);
				yield await perOp(context, join(dataDir, "outbox.db"), { size, small, sessions });
			}
			const largest = large.at(-1) ?? 0;
			yield* atLargest(context, dataDir, counted(largest, sessions));
			// Of the others, ops were taken off that no server has, so that an agent would compare first.
			const whole = mkdtempSync(join(context.folder, "whole-"));
			await fill(join(whole, "outbox.db"), largest, sessions);
			const note = "the most that an agent had resident which sends it, its own share server included";
			const peak = await agentMemory(context, whole);
			yield plain(`memory, ${counted(largest, sessions)}`, "MB", [peak], { atMost: RSS_MB }, note);
		}
	},
};

function counted(size: number, sessions: number): string {
	return `${size.toLocaleString("en-US")} pending of ${sessions === 1 ? "1 session" : `${sessions.toLocaleString("en-US")} sessions`}`;
}

/** Takes as many ops as the small backlog has off both; that one is made anew each time. */
async function perOp(
	context: Context,
	path: string,
	{ size, small, sessions }: { size: number; small: number; sessions: number },
): Promise<Figure> {
	const ours = () => taken(path, small, sessions);
	const theirs = async () => {
		const other = fresh(context);
		await fill(other, small, sessions);
		return taken(other, small, sessions);
	};
	// What is taken is gone: a backlog of ten times the small one is good for nine.
	const repeats = Math.min(context.repeats, size / small - 1);
	return figure(
		{
			what: `seal + reserve + ack, ${counted(size, sessions)}`,
			against: `${small.toLocaleString("en-US")} pending`,
			...{ unit: "µs/op", bar: { atMost: 1.3 } },
		},
		await interleaved({ ours, theirs }, repeats),
	);
}

async function* atLargest(context: Context, dataDir: string, of: string): AsyncGenerator<Figure> {
	const path = join(dataDir, "outbox.db");
	const ms = { start: [] as number[], report: [] as number[], command: [] as number[], node: [] as number[] };
	for (let n = 0; n < context.repeats; n++) {
		ms.start.push(1000 * (await seconds(() => start(path))));
		ms.report.push(1000 * (await seconds(() => report(path))));
		ms.node.push(1000 * (await seconds(() => spawnSync(process.execPath, ["-e", "0"]))));
		ms.command.push(1000 * (await seconds(() => status(context, dataDir))));
	}
	yield plain(`start, ${of}`, "ms", ms.start, { atMost: START_MS });
	yield plain(`report, ${of}`, "ms", ms.report, { atMost: STATUS_MS });
	yield {
		...{ what: `status, ${of}`, against: "Node that does nothing", unit: "ms", bar: { atMost: STATUS_MS } },
		...{ ours: spreadOf(ms.command), theirs: spreadOf(ms.node) },
		ratio: spreadOf(ms.command.map((took, n) => took - (ms.node[n] ?? 0))),
		note: "held against the bar is what the command takes beyond the start of Node",
	};
}

/** Makes an outbox with `size` pending ops, fairly divided and mixed as sessions that go on at once are. */
export async function fill(
	path: string,
	size: number,
	sessions: number,
	bytes = PAYLOAD_BYTES,
	now = Date.now(),
): Promise<void> {
	const sqlite = await openDatabase(path, OUTBOX_KIND);
	sqlite.exec("PRAGMA synchronous = OFF");
	const outbox = outboxOn(sqlite);
	const each = size / sessions;
	const group = sessions === 1 ? 1000 : 100;
	for (let from = 0; from < each; from += group)
		for (let n = 0; n < sessions; n++)
			outbox.append(capture(`ses_${n}`, from, Math.min(each, from + group), bytes), now);
	outbox.close();
}

/** Takes `ops` off the backlog as the agent does; microseconds per op. */
export async function taken(path: string, ops: number, sessions: number): Promise<number> {
	const outbox = await openOutbox(path);
	// So that as many transactions stand for an op, however few ops a session has.
	const limits = { ...LIMITS, ops_per_batch: sessions === 1 ? 10 : 1 };
	const took = await seconds(() => {
		for (let left = ops, n = 0; left > 0; n = (n + 1) % sessions) {
			const [id, now] = [`ses_${n}`, Date.now()];
			const batch = outbox.transaction(() => {
				outbox.seal(id, limits, now);
				return outbox.reserve(id, "bench", 60_000, now);
			});
			if (batch === undefined) throw new Error("the backlog is empty");
			outbox.ack(id, batch.first_position + batch.ops.length, now);
			left -= batch.ops.length;
		}
	});
	outbox.close();
	return (1e6 * took) / ops;
}

/** What an agent does first: it gives back what a dead one had leased. */
async function start(path: string): Promise<void> {
	const outbox = await openOutbox(path);
	outbox.recover();
	outbox.close();
}

async function report(path: string): Promise<void> {
	const reader = await openReport(path);
	reader?.read(Date.now());
	reader?.close();
}

function status(context: Context, dataDir: string): void {
	const args = [MAIN, "status", "--data-dir", dataDir];
	const { status: code, stderr } = spawnSync(process.execPath, args, { env: envIn(context.folder), encoding: "utf8" });
	// 1: no agent runs.
	if (code !== 0 && code !== 1) throw new Error(`status ended with ${code}: ${stderr}`);
}

async function agentMemory(context: Context, dataDir: string): Promise<number> {
	const agent = startCli(["run", "--json", "--port", "0", "--data-dir", dataDir], envIn(context.folder));
	await agent.ready();
	await delay(context.isQuick ? 0 : AGENT_MS);
	const peak = peakRssOf(agent.pid);
	await agent.kill();
	return peak;
}
