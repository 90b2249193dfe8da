import { defineCommand } from "citty";
import { systemClock } from "../model/clock.ts";
import { ERRORS, OutboxError } from "../model/errors.ts";
import { openReport } from "../outbox/report.ts";
import { durationFlag } from "./duration.ts";
import { withHost } from "./host.ts";
import { createLogger } from "./logger.ts";
import { pathsIn } from "./paths.ts";
import { RULE_SETTINGS } from "./rules.ts";
import { resolveQuietly, type Settings, settingsArgs } from "./settings.ts";
import { teach } from "./teach.ts";
import { bytes, count, jsonLine } from "./terminal.ts";

/** How often progress is told on a terminal, in ms. */
const PROGRESS_MS = 1000;
/** Between two looks whether what was sent has made room for more, in ms. */
const ROOM_MS = 100;

const flush = defineCommand({
	meta: { name: "flush" },
	args: {
		...settingsArgs(
			"data-dir",
			"opencode-db",
			"opencode-url",
			"source",
			"server",
			"server-key-file",
			"compress",
			"share",
			"on-delete",
			...RULE_SETTINGS,
			"port",
			"outbox-max",
			"log-level",
		),
		timeout: {
			type: "string",
			valueHint: "DURATION",
			default: "30s",
			description: "How long to wait until everything is sent.",
		},
		json: { type: "boolean", description: "Print {drained, elapsed_ms, pending, dead, parked, error} as JSON." },
	},
	async run({ args }) {
		const settings = resolveQuietly(args);
		const timeoutMs = durationFlag("timeout", args.timeout);
		const log = createLogger({ level: settings.logLevel });
		const startedAt = systemClock.now();
		const signal = AbortSignal.timeout(timeoutMs);
		let failure: OutboxError | undefined;
		const drained = await withHost(settings, log, async (host) => {
			const note = (error: unknown): false => {
				if (!(error instanceof OutboxError)) throw error;
				failure ??= error;
				return false;
			};
			const progress = setInterval(() => void tellProgress(settings), PROGRESS_MS);
			try {
				for (;;) {
					// What is pending already is sent whatever stands in the way of capturing more.
					await host.capture(signal).catch(note);
					const drained = await host.until(() => host.idle(), signal).catch(note);
					// More than the outbox may hold at once goes through it in parts.
					if (failure?.code !== "outbox_full" || !drained || signal.aborted) return drained;
					await systemClock.sleep(ROOM_MS, signal);
					if (signal.aborted) return false;
					failure = undefined;
				}
			} finally {
				clearInterval(progress);
			}
		});
		const left = await remaining(settings);
		const elapsed_ms = systemClock.now() - startedAt;
		const verdict = failure ?? verdictOn(drained, left, args.timeout);
		if (args.json) {
			const error = verdict && { code: verdict.code, message: verdict.message, hint: verdict.hint };
			process.stdout.write(jsonLine({ drained, elapsed_ms, ...left, error: error ?? null }));
			return verdict?.exitCode ?? 0;
		}
		if (verdict) throw verdict;
		process.stdout.write(`Everything is on the share server (${elapsed_ms} ms).\n`);
		return 0;
	},
});

export const command = teach(flush, {
	when: "At the end of a CI job, before a pod goes away, or to see that nothing is pending. Works beside a running agent, which then does the sending, and without one.",
	examples: [
		{ line: "opencode-outbox flush --timeout 2m", does: "Waits up to two minutes." },
		{ line: "opencode-outbox flush --json", does: "The same for machines." },
	],
	exits: {
		0: "drained: the share server has everything",
		65: "drained, but dead letters wait for a person (`opencode-outbox dead list`)",
		66: "there is no OpenCode here (no database, or its server cannot be reached); what was pending has been sent as far as possible",
		75: "not drained by the deadline; nothing is lost, run it again",
		77: "the server refuses the key, or a session is parked (`opencode-outbox status`)",
	},
});

interface Remaining {
	readonly pending: number;
	readonly bytes: number;
	readonly dead: number;
	/** Sessions that wait for a person. */
	readonly parked: readonly string[];
}

async function remaining(settings: Settings): Promise<Remaining> {
	const reader = await openReport(pathsIn(settings.dataDir).outbox);
	if (reader === undefined) return { pending: 0, bytes: 0, dead: 0, parked: [] };
	try {
		const { totals, sessions } = reader.read(systemClock.now());
		const parked = sessions.filter((session) => session.parked_code !== null).map((session) => session.session_id);
		return { pending: totals.pending, bytes: totals.bytes, dead: totals.dead, parked };
	} finally {
		reader.close();
	}
}

function verdictOn(drained: boolean, left: Remaining, timeout: string): OutboxError | undefined {
	if (!drained)
		return new OutboxError(
			"not_drained",
			`${count(left.pending, "op")} (${bytes(left.bytes)}) not sent within ${timeout}.`,
		);
	if (left.parked.length > 0)
		return new OutboxError("parked", `Parked, with their ops kept: ${left.parked.join(", ")}.`);
	if (left.dead > 0)
		return new OutboxError("dead_letters", `${count(left.dead, "dead letter")} wait for a person.`, {
			hint: ERRORS.dead_letters.hint,
		});
	return undefined;
}

async function tellProgress(settings: Settings): Promise<void> {
	if (!process.stderr.isTTY) return;
	const { pending, bytes: size } = await remaining(settings);
	process.stderr.write(`${count(pending, "op")} (${bytes(size)}) to go\n`);
}
