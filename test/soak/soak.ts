import { writeFileSync } from "node:fs";
import { loadavg } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { messageOf } from "../../src/model/errors.ts";
import type { Sample } from "./sample.ts";
import { Stage } from "./stage.ts";
import { judge, type Verdict } from "./verdict.ts";

const USAGE = `npm run test:soak [-- OPTIONS]

Runs the built agent beside a database that is filled as OpenCode fills it, and a built share server that is restarted all
the time (SIGTERM and SIGKILL by turns). Prints a line a minute and a JSON summary. Exit code 0 when everything arrived,
verify is clean, and live memory and files stayed flat after the warm-up; 1 otherwise.

  --minutes N   how long events are written (25)
  --rate N      events per second (580: what is left after updates of one entity have collapsed is over 500 ops)
  --restart N   seconds between two restarts of the share server, 0 for none (30)
  --warm-up N   minutes before anything is held to be flat (5); a run of less than 10 minutes more is not judged
  --growing     nothing is removed and sessions keep coming: the outbox keeps the last payload of every live entity, so
                its file grows with them and is not judged
  --samples F   writes every sample to this file, one JSON object per line
`;
const SAMPLE_MS = 1000;
const LINE_MS = 60_000;
/** Until everything is sent once the writer has stopped. */
const DRAIN = "120s";
const MIB = 1024 * 1024;

const options = readArguments();
const stage = new Stage();
const samples: Sample[] = [];
const interrupted = new AbortController();
for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => interrupted.abort(new Error(name)));

try {
	const verdict = await soak();
	process.stdout.write(`${JSON.stringify(verdict, null, 2)}\n`);
	process.exitCode = verdict.failures.length === 0 ? 0 : 1;
} catch (error) {
	process.stderr.write(`The soak failed: ${messageOf(error)}\n${tail("share server", () => stage.serverLog)}`);
	process.stderr.write(tail("agent", () => stage.agent.stderr()));
	process.exitCode = 1;
} finally {
	await stage.clear();
}

async function soak(): Promise<Verdict> {
	// A bounded set of live entities is what lets the outbox's file be flat: sessions come and grow during the warm-up,
	// then parts are updated, and messages removed as new ones come.
	const bounded = { sessionEveryMs: 4000, sessionsMax: 24, messagesMax: 40 };
	const growing = {
		sessionEveryMs: 10_000,
		sessionsMax: Number.MAX_SAFE_INTEGER,
		messagesMax: Number.MAX_SAFE_INTEGER,
	};
	await stage.start({ rate: options.rate, ...(options.growing ? growing : bounded) });
	const startedAt = performance.now();
	const restarting = options.restartMs === 0 ? Promise.resolve() : restartAgainAndAgain(startedAt);
	let lineAt = LINE_MS;
	for (let n = 1; ; n++) {
		const sample = stage.sample();
		samples.push(sample);
		const elapsed = performance.now() - startedAt;
		if (elapsed >= lineAt) {
			lineAt += LINE_MS;
			process.stdout.write(line(sample, elapsed));
		}
		if (elapsed >= options.durationMs) break;
		const wait = delay(Math.max(0, n * SAMPLE_MS - elapsed), undefined, { signal: interrupted.signal });
		// A server that does not come back ends the soak at once.
		await Promise.race([wait, restarting.then(() => wait)]);
	}
	await restarting;
	const written = await stage.stopWriter();
	const writtenForMs = performance.now() - startedAt;
	const flushed = await stage.command("flush", "--json", "--timeout", DRAIN);
	const last = stage.sample();
	const verified = await stage.command("verify", "--json", "--timeout", "30s");
	const heap = stage.heap();
	const ended = await stage.agent.stop();
	if (options.samples) writeFileSync(options.samples, samples.map((sample) => `${JSON.stringify(sample)}\n`).join(""));
	const { restarts, outagesMs } = stage;
	return judge({
		...options,
		samples,
		heap,
		last,
		written,
		writtenForMs,
		restarts,
		outagesMs,
		flushed,
		verified,
		ended,
	});
}

/** A restart every `restartMs` as long as events are written, with SIGTERM and SIGKILL by turns. */
async function restartAgainAndAgain(startedAt: number): Promise<void> {
	for (let n = 1; n * options.restartMs < options.durationMs; n++) {
		const wait = n * options.restartMs - (performance.now() - startedAt);
		await delay(Math.max(0, wait), undefined, { signal: interrupted.signal });
		await stage.restartServer(n % 2 === 1 ? "SIGTERM" : "SIGKILL");
	}
}

function line(sample: Sample, elapsedMs: number): string {
	const size = (bytes: number) => (bytes / MIB).toFixed(1);
	const minute = samples.filter(({ at }) => at > sample.at - LINE_MS);
	const [first] = minute;
	const seconds = first ? (sample.at - first.at) / 1000 : 0;
	const rate = (of: (sample: Sample) => number) => (first ? ((of(sample) - of(first)) / seconds).toFixed(0) : "-");
	const facts = [
		`${(elapsedMs / 60_000).toFixed(0)} min`,
		`events/s ${rate(({ events }) => events)}`,
		`ops/s ${rate(({ delivered }) => delivered)}`,
		`pending ${sample.pending}`,
		`lag max ${Math.max(...minute.map(({ oldestPendingMs }) => oldestPendingMs))} ms`,
		`agent ${size(sample.agentRss)} MiB (${sample.agentFiles} files)`,
		`server ${size(sample.serverRss)} MiB`,
		`outbox ${size(sample.outbox)}+${size(sample.outboxWal)} MiB`,
		`share ${size(sample.share)}+${size(sample.shareWal)} MiB`,
		`restarts ${stage.restarts.SIGTERM}+${stage.restarts.SIGKILL}`,
		`load ${(loadavg()[0] ?? 0).toFixed(1)}`,
	];
	return `${facts.join(", ")}\n`;
}

function tail(name: string, log: () => string): string {
	try {
		return `--- ${name}:\n${log().trimEnd().split("\n").slice(-12).join("\n")}\n`;
	} catch {
		return "";
	}
}

function readArguments() {
	const text = { type: "string" } as const;
	try {
		const { values } = parseArgs({
			options: {
				...{ minutes: text, rate: text, restart: text, "warm-up": text, samples: text },
				...{ growing: { type: "boolean" }, help: { type: "boolean", short: "h" } },
			},
		});
		if (!values.help)
			return {
				durationMs: positive("minutes", values.minutes ?? "25") * 60_000,
				rate: positive("rate", values.rate ?? "580"),
				restartMs: positive("restart", values.restart ?? "30") * 1000,
				warmUpMs: positive("warm-up", values["warm-up"] ?? "5") * 60_000,
				growing: values.growing === true,
				samples: values.samples,
			};
		process.stdout.write(USAGE);
	} catch (error) {
		process.stderr.write(`${messageOf(error)}\n\n${USAGE}`);
		process.exit(64);
	}
	process.exit(0);
}

function positive(name: string, value: string): number {
	const number = Number(value);
	if (value.trim() === "" || !Number.isFinite(number) || number < 0) throw new Error(`--${name} takes a number`);
	return number;
}
