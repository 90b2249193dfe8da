import { fork } from "node:child_process";
import { accessSync, constants, mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ownImmediates } from "./timeline.ts";
import { FLUSHES_MAX, type HostOn, type Report, STEPS, Walk } from "./walk.ts";

const HELP = `Walks seeded histories of a simulated world and holds each to the guarantees.

  npm run test:simulation -- [options]
  SEED=n npm run test:simulation      one history again, with its log

  --seeds N    how many (default 100000)
  --from N     the first one (default 1)
  --only N,M   these, and no others
  --steps N    steps of each, before the faults stop (default ${STEPS})
  --jobs N     processes (default: one per core)
  --bail       a process ends with its first failure
  --host H     node (default); workerd: the share server's Durable Objects, slower by far (default 40 seeds, 1 process)
`;
/** Between two lines that say how far it has come, in ms. */
const PROGRESS_MS = 10_000;
/** Lines of the log that a failed walk shows. */
const LINES_SHOWN = 60;

const { values } = parseArgs({
	options: {
		host: { type: "string", default: "node" },
		seeds: { type: "string" },
		from: { type: "string", default: "1" },
		only: { type: "string" },
		steps: { type: "string", default: String(STEPS) },
		jobs: { type: "string" },
		bail: { type: "boolean", default: false },
		help: { type: "boolean", default: false },
	},
});
const only = values.only?.split(",").map(Number);
const isOnObjects = values.host === "workerd";
const seeds = only?.length ?? Number(values.seeds ?? (isOnObjects ? 40 : 100_000));
const [from, steps] = [values.from, values.steps].map(Number) as [number, number];
const jobs = Number(values.jobs ?? (isOnObjects ? 1 : availableParallelism()));
if (values.help) process.stdout.write(HELP);
else if (process.env.SEED) await one(Number(process.env.SEED));
else if (process.send) await walkShare();
else await walkAll();

/** One seed, in this process, with all that was logged. */
async function one(seed: number): Promise<void> {
	ownImmediates();
	const report = await inFolder((root) => onHost((hostOn) => Walk.run(seed, root, steps, hostOn)));
	const { failure, faults, ...rest } = report;
	for (const line of failure?.log ?? []) console.log(line);
	console.log({ ...rest, faults: Object.fromEntries(faults) });
	console.log(failure ? `SEED=${seed} failed: ${failure.message}` : `SEED=${seed} holds`);
	process.exitCode = failure ? 1 : 0;
}

/** A child's share of the seeds: every `jobs`-th one. Reports go to the parent as they come. */
async function walkShare(): Promise<void> {
	ownImmediates();
	// Where an error was made is told by running its seed alone.
	Error.stackTraceLimit = 0;
	await inFolder((root) =>
		onHost(async (hostOn) => {
			for (let n = 0; n < seeds; n += jobs) {
				const report = await Walk.run(only?.[n] ?? from + n, root, steps, hostOn);
				process.send?.({ ...report, faults: [...report.faults] });
				if (values.bail && report.failure) break;
			}
		}),
	);
	process.disconnect();
}

async function walkAll(): Promise<void> {
	const began = performance.now();
	const sum = { seeds: 0, steps: 0, changes: 0, applied: 0, calls: 0, faults: 0, flushes: 0, failed: 0 };
	const kinds = new Map<string, number>();
	const take = (report: Omit<Report, "faults"> & { faults: [string, number][] }) => {
		const { seed, failure } = report;
		sum.seeds++;
		for (const name of ["steps", "changes", "applied", "calls"] as const) sum[name] += report[name];
		sum.flushes = Math.max(sum.flushes, report.flushes);
		for (const [name, times] of report.faults) {
			kinds.set(name, (kinds.get(name) ?? 0) + times);
			sum.faults += times;
		}
		if (failure === undefined) return;
		sum.failed++;
		console.log(`SEED=${seed} failed at step ${report.steps}: ${failure.message}`);
		if (sum.failed === 1) for (const line of failure.log.slice(-LINES_SHOWN)) console.log(`    ${line}`);
	};
	const progress = setInterval(() => {
		const each = (performance.now() - began) / Math.max(1, sum.seeds);
		const left = Math.round((each * (seeds - sum.seeds)) / 1000);
		console.log(`${sum.seeds} of ${seeds} seeds, ${sum.failed} failed, about ${left} s left`);
	}, PROGRESS_MS);
	const children = Array.from({ length: Math.min(jobs, seeds) }, (_, index) => {
		const share = only
			? ["--only", only.slice(index).join()]
			: ["--seeds", `${seeds - index}`, "--from", `${from + index}`];
		const same = [
			"--host",
			values.host,
			"--steps",
			String(steps),
			"--jobs",
			String(jobs),
			...(values.bail ? ["--bail"] : []),
		];
		return fork(import.meta.filename, [...share, ...same]).on("message", take);
	});
	const codes = await Promise.all(
		children.map((child) => new Promise<number | null>((resolve) => child.once("exit", resolve))),
	);
	clearInterval(progress);
	const seconds = ((performance.now() - began) / 1000).toFixed(0);
	console.log(
		`${sum.seeds} seeds of ${steps} steps in ${seconds} s on ${children.length} processes: ${sum.failed} failed`,
	);
	console.log(
		`${sum.changes} changes in OpenCode, ${sum.applied} ops applied, ${sum.calls} calls, ${sum.faults} faults`,
	);
	console.log(`drained after the faults within ${sum.flushes} flushes (${FLUSHES_MAX} are allowed)`);
	for (const [name, times] of [...kinds].sort(([a], [b]) => (a < b ? -1 : 1))) console.log(`  ${name}: ${times}`);
	process.exitCode = sum.failed > 0 || sum.seeds < seeds || codes.some((code) => code !== 0) ? 1 : 0;
}

/** With what makes the walks' servers; what that needs ends with `body`. */
async function onHost<T>(body: (hostOn: HostOn | undefined) => Promise<T>): Promise<T> {
	if (!isOnObjects) return body(undefined);
	// Loaded for this only: it brings a bundler and a runtime along.
	const { ObjectServer, startObjects } = await import("./object-server.ts");
	const objects = await startObjects();
	try {
		return await body((site) => new ObjectServer(site, objects));
	} finally {
		await objects.close();
	}
}

/** In memory where the machine has room for files there: what an fsync costs is not what is looked at. */
async function inFolder<T>(body: (root: string) => Promise<T>): Promise<T> {
	const root = mkdtempSync(join(isWritable("/dev/shm") ? "/dev/shm" : tmpdir(), "outbox-simulation-"));
	try {
		return await body(root);
	} finally {
		rmSync(root, { recursive: true, force: true });
	}
}

function isWritable(path: string): boolean {
	try {
		accessSync(path, constants.W_OK);
		return true;
	} catch {
		return false;
	}
}
