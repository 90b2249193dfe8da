import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import type { Figure } from "../../bench/figure.ts";

const MAIN = fileURLToPath(new URL("../../bench/main.ts", import.meta.url));
const BENCHES = ["append", "queue", "plainjob", "backlog", "idle", "shrink", "slow"];

test("every bench runs and prints figures", async () => {
	const run = promisify(execFile)(process.execPath, [MAIN, "--quick", "--json", "--only", BENCHES.join(",")]);
	const { stdout, stderr } = await run;
	for (const name of BENCHES) expect(stderr).toContain(`${name}: `);
	const figures = stdout
		.trim()
		.split("\n")
		.map((text) => JSON.parse(text) as Figure);
	expect(figures.length).toBeGreaterThanOrEqual(BENCHES.length);
	for (const { what, ours, theirs, ratio } of figures)
		for (const spread of [ours, theirs, ratio])
			if (spread !== null) expect({ what, ...spread }).toEqual({ what, ...numbers });
}, 120_000);

// JSON has no NaN: null stands for it, and is no number.
const numbers = { median: expect.any(Number), low: expect.any(Number), high: expect.any(Number) };
