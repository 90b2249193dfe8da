import { copyFileSync, existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Agent } from "../../src/agent/agent.ts";
import { mulberry32 } from "../fixture/random.ts";
import { openServer } from "./direct.ts";
import { fastFolder, type LogLine, startAgent } from "./machine.ts";
import { type Checkpointed, makePrototype, type Prototype, SESSIONS, type Wound, wound } from "./wounded.ts";

/** `SEED=n` runs one trial again, `TRIALS=n` that many; `npm run test:damage` all of the 1,200. */
const TRIALS = Number(process.env.TRIALS ?? 200);
const seeds = process.env.SEED ? [Number(process.env.SEED)] : Array.from({ length: TRIALS }, (_, n) => n + 1);
/** From the start of the agent until everything is at the server. */
const DRAINED_MS = 30_000;

const root = fastFolder();
const prototypes: Prototype[] = [];

beforeAll(async () => {
	for (const name of ["never", "in the middle", "at the end"] as Checkpointed[])
		prototypes.push(await makePrototype(join(root.path, name.replaceAll(" ", "-")), name));
}, 60_000);
afterAll(() => root.remove());

/** How a trial ended, as far as a person can tell. */
type End = "rebuilt" | "compared" | "rolled back" | "harmless";

async function trial(seed: number): Promise<{ wounded: Wound; end: End }> {
	const random = mulberry32(seed);
	const prototype = prototypes[seed % prototypes.length] as Prototype;
	const hasWal = existsSync(join(prototype.folder, "as-it-lay", "outbox.db-wal")) && prototype.name !== "at the end";
	const file = hasWal && random() < 0.5 ? "outbox.db-wal" : "outbox.db";
	const wounded: Wound = { file, kind: (["cut", "flip", "zero"] as const)[Math.floor(random() * 3)] ?? "cut" };
	const folder = join(root.path, `trial-${seed}`);
	copyOf(prototype, folder);
	const what = wound(folder, wounded, random);
	const log: LogLine[] = [];
	const story = () =>
		`SEED=${seed} (checkpointed ${prototype.name}, ${what})\n${JSON.stringify(log.slice(-12), null, 1)}`;
	const server = await openServer(join(folder, "share.db"));
	let agent: Agent | undefined;
	try {
		const opencode = join(prototype.folder, "opencode.db");
		agent = await startAgent({ folder, opencode, transport: server.transport, log }).catch((error: unknown) => {
			throw new Error(`it did not start: ${error}\n${story()}`);
		});
		expect(await agent.drain(AbortSignal.timeout(DRAINED_MS)), story()).toBe(true);
		await agent.drain(AbortSignal.timeout(DRAINED_MS));

		const at = new Map(prototype.applied.map((op) => [`${op.share_id} ${op.position}`, op.bytes]));
		for (const op of server.applied) {
			expect(prototype.said.has(`${op.key}\n${op.payload}`) || isRemoval(op.bytes), story()).toBe(true);
			const place = `${op.share_id} ${op.position}`;
			expect(at.get(place) ?? op.bytes, story()).toBe(op.bytes);
			at.set(place, op.bytes);
		}
		for (const id of SESSIONS) {
			const grant = prototype.grants.get(id);
			expect(agent.outbox.share(id), story()).toMatchObject(grant ?? {});
			const digests = server.digests(grant?.share_id ?? "", grant?.secret ?? "");
			expect(sorted(digests), `${id}, ${story()}`).toEqual(sorted(prototype.truth.get(id) ?? new Map()));
			expect(agent.outbox.session(id), story()).toMatchObject({ pending: 0, parked_code: null, compare_reason: null });
		}
		const shares = new Set(server.applied.map((op) => op.share_id));
		expect(shares.size, story()).toBeLessThanOrEqual(SESSIONS.length);
		return { wounded, end: endOf(folder, log, agent, story) };
	} finally {
		await agent?.stop();
		server.close();
		rmSync(folder, { recursive: true, force: true });
	}
}

/** Also checks that what happened was said as precisely as it can be. */
function endOf(folder: string, log: readonly LogLine[], agent: Agent, story: () => string): End {
	const aside = readdirSync(folder).filter((name) => /damaged-.*Z$/.test(name));
	const said = log.filter((line) => line.message.startsWith("The outbox was damaged"));
	expect(said.length, story()).toBe(aside.length);
	if (aside.length > 0) {
		const note = agent.outbox.agent()?.damage ?? "";
		expect(note, story()).toContain(aside.at(-1) ?? "");
		expect(note, story()).toMatch(/Saved: .*ops\.|Nothing in it could be read/);
		return "rebuilt";
	}
	if (log.some((line) => line.message.startsWith("comparing"))) return "compared";
	// The letter was the last but one thing that was written.
	return agent.outbox.deadLetters().length === 1 ? "harmless" : "rolled back";
}

function copyOf(prototype: Prototype, folder: string): void {
	mkdirSync(folder);
	const from = join(prototype.folder, "as-it-lay");
	for (const file of readdirSync(from)) copyFileSync(join(from, file), join(folder, file));
}

function isRemoval(bytes: string): boolean {
	return /^[^\n]+\n(message|part)_removed\n/.test(bytes);
}

function sorted(digests: ReadonlyMap<string, string>): [string, string][] {
	return [...digests].sort(([a], [b]) => (a < b ? -1 : 1));
}

test(`an outbox that was cut, flipped or zeroed sends nothing wrong and ends with equal shares (${seeds.length} trials)`, {
	timeout: 1_800_000,
}, async () => {
	const startedAt = performance.now();
	const ends = new Map<string, number>();
	for (const seed of seeds) {
		const { wounded, end } = await trial(seed);
		const name = `${wounded.file} ${wounded.kind}: ${end}`;
		ends.set(name, (ends.get(name) ?? 0) + 1);
	}
	const table = [...ends].sort().map(([name, count]) => `  ${name} ${count}`);
	const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
	console.log(`${seeds.length} trials of damage in ${seconds} s:\n${table.join("\n")}`);
});
