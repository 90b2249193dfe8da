import { statSync } from "node:fs";
import { CLAIMED, EXPIRED } from "../agent/failure.ts";
import { RECONCILE_CASES } from "../agent/meter.ts";
import type { AgentFigures, AgentMetrics } from "../metrics/agent.ts";
import type { Endpoint } from "../metrics/endpoint.ts";
import type { ServerMetrics } from "../metrics/server.ts";
import { messageOf } from "../model/errors.ts";
import type { Logger } from "../model/logger.ts";
import { version } from "../model/package.ts";
import { RESTORING } from "../outbox/adopt.ts";
import { openReport, type Report } from "../outbox/report.ts";
import { OVER_QUOTA } from "../outbox/session.ts";
import { SESSION_STATES, type SessionState } from "../outbox/session-state.ts";
import { REFUSALS, REJECTIONS } from "../protocol/codes.ts";
import { type Glance, glanceAt } from "../source/glance.ts";
import { behind } from "./capture-lag.ts";
import { pathsIn } from "./paths.ts";
import type { Settings } from "./settings.ts";
import { type Status, statusOf } from "./status-facts.ts";
import { freeBytesAt, setAsideIn } from "./status-look.ts";

/** Between two looks into OpenCode's log for how far capture is behind, in ms: each costs OpenCode's disk a read (G7). */
const LAG_EVERY_MS = 5000;

/** What the labels of the agent's metrics can say. */
export const AGENT_WORDS = {
	steps: ["connect", "create", "redeem", "use"],
	reasons: [...REFUSALS, ...REJECTIONS, "unknown", "unreachable"],
	reconcileCases: RECONCILE_CASES,
	sessionStates: SESSION_STATES,
	agentStates: ["starting", "waiting", "running", "draining"],
	serverStates: ["unknown", "connected", "unreachable", "untrusted", "refused"],
	parkedCodes: [
		"revoked",
		"denied",
		"invalid_request",
		"other_server",
		"wish_lost",
		CLAIMED,
		EXPIRED,
		OVER_QUOTA,
		RESTORING,
	],
	pausedReasons: ["outbox_full", "disk_full", "denied", "corrupt", "io", "unknown_schema", "busy"],
};

/** The metrics of one process: counted from the start, told once it listens. */
export interface ProcessMetrics {
	/** Undefined in a process without an agent. */
	readonly agent: AgentMetrics | undefined;
	readonly server: ServerMetrics | undefined;
	/** Throws OutboxError port_taken, config. */
	listen(): Promise<Endpoint>;
}

/**
 * What is counted where `--metrics-port` is set; undefined, and nothing of it loaded, where it is not.
 *
 * It has a port of its own, on loopback, even beside a server that has one: a reverse proxy that forwards to that port comes
 * from loopback like everybody, so no look at the peer would keep what is told here from the whole world.
 *
 * @param parts which of the two run in this process.
 */
export async function openMetrics(
	settings: Settings,
	log: Logger,
	parts: { readonly agent: boolean; readonly server: boolean },
): Promise<ProcessMetrics | undefined> {
	const { metricsPort: port } = settings;
	if (port === undefined) return undefined;
	// prom-client is loaded where it is wanted only.
	const { AgentMetrics, ServerMetrics, Metrics, startEndpoint } = await import("../metrics/prometheus.ts");
	const metrics = new Metrics();
	metrics.info("build_info", "The version that runs.", { version: version() });
	const agent = parts.agent ? new AgentMetrics(metrics, AGENT_WORDS, Date.now) : undefined;
	const server = parts.server ? new ServerMetrics(metrics, REFUSALS) : undefined;
	const look = agent && outboxLook(settings, log);
	return {
		agent,
		server,
		listen: () =>
			startEndpoint({ port, type: metrics.registry.contentType, log }, async () => {
				agent?.show(await look?.());
				server?.show();
				return metrics.registry.metrics();
			}),
	};
}

/** Looks at the outbox as `status` does. Never throws: an outbox that is just being mended is no reason to tell nothing. */
function outboxLook(settings: Settings, log: Logger): () => Promise<AgentFigures | undefined> {
	const paths = pathsIn(settings.dataDir);
	let glance: { readonly at: number; readonly heads: Glance["heads"] | undefined } | undefined;
	const heads = async (path: string | null, now: number) => {
		if (path === null) return undefined;
		if (glance === undefined || Math.abs(now - glance.at) >= LAG_EVERY_MS) {
			const seen = await glanceAt({ path, looked: [path] }).catch(() => undefined);
			glance = { at: now, heads: seen?.heads };
		}
		return glance.heads;
	};
	return async () => {
		try {
			const now = Date.now();
			const opened = await openReport(paths.outbox);
			if (opened === undefined) return undefined;
			try {
				const report = opened.read(now);
				const lag = await heads(report.agent?.opencode_db ?? null, now);
				const lagEvents = lag && behind(lag, opened.watermarks()).events;
				return figuresOf(report, { now, dataDir: settings.dataDir, outbox: paths.outbox, lagEvents });
			} finally {
				opened.close();
			}
		} catch (error) {
			log.debug({ err: messageOf(error) }, "the outbox could not be read for the metrics");
			return undefined;
		}
	};
}

function figuresOf(
	report: Report,
	facts: {
		readonly now: number;
		readonly dataDir: string;
		readonly outbox: string;
		readonly lagEvents: number | undefined;
	},
): AgentFigures {
	const { now, dataDir } = facts;
	const diskFreeBytes = freeBytesAt(dataDir);
	const setAside = setAsideIn(dataDir);
	// This process has the lock.
	const status = statusOf(report, {
		isLocked: true,
		now,
		version: version(),
		dataDir,
		freeBytes: diskFreeBytes,
		setAside,
	});
	const { agent, server, outbox, sessions, attention } = status;
	return {
		oldestPendingSeconds: (outbox.oldest_pending_age_ms ?? 0) / 1000,
		pending: outbox.pending,
		pendingBytes: outbox.bytes,
		sealed: outbox.sealed,
		inFlight: outbox.in_flight,
		excluded: outbox.excluded,
		dead: outbox.dead,
		attention: attention.length,
		damagedOutboxes: setAside.length,
		vanished: sessions.filter(({ source_state, wanted }) => source_state === "vanished" && wanted !== "never").length,
		diskFreeBytes,
		outboxBytes: sizeOf(facts.outbox),
		lagEvents: facts.lagEvents,
		connectAttempts: server.connect_attempts,
		breaker: breakerOf(server, now),
		agentState: agent.state,
		serverState: server.state,
		paused: agent.capture_paused,
		sessions: counted(sessions.map(({ state }) => state)),
		parked: counted(sessions.flatMap(({ state, parked_code: code }) => (isParked(state, code) ? [code] : []))),
	};
}

/** The flusher keeps no breaker beside its due time: that time is one (agent/flusher.ts). */
export function breakerOf(
	{ state, connect_attempts, next_connect_at }: Status["server"],
	now: number,
): AgentFigures["breaker"] {
	if (state === "connected") return "closed";
	if ((next_connect_at ?? 0) > now) return "open";
	return connect_attempts === 0 && state === "unknown" ? "closed" : "half_open";
}

/** As `attentionTo` has it. */
function isParked(state: SessionState, code: string | null): code is string {
	return code !== null && (state === "parked" || code === RESTORING);
}

function counted(words: readonly string[]): Map<string, number> {
	const counts = new Map<string, number>();
	for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
	return counts;
}

function sizeOf(path: string): number {
	const size = (name: string) => statSync(name, { throwIfNoEntry: false })?.size ?? 0;
	return size(path) + size(`${path}-wal`);
}
