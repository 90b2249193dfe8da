import type { AgentState, ServerState } from "../outbox/agent-row.ts";
import type { Report, SessionReport } from "../outbox/report.ts";
import { type Attention, attentionTo } from "./attention.ts";

/**
 * What `status --json` prints. Its members are an interface: they may grow, not change. Instants are epoch ms.
 *
 * Whether the agent lives is told by its lock alone. `dead`: its lock is free, but it never said that it stops.
 */
export interface Status {
	readonly version: string;
	readonly data_dir: string;
	readonly agent: {
		/** Null while no agent runs. */
		readonly pid: number | null;
		readonly state: AgentState | "dead";
		readonly since: number | null;
		readonly last_error: string | null;
		/** keep or delete: what becomes of the share of a session that OpenCode deletes. */
		readonly on_delete: "keep" | "delete" | null;
		/**
		 * Set while capture waits: outbox_full or disk_full for room, denied while OpenCode's server does not let us in, any
		 * other code for OpenCode's database to be mended.
		 */
		readonly capture_paused: string | null;
	};
	readonly opencode: {
		readonly db: string | null;
		readonly url: string | null;
		readonly connected: boolean;
		/** What the sessions are read from; null before an agent has said. */
		readonly source: "database" | "server" | null;
	};
	readonly server: {
		readonly url: string | null;
		readonly transport: string | null;
		readonly state: ServerState;
		/** Failed attempts to connect in a row, and when the next is due. */
		readonly connect_attempts: number;
		readonly next_connect_at: number | null;
	};
	readonly outbox: {
		readonly pending: number;
		readonly sealed: number;
		readonly in_flight: number;
		/** Ops of sessions that are left out by the rules; not in `pending`. */
		readonly excluded: number;
		readonly dead: number;
		readonly bytes: number;
		readonly oldest_pending_age_ms: number | null;
	};
	/** Sessions that the rules leave out, by why, most first; `sessions` has them in the state `excluded`. */
	readonly left_out: readonly { readonly reason: string; readonly sessions: number }[];
	/** Latest first: by what is pending, then by what was acknowledged. */
	readonly sessions: readonly SessionReport[];
	/** What waits for a person; the exit code is 1 when there is any. */
	readonly attention: readonly Attention[];
}

/** Derives what `status` tells from what the outbox says, whether the agent's lock is held, and the time. Pure. */
export function statusOf(
	report: Report,
	facts: {
		readonly isLocked: boolean;
		readonly now: number;
		readonly version: string;
		readonly dataDir: string;
		/** Of the disk that holds the outbox; undefined when it cannot be told. */
		readonly freeBytes?: number | undefined;
		/** Outboxes that were set aside because they were damaged: full paths. */
		readonly setAside?: readonly string[] | undefined;
	},
): Status {
	const { isLocked, now, version, dataDir } = facts;
	const { agent, totals } = report;
	const { oldest_pending_at, ...counts } = totals;
	const state = agentState(agent?.state, isLocked);
	// A row that says "stopped" under a held lock is the last agent's: the next one has not spoken yet.
	const isItsRow = isLocked && agent?.state !== "stopped";
	const status = {
		version,
		data_dir: dataDir,
		agent: {
			pid: isItsRow ? (agent?.pid ?? null) : null,
			state,
			since: agent?.since ?? null,
			last_error: agent?.last_error ?? null,
			on_delete: agent?.on_delete ?? null,
			capture_paused: agent?.capture_paused ?? null,
		},
		opencode: {
			db: agent?.opencode_db ?? null,
			url: agent?.opencode_url ?? null,
			connected: isItsRow && (agent?.opencode_connected ?? false),
			source: sourceOf(agent),
		},
		server: {
			url: agent?.server_url ?? null,
			transport: isItsRow ? (agent?.transport ?? null) : null,
			state: isItsRow ? (agent?.server_state ?? "unknown") : "unknown",
			connect_attempts: agent?.connect_attempts ?? 0,
			next_connect_at: agent?.next_connect_at || null,
		},
		outbox: {
			...counts,
			oldest_pending_age_ms: oldest_pending_at === null ? null : Math.max(0, now - oldest_pending_at),
		},
		left_out: leftOut(report.sessions),
		sessions: [...report.sessions].sort((a, b) => latest(b) - latest(a)),
	};
	return { ...status, attention: attentionTo(status, facts, agent?.damage ?? null) };
}

function leftOut(sessions: readonly SessionReport[]): Status["left_out"] {
	const counts = new Map<string, number>();
	for (const { state, excluded } of sessions)
		if (state === "excluded" && excluded !== null) counts.set(excluded, (counts.get(excluded) ?? 0) + 1);
	const rows = [...counts].map(([reason, sessions]) => ({ reason, sessions }));
	return rows.sort((a, b) => b.sessions - a.sessions || (a.reason < b.reason ? -1 : 1));
}

/** An agent that reads a database says which one. */
function sourceOf(agent: Report["agent"]): Status["opencode"]["source"] {
	if (agent?.opencode_db != null) return "database";
	return agent?.opencode_url != null ? "server" : null;
}

function agentState(said: AgentState | undefined, isLocked: boolean): AgentState | "dead" {
	if (isLocked) return said === undefined || said === "stopped" ? "starting" : said;
	return said === undefined || said === "stopped" ? "stopped" : "dead";
}

function latest(session: SessionReport): number {
	return Math.max(session.oldest_pending_at ?? 0, session.last_acked_at ?? 0);
}
