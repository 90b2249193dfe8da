import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { MUTANTS } from "./list.ts";
import { type Mutant, SIMULATION } from "./mutant.ts";
import { exists, type Trial, tryOn } from "./trial.ts";
import { mutated, Workspace } from "./workspace.ts";

/**
 * Puts each mutant into a copy of the project and runs what is to catch it, one after another until something does.
 *
 *     npm run test:mutants [-- --only NAME] [--by CATCHER] [--jobs N]
 *
 * `--by simulation` lets nothing else look, at the mutants that name it. Ends with 1 when one survives.
 */
const { values: options } = parseArgs({
	options: {
		only: { type: "string", multiple: true, default: [] },
		jobs: { type: "string", default: "2" },
		by: { type: "string" },
	},
});

interface Result {
	readonly mutant: Mutant;
	readonly trials: readonly { readonly catcher: string; readonly trial: Trial }[];
	readonly seconds: number;
}

/** How often something is tried that must pass without a fault. */
const TRIES = 3;
const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const mayCatch = (catcher: string) => options.by === undefined || options.by === catcher;
const chosen = MUTANTS.filter(({ caughtBy }) => caughtBy.some(mayCatch)).filter(
	({ name }) => options.only.length === 0 || options.only.includes(name),
);
if (chosen.length < Math.max(1, options.only.length))
	fail("there is no such mutant, or nothing of that name catches it");

// Before minutes are spent on the others.
for (const mutant of chosen) mutated(readFileSync(`${ROOT}src/${mutant.file}`, "utf8"), mutant);

const named = [...new Set(chosen.flatMap(({ caughtBy }) => caughtBy.filter(mayCatch)))];
const absent = named.filter((catcher) => !exists(catcher, ROOT));
const catchersOf = ({ caughtBy }: Mutant) => caughtBy.filter(mayCatch).filter((catcher) => !absent.includes(catcher));
for (const catcher of absent) console.log(`not there, left out: ${catcher}`);

process.once("SIGINT", () => process.exit(130));
process.once("SIGTERM", () => process.exit(143));

// What fails on the sources as they are would catch anything.
const without = new Workspace();
process.once("exit", () => without.remove());
await each(
	named.filter((catcher) => !absent.includes(catcher)),
	async (catcher) => {
		let trial = await tryOn(without.folder, catcher);
		for (let tries = 1; trial.outcome !== "passed" && tries < TRIES; tries++)
			trial = await tryOn(without.folder, catcher);
		if (trial.outcome !== "passed") fail(`without a mutant, this does not pass: ${told(trial)}`);
	},
);
console.log(`without a mutant, all ${named.length - absent.length} pass`);

const results: Result[] = [];
await each(chosen, async (mutant) => {
	const result = await judge(mutant);
	results.push(result);
	console.log(row(result));
});

const survivors = results.filter((result) => !isCaught(result));
console.log(`\n${results.length - survivors.length} of ${results.length} mutants were caught`);
for (const { mutant, trials } of survivors) {
	console.log(`\nNOT CAUGHT: ${mutant.name} (${mutant.guarantee}, src/${mutant.file})\n  ${mutant.does}`);
	for (const { catcher, trial } of trials) console.log(`  ${catcher}: ${told(trial)}`);
}
process.exitCode = survivors.length > 0 ? 1 : 0;

async function judge(mutant: Mutant): Promise<Result> {
	const started = performance.now();
	const workspace = new Workspace(mutant);
	const remove = () => workspace.remove();
	process.once("exit", remove);
	const trials: { catcher: string; trial: Trial }[] = [];
	try {
		for (const catcher of catchersOf(mutant)) {
			const trial = await confirmed(workspace, catcher);
			trials.push({ catcher, trial });
			if (trial.outcome !== "passed") break;
		}
	} finally {
		remove();
		process.off("exit", remove);
	}
	return { mutant, trials, seconds: (performance.now() - started) / 1000 };
}

/** What fails with the fault must pass right afterwards without it: a busy machine makes tests fail as well. */
async function confirmed(workspace: Workspace, catcher: string): Promise<Trial> {
	let why = "";
	for (let tries = 0; tries < TRIES; tries++) {
		const trial = await tryOn(workspace.folder, catcher);
		if (trial.outcome !== "caught") return trial;
		// The simulation depends on no time but its own.
		if (catcher === SIMULATION) return trial;
		const control = await tryOn(without.folder, catcher, trial.test);
		if (control.outcome === "passed") return trial;
		why = told(control);
	}
	return { outcome: "broken", why: `it does not pass without a mutant either: ${why}` };
}

function isCaught({ trials }: Result): boolean {
	return trials.at(-1)?.trial.outcome === "caught";
}

function row(result: Result): string {
	const { mutant, trials, seconds } = result;
	const last = trials.at(-1)?.trial;
	const verdict = last?.outcome === "caught" ? last.by : "NOT CAUGHT";
	return `| ${mutant.name} | ${mutant.guarantee} | ${verdict} | ${seconds.toFixed(1)} |`;
}

function told(trial: Trial): string {
	if (trial.outcome === "caught") return trial.by;
	return trial.outcome === "broken" ? `could not be run: ${trial.why}` : "passed";
}

/** Works through a list, `--jobs` at once. */
async function each<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
	const queue = [...items];
	const next = async () => {
		for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item);
	};
	await Promise.all(Array.from({ length: Math.max(1, Number(options.jobs) || 1) }, next));
}

function fail(message: string): never {
	console.error(message);
	process.exit(1);
}
