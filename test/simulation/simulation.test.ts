import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { REGRESSIONS } from "./regressions.ts";

const MAIN = join(import.meta.dirname, "main.ts");
/** `SEEDS=n` walks that many. 80 leave room in a quarter of an hour for the tests that start a real OpenCode. */
const SEEDS = process.env.SEEDS ?? "80";

/** Walks seeds to their end, in processes of their own, since a world owns its process's event loop. */
async function simulate(options: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<string> {
	const run = promisify(execFile);
	const { stdout } = await run(process.execPath, [MAIN, ...options], { env: { ...process.env, ...env } }).catch(
		(error: Error & { stdout?: string }) => {
			throw new Error(`${error.message}\n${error.stdout ?? ""}`);
		},
	);
	return stdout;
}

test("whatever goes wrong, nothing is lost, doubled, reordered or stuck", { timeout: 900_000 }, async () => {
	const told = await simulate(["--seeds", SEEDS]);
	console.log(told);
	expect(told).toContain(`${SEEDS} seeds of 200 steps`);
	expect(told).toContain(": 0 failed");
});

test("a seed is one history", { timeout: 120_000 }, async () => {
	const [once, again] = [await simulate([], { SEED: "7" }), await simulate([], { SEED: "7" })];
	expect(once).toMatch(/applied: [1-9]/);
	expect(again).toBe(once);
});

test("what it once found does not come back", { timeout: 120_000 }, async () => {
	const seeds = REGRESSIONS.map(({ seed }) => seed);
	const told = await simulate(["--only", seeds.join(), "--jobs", "1"]).catch((error: Error) => error.message);
	const isBack = ({ seed }: { seed: number }) => told.includes(`SEED=${seed} failed`);
	expect(REGRESSIONS.filter(isBack), told).toEqual([]);
	expect(told).toContain(`${seeds.length} seeds of 200 steps`);
	expect(told).toContain(": 0 failed");
});
