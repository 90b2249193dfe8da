import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openToOthers } from "../fixture/cli.ts";
import { IS_LONG } from "../fixture/extent.ts";
import type { Opencode } from "../fixture/opencode.ts";
import { endAgent, project, untilAgentRuns } from "../fixture/plugin.ts";
import { sessionForTurns, timeTurn } from "../fixture/turns.ts";
import { Lab, type Machine } from "./lab.ts";

const lab = new Lab();
let opencode: Opencode;
let machine: Machine;

beforeAll(async () => {
	opencode = await lab.opencode();
	machine = lab.machine("machine", opencode);
});
afterAll(() => lab.close());

/** What tells whether a file was written: identity, size, time of the last write, content. */
function stateOf(path: string) {
	if (!existsSync(path)) return undefined;
	const { ino, size, mtimeMs } = statSync(path);
	return { ino, size, mtimeMs, sha: createHash("sha256").update(readFileSync(path)).digest("hex") };
}

/** How a process has opened the files that lie below `directory`: Linux tells it in /proc. */
function openFiles(pid: number, directory: string): { path: string; mode: "read" | "write" }[] {
	return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
		try {
			const path = readlinkSync(`/proc/${pid}/fd/${fd}`);
			if (!path.startsWith(directory)) return [];
			const flags = /^flags:\s+([0-7]+)$/m.exec(readFileSync(`/proc/${pid}/fdinfo/${fd}`, "utf8"))?.[1] ?? "";
			return [{ path, mode: (Number.parseInt(flags, 8) & 0o3) === 0 ? ("read" as const) : ("write" as const) }];
		} catch {
			return [];
		}
	});
}

function median(numbers: readonly number[]): number {
	return Math.round([...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? 0);
}

describe("OpenCode is not touched", () => {
	// Turns are timed by `npm run test:e2e`, which holds them to a bound, and by `npm run bench`, which prints them.
	it.skipIf(process.platform !== "linux")(
		"its database is opened read-only",
		async () => {
			const { id } = await opencode.createSession();
			await opencode.prompt(id, "say: read only");
			const agent = await machine.run();
			await machine.untilSent();
			const opened = openFiles(agent.pid, opencode.dataDirectory);
			const databases = opened.filter(({ path }) => path === opencode.databasePath);
			expect(databases.length).toBeGreaterThan(0);
			expect(databases.filter(({ mode }) => mode === "write")).toEqual([]);
			// SQLite opens these two for its locks even where it only reads; what is in the log is compared below.
			const beside = new Set([`${opencode.databasePath}-wal`, `${opencode.databasePath}-shm`]);
			expect(opened.filter(({ path, mode }) => mode === "write" && !beside.has(path))).toEqual([]);
			await agent.stop();
		},
		60_000,
	);

	it.skipIf(!IS_LONG)(
		"its turn takes no longer with the agent running (measured side by side)",
		async () => {
			const usual = lab.machine("usual", opencode, undefined, { OPENCODE_OUTBOX_POLL: "500ms" });
			const arms = { without: null, polling: [], listening: ["--opencode-url", opencode.url] };
			const times = { without: [] as number[], polling: [] as number[], listening: [] as number[] };
			const { id: warm } = await opencode.createSession();
			for (let n = 0; n < 3; n++) await opencode.prompt(warm, "say: warming up");
			for (let round = 0; round < 4; round++) {
				for (const arm of ["without", "polling", "listening"] as const) {
					const agent = arms[arm] && (await usual.run(...arms[arm]));
					if (arm === "listening")
						await usual.until("the agent to hear OpenCode", "SELECT 1 FROM agent WHERE opencode_connected = 1");
					const id = await sessionForTurns(opencode);
					for (let n = 0; n < 4; n++) times[arm].push(await timeTurn(opencode, id));
					await agent?.stop();
				}
			}
			const [without, polling, listening] = [times.without, times.polling, times.listening].map(median);
			console.log(
				`a turn of OpenCode, median of ${times.without.length}: ${without} ms without the agent, ${polling} ms with it, ${listening} ms with it and --opencode-url`,
			);
			// A guard against gross harm only: the machine is noisy, and the model here answers at once.
			for (const beside of [polling, listening]) expect(beside).toBeLessThan(2 * (without ?? 0) + 50);
			expect(await usual.flush()).toMatchObject({ code: 0, drained: true });
			await usual.expectEqual();
		},
		120_000,
	);

	it.skipIf(!IS_LONG)(
		"its turn takes no longer with the plugin, alone or with an agent that listens (measured side by side)",
		async () => {
			const data = lab.path("plugin-data");
			const settings = { "data-dir": data, port: 0, "idle-stop": "never" };
			const arms = {
				without: project(opencode, lab.path("turns", "without")),
				plugin: project(opencode, lab.path("turns", "plugin"), { "data-dir": lab.path("nowhere"), start: false }),
				both: project(opencode, lab.path("turns", "both"), settings),
			};
			const times = { without: [] as number[], plugin: [] as number[], both: [] as number[] };
			const begun: Record<string, string> = {};
			for (const arm of ["without", "plugin", "both"] as const) begun[arm] = await sessionForTurns(arms[arm]);
			await untilAgentRuns(data);
			try {
				for (let round = 0; round < 12; round++)
					for (const arm of ["without", "plugin", "both"] as const)
						times[arm].push(await timeTurn(arms[arm], begun[arm] ?? ""));
			} finally {
				await endAgent(data);
			}
			const [without, plugin, both] = [times.without, times.plugin, times.both].map(median);
			console.log(
				`a turn of OpenCode, median of ${times.without.length}: ${without} ms without the plugin, ${plugin} ms with it, ${both} ms with it and the agent it started`,
			);
			for (const beside of [plugin, both]) expect(beside).toBeLessThan(2 * (without ?? 0) + 50);
		},
		240_000,
	);

	it("not a byte of its database changes by capturing, not even of the log that a killed OpenCode left", async () => {
		const { id } = await opencode.createSession();
		await opencode.prompt(id, "say: left behind");
		await opencode.kill();
		const paths = [opencode.databasePath, `${opencode.databasePath}-wal`];
		const before = paths.map(stateOf);
		expect(before[1]?.size).toBeGreaterThan(0);
		const agent = await machine.run();
		expect(await machine.flush()).toMatchObject({ code: 0, drained: true });
		expect(paths.map(stateOf)).toEqual(before);
		await machine.expectEqual(id);
		expect(await agent.stop()).toBe(0);
		expect(paths.map(stateOf)).toEqual(before);
	}, 60_000);
});

describe("the data directory", () => {
	it("has mode 0700 and its files 0600, while the agent runs and after", async () => {
		const agent = await machine.run();
		await machine.until("the agent to run", "SELECT 1 FROM agent WHERE state = 'running'");
		expect(openToOthers(machine.dataDir)).toEqual([]);
		const names = readdirSync(machine.dataDir, { recursive: true });
		expect(names).toEqual(
			expect.arrayContaining(["outbox.db", "outbox.db-wal", "agent.lock", "server/share.db", "server/key"]),
		);
		await agent.stop();
		expect(openToOthers(machine.dataDir)).toEqual([]);
	}, 60_000);

	it("no secret is in any output", () => lab.expectNothingTold());
});
