import { spawn } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { openReport } from "../src/outbox/report.ts";
import { eventually, startCli } from "../test/fixture/cli.ts";
import { OpencodeDatabase } from "../test/source/opencode-database.ts";
import { type Bench, type Context, plain } from "./figure.ts";
import { spreadOf } from "./measure.ts";
import { cpuSecondsOf, envIn, peakRssOf } from "./process.ts";

const SESSIONS = 3000;
const FEW = 30;
const POLL_MS = 500;
/** Of one measurement, and before the first: what a start leaves behind has come to rest then. */
const LOOK_MS = 10_000;
const REST_MS = 15_000;
const CPU_PERCENT = 0.5;
/** What a poll is at its least: a process that asks for the version and does nothing else. */
const LEAST = `
	import Database from "better-sqlite3";
	const version = new Database(process.argv[1], { readonly: true }).prepare("PRAGMA data_version");
	setInterval(() => version.get(), ${POLL_MS});`;

/** What an agent costs while nothing happens. */
export const idle: Bench = {
	name: "idle",
	about: `the agent over ${SESSIONS.toLocaleString("en-US")} sessions of OpenCode with nothing new`,
	async *run(context) {
		const [many, few] = context.isQuick ? [FEW, FEW] : [SESSIONS, FEW];
		const small = await idleAgent(context, few);
		const large = context.isQuick ? small : await idleAgent(context, many);
		const sessions = `${many.toLocaleString("en-US")} sessions`;
		yield {
			...{ what: `idle, ${sessions}`, against: "one PRAGMA data_version per poll", unit: "% of a core" },
			...{ ours: spreadOf(large.percent), theirs: spreadOf(large.least), ratio: spreadOf(large.percent) },
			bar: { atMost: CPU_PERCENT },
			note: "held against the bar is the agent's own share of a core, its share server included",
		};
		yield {
			...{ what: `idle, ${sessions}`, against: `${few} sessions`, unit: "% of a core" },
			...{ ours: spreadOf(large.percent), theirs: spreadOf(small.percent) },
			ratio: spreadOf(large.percent.map((percent, n) => percent / (small.percent[n] ?? Number.NaN))),
			note: "1 means that no poll looks at each session",
		};
		yield plain(`idle memory, ${sessions}`, "MB", [large.memory]);
	},
};

/** Percent of a core that an idle agent takes, and beside it the least that a poll can take. */
async function idleAgent(
	context: Context,
	sessions: number,
): Promise<{ percent: readonly number[]; least: readonly number[]; memory: number }> {
	const folder = mkdtempSync(join(context.folder, "idle-"));
	const [database, dataDir] = [join(folder, "opencode.db"), join(folder, "data")];
	const opencode = await OpencodeDatabase.create(database);
	opencode.sql.transaction(() => {
		for (let n = 0; n < sessions; n++) {
			opencode.session(`ses_${n}`);
			opencode.message(`ses_${n}`, `msg_${n}`);
			opencode.part(`ses_${n}`, `msg_${n}`, `prt_${n}`, "text");
		}
	});
	const options = ["--opencode-db", database, "--data-dir", dataDir, "--port", "0", "--poll", `${POLL_MS}ms`];
	const agent = startCli(["run", "--json", ...options], envIn(folder));
	const least = spawn(process.execPath, ["--input-type=module", "-e", LEAST, database], {
		...{ cwd: import.meta.dirname, stdio: "ignore" },
	});
	try {
		await agent.ready();
		await eventually("everything to be sent", () => isSent(join(dataDir, "outbox.db"), sessions), {
			...{ withinMs: 600_000, also: agent.stderr },
		});
		await delay(context.isQuick ? 0 : REST_MS);
		const [ours, theirs]: [number[], number[]] = [[], []];
		for (let n = 0; n < context.repeats; n++) {
			const [pids, lookMs] = [[agent.pid, least.pid ?? 0], context.isQuick ? 2 * POLL_MS : LOOK_MS];
			const before = pids.map(cpuSecondsOf);
			await delay(lookMs);
			const [ourSeconds = 0, theirSeconds = 0] = pids.map((pid, of) => cpuSecondsOf(pid) - (before[of] ?? 0));
			ours.push((100 * ourSeconds) / (lookMs / 1000));
			theirs.push((100 * theirSeconds) / (lookMs / 1000));
		}
		return { percent: ours, least: theirs, memory: peakRssOf(agent.pid) };
	} finally {
		least.kill("SIGKILL");
		await agent.kill();
		opencode.sql.close();
	}
}

async function isSent(path: string, sessions: number): Promise<boolean> {
	const reader = await openReport(path);
	try {
		const report = reader?.read(Date.now());
		return report?.totals.pending === 0 && report.sessions.filter(({ cursor }) => cursor > 0).length === sessions;
	} finally {
		reader?.close();
	}
}
