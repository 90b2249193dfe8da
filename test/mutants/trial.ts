import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { SIMULATION } from "./mutant.ts";

/**
 * How the simulation is run, and the line with which it tells what it found. 160 walks are less than a tenth of what CI
 * runs; in one process, as `--jobs` of the mutants counts them.
 */
const SIMULATED = {
	script: "test/simulation/main.ts",
	args: ["--seeds", "160", "--jobs", "1", "--bail"],
	finding: /^SEED=\d+ failed.*$/m,
} as const;

/** Longer than any of the tests takes on a busy machine: a fault that makes them run on for ever is caught, too. In ms. */
const LIMIT_MS = 240_000;

/** What came of a run: `caught` tells what noticed the fault, `broken` that nothing was tested at all. */
export type Trial =
	| { readonly outcome: "passed" }
	| { readonly outcome: "caught"; readonly by: string; readonly test?: string }
	| { readonly outcome: "broken"; readonly why: string };

/** True when what a list of catchers names is there. */
export function exists(catcher: string, root: string): boolean {
	return existsSync(join(root, catcher === SIMULATION ? SIMULATED.script : `test/${catcher}`));
}

/**
 * Runs a test file, or the simulation, in a copy of the project.
 *
 * @param only the one test of the file to be run, by its title.
 */
export async function tryOn(folder: string, catcher: string, only?: string): Promise<Trial> {
	return catcher === SIMULATION ? simulate(folder) : runTests(folder, catcher, only);
}

async function simulate(folder: string): Promise<Trial> {
	const { args, finding, script } = SIMULATED;
	const run = await execute(folder, [script, ...args]);
	const found = finding.exec(run.output)?.[0].trim();
	if (found !== undefined) return { outcome: "caught", by: `${SIMULATION}: ${found.slice(0, 300)}` };
	if (run.code === 0) return { outcome: "passed" };
	if (run.isLate) return { outcome: "caught", by: `${SIMULATION}: it did not end` };
	return { outcome: "broken", why: run.output.slice(-2000) };
}

async function runTests(folder: string, file: string, only?: string): Promise<Trial> {
	const report = join(folder, `report-${randomUUID()}.json`);
	const vitest = ["node_modules/vitest/vitest.mjs", "run", `test/${file}`, "--bail=1", "--cache=false"];
	const pattern = only === undefined ? [] : ["--testNamePattern", `${escaped(only)}$`];
	const run = await execute(folder, [...vitest, ...pattern, "--reporter=json", `--outputFile=${report}`]);
	if (run.isLate) return { outcome: "caught", by: `${file}: it did not end` };
	const results = resultsOf(report);
	const failed = results.find(({ status }) => status === "failed");
	if (failed) return { outcome: "caught", by: `${file}: ${failed.fullName}`, test: failed.title };
	// A file that cannot be loaded fails without a test that does; a name that fits none passes without one.
	if (run.code === 0 && results.some(({ status }) => status === "passed")) return { outcome: "passed" };
	return { outcome: "broken", why: run.output.slice(-2000) };
}

interface Result {
	readonly status: string;
	readonly title: string;
	/** With the titles of what it stands in. */
	readonly fullName: string;
}

function resultsOf(report: string): readonly Result[] {
	if (!existsSync(report)) return [];
	const { testResults } = JSON.parse(readFileSync(report, "utf8")) as { testResults: { assertionResults: Result[] }[] };
	return testResults.flatMap(({ assertionResults }) => assertionResults);
}

/** A text as a regular expression that fits it alone. */
function escaped(text: string): string {
	return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}

/** Runs Node until it ends, or has taken LIMIT_MS: then it `isLate`. Whatever it has started ends with it. */
function execute(
	cwd: string,
	args: readonly string[],
): Promise<{ code: number | null; output: string; isLate: boolean }> {
	return new Promise((resolve, reject) => {
		// A process group of its own, so that tests that hang are ended with their children.
		const child = spawn(process.execPath, args, { cwd, detached: true });
		const end = () => {
			try {
				if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
			} catch {
				// It has just ended by itself.
			}
		};
		let [output, isLate] = ["", false];
		for (const stream of [child.stdout, child.stderr]) {
			stream.setEncoding("utf8");
			stream.on("data", (text: string) => {
				output = (output + text).slice(-100_000);
			});
		}
		const limit = setTimeout(() => {
			isLate = true;
			end();
		}, LIMIT_MS);
		process.once("exit", end);
		child.once("error", reject);
		child.once("close", (code) => {
			clearTimeout(limit);
			process.off("exit", end);
			resolve({ code, output, isLate });
		});
	});
}
