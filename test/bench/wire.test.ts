import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { expect, test } from "vitest";

const MAIN = join(import.meta.dirname, "..", "..", "bench", "main.ts");

/** Runs benches at a hundredth of their size. */
async function quickly(...names: string[]) {
	const args = [MAIN, "--quick", "--json", "--only", names.join(",")];
	const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
	let [out, err] = ["", ""];
	child.stdout.setEncoding("utf8").on("data", (text: string) => (out += text));
	child.stderr.setEncoding("utf8").on("data", (text: string) => (err += text));
	const [code] = await once(child, "close");
	expect(code, err).toBe(0);
	return out
		.trim()
		.split("\n")
		.map((line) => JSON.parse(line) as { what: string; ratio: { median: number }; ours: { median: number } | null });
}

/** Those of the real OpenCode, `share` and `turn`, take a minute each, and `objects` starts a workerd: `npm run bench` alone runs them. */
test("the benches of the wire, the server and the capture run and tell figures", async () => {
	const figures = await quickly("drain", "apply", "distance", "latency", "capture");
	expect(figures.length).toBe(11);
	for (const { what, ratio, ours } of figures) {
		expect(ratio.median, what).toBeGreaterThan(0);
		expect(Number.isFinite(ratio.median), what).toBe(true);
		expect(Number.isFinite(ours?.median), what).toBe(true);
	}
}, 120_000);
