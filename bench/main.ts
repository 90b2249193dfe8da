import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { messageOf } from "../src/model/errors.ts";
import { append } from "./append.ts";
import { apply } from "./apply.ts";
import { backlog } from "./backlog.ts";
import { capture } from "./capture.ts";
import { distance } from "./distance.ts";
import { drain } from "./drain.ts";
import type { Bench, Context, Figure } from "./figure.ts";
import { idle } from "./idle.ts";
import { latency } from "./latency.ts";
import { objects } from "./objects.ts";
import { queue } from "./queue.ts";
import { plainjob } from "./rivals.ts";
import { share } from "./share.ts";
import { shrink } from "./shrink.ts";
import { slow } from "./slow.ts";
import { HEAD, line, machine, RULE } from "./table.ts";
import { turn } from "./turn.ts";

/** In the order of the table (README.md). */
const BENCHES: readonly Bench[] = [
	...[append, queue, plainjob, drain, apply, distance, latency, capture, share],
	...[backlog, idle, shrink, slow, turn, objects],
];

const USAGE = `npm run bench [-- OPTIONS]

Measures what README.md of this folder explains, and prints each figure with both sides of its ratio, measured by turns
in this run. No figure is a test: exit code 0 when everything ran, whatever it came to.

  --only A,B           ${BENCHES.map(({ name }) => name).join(", ")}
  --repeats N          how often each side is measured (5)
  --quick              a hundredth of the size: proves that it runs, and no figure
  --folder D           measure the disk on which D lies (${tmpdir()})
  --server URL         send to this server instead of one of the bench's own, where a bench sends at all
  --server-key-file F  its key
  --json               one JSON object per figure, instead of the table
`;

const { values: options } = readArguments();
const chosen = options.only === undefined ? BENCHES : options.only.split(",").map(named);
const folder = mkdtempSync(join(options.folder ?? tmpdir(), "outbox-bench-"));
process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(130));

const isQuick = options.quick ?? false;
const context: Context = {
	...{ folder, isQuick, server: serverOf() },
	repeats: options.repeats === undefined ? (isQuick ? 1 : 5) : count(options.repeats),
	tell: (text) => void process.stderr.write(`${text}\n`),
};
const say = (text: string) => void process.stdout.write(`${text}\n`);
const notes: string[] = [];

if (!options.json) say(`${machine()}\n\n${HEAD}\n${RULE}`);
for (const bench of chosen) {
	context.tell(`${bench.name}: ${bench.about}`);
	for await (const figure of bench.run({ ...context, folder: mkdtempSync(join(folder, `${bench.name}-`)) }))
		show(figure);
}
if (!options.json && notes.length > 0) say(`\n${notes.join("\n")}`);
process.exit(0);

function show(figure: Figure): void {
	say(options.json ? JSON.stringify(figure) : line(figure));
	if (figure.note !== undefined) notes.push(`- ${figure.what}: ${figure.note}`);
}

function named(name: string): Bench {
	return BENCHES.find((bench) => bench.name === name) ?? wrong(`there is no bench ${name}`);
}

function count(text: string): number {
	return /^[1-9]\d{0,3}$/.test(text) ? Number(text) : wrong(`--repeats takes a number from 1 on, not ${text}`);
}

function serverOf(): Context["server"] {
	const { server: url, "server-key-file": keyFile } = options;
	if (url === undefined && keyFile === undefined) return undefined;
	return url !== undefined && keyFile !== undefined ? { url, keyFile } : wrong("--server goes with --server-key-file");
}

function readArguments() {
	try {
		const parsed = parseArgs({
			options: {
				...{ only: { type: "string" }, repeats: { type: "string" }, folder: { type: "string" } },
				...{ quick: { type: "boolean" }, json: { type: "boolean" }, help: { type: "boolean", short: "h" } },
				...{ server: { type: "string" }, "server-key-file": { type: "string" } },
			},
		} as const);
		if (parsed.values.help) {
			process.stdout.write(USAGE);
			process.exit(0);
		}
		return parsed;
	} catch (error) {
		return wrong(messageOf(error));
	}
}

function wrong(message: string): never {
	process.stderr.write(`error: ${message}\n\n${USAGE}`);
	process.exit(64);
}
