import { defineCommand } from "citty";
import { OutboxError } from "../model/errors.ts";
import { durationFlag } from "./duration.ts";
import { resolveSettings, settingsArgs } from "./settings.ts";
import { currentStatus } from "./status-look.ts";
import { SESSIONS_SHOWN, statusText } from "./status-text.ts";
import { teach } from "./teach.ts";
import { jsonLine, painter } from "./terminal.ts";

/** The exit code of a status in which something waits for a person. */
const NEEDS_A_PERSON = 1;
/** Between two looks of --watch, in ms: below it nobody reads faster, and the agent would be disturbed. */
const INTERVAL_MS_MIN = 200;

const status = defineCommand({
	meta: { name: "status" },
	args: {
		...settingsArgs("data-dir"),
		all: { type: "boolean", description: `List every session, not only the latest ${SESSIONS_SHOWN}.` },
		watch: {
			type: "boolean",
			alias: "w",
			description:
				"Look again and again: on a terminal in place, with a bar and an estimate while a backlog drains; else a line per look. Ctrl-C ends it.",
		},
		interval: {
			type: "string",
			valueHint: "DURATION",
			description: "With --watch: between two looks (default: 1s; longer where a look takes long).",
		},
		"until-drained": {
			type: "boolean",
			description: "With --watch: end once nothing is left that can be sent.",
		},
		json: {
			type: "boolean",
			description:
				"Print one JSON object. Instants are epoch ms, ages and sizes ms and bytes. With --watch one per look, {at, progress, …}; sessions only with --all.",
		},
	},
	async run({ args }) {
		const { dataDir } = resolveSettings(args);
		if (args.watch) return watched(dataDir, args);
		const stray = args.interval !== undefined ? "--interval" : args["until-drained"] ? "--until-drained" : undefined;
		if (stray)
			throw new OutboxError("usage", `${stray} goes with --watch.`, { hint: "Run `opencode-outbox status --help`." });
		const { status, isBlank, now } = await currentStatus(dataDir);
		if (args.json) process.stdout.write(jsonLine(status));
		else if (isBlank)
			process.stdout.write(`Nothing has run here yet (${dataDir}).\n\`opencode-outbox run\` starts the agent.\n`);
		else process.stdout.write(statusText(status, now, args.all === true, painter(process.stdout, process.env)));
		return status.attention.length > 0 ? NEEDS_A_PERSON : 0;
	},
});

interface WatchFlags {
	readonly interval?: string | undefined;
	readonly "until-drained"?: boolean | undefined;
	readonly all?: boolean | undefined;
	readonly json?: boolean | undefined;
}

async function watched(dataDir: string, flags: WatchFlags): Promise<number> {
	const intervalMs = durationFlag("interval", flags.interval ?? "1s");
	if (intervalMs < INTERVAL_MS_MIN)
		throw new OutboxError("usage", `--interval ${flags.interval}: expected ${INTERVAL_MS_MIN}ms at least.`);
	const stop = new AbortController();
	// The second one does not wait for a look to end.
	const onSignal = () => (stop.signal.aborted ? process.exit(NEEDS_A_PERSON) : stop.abort());
	for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(name, onSignal);
	const isScreen = process.stdout.isTTY === true && process.env.TERM !== "dumb";
	const untilDrained = flags["until-drained"] === true;
	(await import("./heap.ts")).keepHeapSmall();
	const { watch } = await import("./watch/watch.ts");
	const { status, isDrained } = await watch({
		...{ dataDir, intervalMs, untilDrained, all: flags.all === true, signal: stop.signal },
		format: flags.json ? "json" : isScreen ? "screen" : "lines",
		out: process.stdout,
		paint: painter(process.stdout, process.env),
	});
	if (untilDrained && !isDrained) return new OutboxError("not_drained", "").exitCode;
	return status.attention.length > 0 ? NEEDS_A_PERSON : 0;
}

export const command = teach(status, {
	when: "Look here first. It works while the agent runs, is stopped or was killed, and changes nothing. The age of the oldest pending change comes first: a stalled sync has no errors to count. --watch tells how long it will take only while the rate is steady.",
	exits: {
		0: "nothing needs a person (retries and an unreachable server mend themselves)",
		[NEEDS_A_PERSON]: 'something does: see "Needs you", or `attention` in the JSON',
		65: "the outbox is damaged, or the file is none",
		75: "an older version has written the outbox, and no agent of this one has run yet; or, with --until-drained: ended by a signal before everything was sent",
	},
	examples: [
		{ line: "opencode-outbox status", does: "For people." },
		{ line: "opencode-outbox status --watch", does: "The same, kept up to date, with a bar while a backlog drains." },
		{
			line: "opencode-outbox status --watch --until-drained --interval 10s >>drain.log",
			does: "A line every ten seconds until everything is sent.",
		},
		{
			line: "opencode-outbox status --json | jq .outbox.oldest_pending_age_ms",
			does: "For a monitor: null when nothing is pending.",
		},
	],
});
