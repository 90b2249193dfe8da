import { readFileSync } from "node:fs";
import { join } from "node:path";
import { startCli } from "../test/fixture/cli.ts";
import { startModel } from "../test/fixture/model.ts";
import { startOpencode } from "../test/fixture/opencode.ts";
import { endAgent, project, untilAgentRuns } from "../test/fixture/plugin.ts";
import { sessionForTurns, timeTurn } from "../test/fixture/turns.ts";
import { type Bench, type Context, type Figure, figure } from "./figure.ts";
import { compared } from "./measure.ts";

const ROUNDS = 20;
/** What /proc counts processor time in, per second. */
const TICKS = 100;

/** What the agent and the plugin cost the OpenCode beside them. */
export const turn: Bench = {
	name: "turn",
	about: "a turn of the real OpenCode, with and without the agent and the plugin",
	async *run(context) {
		if (process.platform !== "linux") return context.tell("turn: needs /proc");
		yield* withAgent(context);
		yield* withPlugin(context);
	},
};

/** What a process has used so far. */
function used(pid: number): { cpuMs: number; memoryMb: number } {
	const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
	const memory = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
	return {
		cpuMs: ((Number(fields[11]) + Number(fields[12])) * 1000) / TICKS,
		memoryMb: Number(memory) / 1024,
	};
}

interface Arm {
	readonly times: number[];
	readonly cpu: number[];
	readonly memory: number[];
}
const arm = (): Arm => ({ times: [], cpu: [], memory: [] });

function* figures(what: string, against: string, ours: Arm, theirs: Arm): Generator<Figure> {
	const about = { against };
	yield figure({ ...about, what: `a turn ${what}`, unit: "ms" }, compared(ours.times, theirs.times));
	yield figure({ ...about, what: `OpenCode's CPU in a turn ${what}`, unit: "ms" }, compared(ours.cpu, theirs.cpu));
	yield figure({ ...about, what: `OpenCode's memory ${what}`, unit: "MB" }, compared(ours.memory, theirs.memory));
}

/** Takes a turn on an arm. */
async function take(into: Arm, pid: number, act: () => Promise<number>): Promise<void> {
	const before = used(pid);
	into.times.push(await act());
	const after = used(pid);
	into.cpu.push(after.cpuMs - before.cpuMs);
	into.memory.push(after.memoryMb);
}

/** The agent beside OpenCode, started and stopped by turns: the same OpenCode, the same session. */
async function* withAgent(context: Context): AsyncGenerator<Figure> {
	const model = await startModel();
	const opencode = await startOpencode({ root: join(context.folder, "agent"), model });
	const [ours, theirs] = [arm(), arm()];
	const id = await sessionForTurns(opencode);
	const env = {
		...opencode.env,
		OPENCODE_OUTBOX_DATA_DIR: join(context.folder, "agent-data"),
		OPENCODE_OUTBOX_PORT: "0",
	};
	try {
		for (let round = 0; round < (context.isQuick ? 1 : ROUNDS / 4); round++)
			for (const side of round % 2 === 0 ? [theirs, ours] : [ours, theirs]) {
				const agent = side === ours ? startCli(["run", "--json", "--opencode-url", opencode.url], env) : undefined;
				await agent?.ready();
				await timeTurn(opencode, id);
				for (let n = 0; n < 4; n++) await take(side, opencode.pid, () => timeTurn(opencode, id));
				await agent?.stop();
			}
	} finally {
		await opencode.stop();
		await model.close();
	}
	yield* figures("beside the agent", "the same OpenCode alone", ours, theirs);
}

/** The plugin inside OpenCode, with the agent that it started, in one of two projects. */
async function* withPlugin(context: Context): AsyncGenerator<Figure> {
	const model = await startModel();
	const data = join(context.folder, "plugin-data");
	const root = (name: string) => join(context.folder, name);
	// Two processes, since memory is a process's own.
	const [plain, plugged] = [
		await startOpencode({ root: root("plain"), model }),
		await startOpencode({ root: root("plugged"), model }),
	];
	const settings = { "data-dir": data, port: 0, "idle-stop": "never" };
	const [ours, theirs] = [arm(), arm()];
	try {
		const [client, other] = [project(plugged, root("with"), settings), project(plain, root("without"))];
		const [id, otherId] = [await sessionForTurns(client), await sessionForTurns(other)];
		await untilAgentRuns(data);
		for (let round = 0; round < (context.isQuick ? 1 : ROUNDS); round++) {
			const turns = [
				() => take(ours, plugged.pid, () => timeTurn(client, id)),
				() => take(theirs, plain.pid, () => timeTurn(other, otherId)),
			];
			for (const one of round % 2 === 0 ? turns : turns.reverse()) await one();
		}
	} finally {
		await endAgent(data);
		await plugged.stop();
		await plain.stop();
		await model.close();
	}
	yield* figures("with the plugin and its agent", "an OpenCode without", ours, theirs);
}
