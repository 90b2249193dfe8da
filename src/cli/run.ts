import { constants, setPriority } from "node:os";
import { defineCommand } from "citty";
import { Agent } from "../agent/agent.ts";
import { idleness } from "../agent/idleness.ts";
import { systemClock } from "../model/clock.ts";
import { OutboxError } from "../model/errors.ts";
import { agentOptions } from "./compose.ts";
import { LogFile } from "./log-file.ts";
import { createLogger } from "./logger.ts";
import { openMetrics } from "./metrics.ts";
import { pathsIn } from "./paths.ts";
import { RULE_SETTINGS } from "./rules.ts";
import { resolveSettings, type Settings, settingsArgs } from "./settings.ts";
import { teach } from "./teach.ts";
import { jsonLine } from "./terminal.ts";

/** How long the first SIGTERM lets the agent drain, in ms. Container runtimes kill after 10 s at the earliest. */
const DRAIN_MS = 8000;
/** How long an agent goes on that nobody needs and that the plugin started, in ms: longer than a person looks away. */
const BACKGROUND_IDLE_STOP_MS = 600_000;
/** How often a standby looks whether the lock is free, in ms: below what anybody notices, and cheap. */
const STANDBY_MS = 50;

const run = defineCommand({
	meta: { name: "run" },
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
			"metrics-port",
			"opencode-share",
			"retain",
			"share-bytes-max",
			"owner-bytes-max",
			"owner-shares-max",
			"poll",
			"checkpoint",
			"outbox-max",
			"idle-stop",
			"log-level",
		),
		background: {
			type: "boolean",
			description: `As the plugin starts it: log into agent.log in the data directory, end quietly when another agent runs, and stop after ${BACKGROUND_IDLE_STOP_MS / 60_000}m of idleness unless --idle-stop says otherwise.`,
		},
		standby: {
			type: "boolean",
			description: "When another agent has this outbox, wait and take over when it is gone.",
		},
		json: {
			type: "boolean",
			description:
				"Print one JSON line on stdout when running: {pid, data_dir, server_url, opencode_db}, and metrics_url with --metrics-port.",
		},
	},
	async run({ args }) {
		const isBackground = args.background === true;
		const settings = resolveSettings(args, process.env, isBackground ? { idleStopMs: BACKGROUND_IDLE_STOP_MS } : {});
		const stream = isBackground ? { stream: new LogFile(pathsIn(settings.dataDir).log) } : {};
		const log = createLogger({ level: settings.logLevel, ...stream });
		yieldToOthers();
		const stop = new AbortController();
		const now = new AbortController();
		const onSignal = () => (stop.signal.aborted ? now.abort() : stop.abort());
		for (const name of ["SIGTERM", "SIGINT"] as const) process.on(name, onSignal);

		const metrics = await openMetrics(settings, log, { agent: true, server: settings.server === undefined });
		const options = agentOptions(settings, log, false, metrics);
		const agent = await startOrStandBy(options, args.standby === true, stop.signal).catch((error: unknown) => {
			if (isBackground && error instanceof OutboxError && error.code === "owned") return error.exitCode;
			throw error;
		});
		if (agent === undefined || typeof agent === "number") return agent;
		const told = await metrics?.listen().catch(async (error: unknown) => {
			await agent.stop();
			throw error;
		});
		if (args.json) {
			const { pid } = process;
			const facts = { pid, data_dir: settings.dataDir, server_url: agent.link.url, opencode_db: options.opencodeDb };
			process.stdout.write(jsonLine(told === undefined ? facts : { ...facts, metrics_url: told.url }));
		}
		log.info(
			{ server: agent.link.url, opencode: options.opencodeDb ?? settings.opencodeUrl, share: settings.share },
			"the agent runs",
		);
		await Promise.race([aborted(stop.signal), untilIdle(agent, options, settings, stop.signal)]);
		log.info({ within_ms: DRAIN_MS }, "draining; a second signal stops at once");
		const drained = await agent.drain(AbortSignal.any([now.signal, AbortSignal.timeout(DRAIN_MS)]));
		if (!drained) log.warn({}, "stopped before everything was sent; the rest is in the outbox");
		await told?.close();
		await agent.stop();
		log.info({ drained }, "the agent has stopped");
	},
});

export const command = teach(run, {
	when: "Keep it running beside OpenCode: on a laptop as a service, in a pod as a sidecar, in CI in the background. It waits for OpenCode's database when there is none yet. The first SIGTERM or SIGINT drains for up to 8 s, the second stops at once; what was not sent stays in the outbox for the next start.",
	examples: [
		{ line: "opencode-outbox run", does: "Shares every session on a server of its own, on http://127.0.0.1:4590." },
		{
			line: "opencode-outbox run --server https://share.example.org --server-key-file ~/.config/opencode-outbox/key",
			does: "Replays to a server elsewhere.",
		},
		{
			line: "opencode-outbox run --opencode-url http://127.0.0.1:4096",
			does: "Is woken by a running `opencode serve`, and captures diffs and models too.",
		},
		{
			line: "OPENCODE_SERVER_PASSWORD=… opencode-outbox run --opencode-url http://build-host:4096",
			does: "Captures from an `opencode serve` on another host, over HTTP alone.",
		},
		{
			line: "opencode-outbox run --metrics-port 9464",
			does: "Answers Prometheus on http://127.0.0.1:9464/metrics; alert rules and a dashboard are in deploy/prometheus.",
		},
	],
	exits: {
		0: "stopped by a signal, or idle (see --idle-stop)",
		65: "the outbox or OpenCode's database is damaged or foreign",
		69: "the port is taken, or the one for metrics",
		73: "the data directory cannot be written",
		75: "another agent has this outbox (see --standby)",
	},
});

/** Where OpenCode and the agent want the processor at once, OpenCode gets it (G7). */
function yieldToOthers(): void {
	try {
		setPriority(constants.priority.PRIORITY_BELOW_NORMAL);
	} catch {
		// Not allowed here; the agent works all the same.
	}
}

async function startOrStandBy(
	options: Parameters<typeof Agent.start>[0],
	standby: boolean,
	signal: AbortSignal,
): Promise<Agent | undefined> {
	for (let told = false; !signal.aborted; ) {
		try {
			return await Agent.start(options);
		} catch (error) {
			if (!standby || !(error instanceof OutboxError) || error.code !== "owned") throw error;
			if (!told) options.log.info({}, `${error.message} Standing by to take over.`);
			told = true;
			await systemClock.sleep(STANDBY_MS, signal);
		}
	}
	return undefined;
}

/** Resolves when nobody has needed the agent for as long as is set; never where that is never. */
async function untilIdle(
	agent: Agent,
	{ lane, opencode, opencodeDb, log }: ReturnType<typeof agentOptions>,
	{ idleStopMs }: Settings,
	signal: AbortSignal,
): Promise<void> {
	if (idleStopMs === undefined) return aborted(signal);
	const isNeeded = () => lane.peers > 0 || opencode?.doorbell.connected === true;
	const isDrained = () => agent.idle();
	const watched = { afterMs: idleStopMs, isNeeded, isDrained, opencodeDb, clock: systemClock };
	if (await idleness(watched, signal)) log.info({ idle_ms: idleStopMs }, "nobody needs the agent; it stops by itself");
}

function aborted(signal: AbortSignal): Promise<void> {
	return new Promise((resolve) => {
		if (signal.aborted) resolve();
		else signal.addEventListener("abort", () => resolve(), { once: true });
	});
}
