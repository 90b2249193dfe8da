import { afterAll, beforeAll, expect, test } from "vitest";
import { stopServer } from "./half-open.ts";
import { Random } from "./random.ts";
import { KillTable } from "./table.ts";
import { type Progress, type Victim, walk } from "./walk.ts";
import type { Shape } from "./world.ts";

/** `SEED=n` makes the same choices again, though the machine's timing is never the same; `KILLS=n` kills so often. */
const SEED = Number(process.env.SEED ?? 3);
const KILLS = Number(process.env.KILLS ?? 150);
/** Two worlds side by side keep two cores busy. */
const WORLDS = 2;
/** A kill with its share of drains and checks takes half a second of a machine that is otherwise idle; busy ones were seen to need 1.5. */
const MS_PER_KILL_MAX = 3000;
const TOLD_EVERY = 500;

const progress: Progress = {
	table: new KillTable(),
	attempts: { connections: 0, redemptions: 0 },
	...{ planned: 0, rounds: 0, applied: 0, compared: 0 },
};
const { table, attempts } = progress;
const startedAt = performance.now();
let ticker: NodeJS.Timeout;

beforeAll(() => {
	let told = 0;
	ticker = setInterval(() => {
		if (table.total - told < TOLD_EVERY) return;
		told = table.total;
		console.log(story());
	}, 1000);
});
afterAll(() => {
	clearInterval(ticker);
	console.log(`${story()}\n${table.text()}`);
});

function story(): string {
	const { rounds, applied, compared } = progress;
	const seconds = ((performance.now() - startedAt) / 1000).toFixed(0);
	const most = `at most ${attempts.connections} connections and ${attempts.redemptions} redemptions of a share`;
	return `${table.total} kills in ${seconds} s (SEED=${SEED}): ${rounds} drains, each with ${most}; ${applied} applied ops and ${compared} entities checked`;
}

// Side by side: the stopped servers need no processor, only time.
test.concurrent.each<Shape>(["remote", "http"])(
	"a server that was stopped for longer than every deadline applies what it had received, once and in order (%s)",
	{ timeout: 180_000 },
	async (shape) => {
		const { late, said } = await stopServer(shape);
		console.log(`stopped server (${shape}): ${late} ops applied that the agent had given up`);
		expect(said).toMatch(/"msg":"(connection ended|the share server is not reachable)"/);
	},
);

test.concurrent(`${KILLS} kills at random moments lose nothing, apply nothing twice, and keep the order`, {
	timeout: 60_000 + KILLS * MS_PER_KILL_MAX,
}, async () => {
	const random = new Random(SEED);
	let failure: unknown;
	const isOver = () => progress.planned >= KILLS || failure !== undefined;
	const walks = Array.from({ length: WORLDS }, (_, first) =>
		walk(first, random.fork(), progress, isOver).catch((e) => (failure ??= e)),
	);
	await Promise.all(walks);
	if (failure !== undefined) throw failure;
	expect(table.total).toBeGreaterThanOrEqual(KILLS);
});

test("the kills fell into starts, and into work that was captured, under way or already applied", () => {
	const expected: [victim: Victim, phase: RegExp, share: number][] = [
		["agent", /^starting/, 0.1],
		["agent", /^running/, 0.3],
		["agent", /under way|not acknowledged here/, 0.05],
		["server", /^starting/, 0.1],
		["server", /^running/, 0.3],
		["server", /under way|not acknowledged here/, 0.05],
		["writer of OpenCode's data", /in a transaction/, 0.05],
	];
	for (const [victim, phase, share] of expected)
		expect(table.of(victim, phase), `${victim} ${phase}\n${table.text()}`).toBeGreaterThan(table.of(victim) * share);
});

test("once the kills stop, a drain takes at most two connections and, on a WebSocket, two redemptions of each share", () => {
	expect(attempts.connections).toBeLessThanOrEqual(2);
	expect(attempts.redemptions).toBeLessThanOrEqual(2);
});
