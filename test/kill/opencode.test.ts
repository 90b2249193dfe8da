import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Lab, type Machine, type Server } from "../e2e/lab.ts";
import type { Opencode } from "../fixture/opencode.ts";
import type { Files } from "./files.ts";
import { checkDrained } from "./oracle.ts";
import { Random } from "./random.ts";
import { KillTable } from "./table.ts";

/** `SEED=n` makes the same choices again; `OPENCODE_KILLS=n` kills so often. A start of OpenCode takes 2 s of processor. */
const SEED = Number(process.env.SEED ?? 3);
const KILLS = Number(process.env.OPENCODE_KILLS ?? 2);
/** A turn of so many words, each a moment after the other, takes 2 s; kills fall into the first half or after it. */
const WORDS = 100;
const PAUSE_MS = 20;
const TURN_MS = WORDS * PAUSE_MS;

const lab = new Lab();
const table = new KillTable();
let server: Server;
let machine: Machine;
let files: Files;
beforeAll(async () => {
	(await lab.model()).pauseMs = PAUSE_MS;
	server = await lab.server();
	const home = await lab.home("opencode");
	machine = lab.machine("machine", home, server);
	files = { opencode: home.databasePath, outbox: `${machine.dataDir}/outbox.db`, shares: server.database };
});
afterAll(async () => {
	await lab.close();
	console.log(table.text());
});

test(`OpenCode itself, killed ${KILLS} times in a turn, half of them with the agent: the share ends as OpenCode's files do`, {
	timeout: 60_000 + KILLS * 40_000,
}, async () => {
	const random = new Random(SEED);
	const ledgers = new Map<string, readonly string[]>();
	const sessions: string[] = [];
	let opencode: Opencode | undefined;
	for (let kill = 0; kill < KILLS; kill++) {
		opencode = await lab.opencode("opencode");
		const agent = await machine.run();
		// A session that a kill has interrupted goes on in its next turn, or is left as it is.
		const last = sessions.at(-1);
		const id = last !== undefined && random.chance(0.5) ? last : (await opencode.createSession()).id;
		if (id !== last) sessions.push(id);
		const verb = random.pick(["say", "say", "run", "todo"]);
		const text = verb === "run" ? "echo hello" : Array.from({ length: WORDS }, (_, n) => `word${n}`).join(" ");
		await opencode.promptAsync(id, `${verb}: ${text}`);
		await delay(TURN_MS * random.next());
		const takesAgent = random.chance(0.5);
		await Promise.all([opencode.kill(), takesAgent ? agent.kill() : undefined]);
		table.count("OpenCode, in a turn", takesAgent ? `${verb}, with the agent` : (verb ?? ""));
		if (!takesAgent) await agent.kill();

		expect(await machine.flush("--timeout", "60s")).toMatchObject({ code: 0, drained: true, pending: 0, dead: 0 });
		expect((await checkDrained(files, ledgers)).faults).toEqual([]);
	}
	await machine.expectEqual(...sessions);
	expect((await machine.status()).attention).toEqual([]);
});
