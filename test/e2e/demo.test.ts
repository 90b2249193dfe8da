import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, it } from "vitest";

const DEMO = fileURLToPath(new URL("../demo/demo.ts", import.meta.url));
/** What the demo promises. */
const DEMO_MS_MAX = 120_000;

it("the demo runs to its end in two minutes and finds no difference", async () => {
	const { stdout } = await promisify(execFile)(process.execPath, [DEMO], {
		timeout: DEMO_MS_MAX,
		killSignal: "SIGINT",
	});
	expect(stdout).toContain("Nothing is lost, nothing is doubled.");
}, 140_000);
