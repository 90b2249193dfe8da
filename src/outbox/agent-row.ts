import type { Sqlite } from "../sqlite/driver.ts";

/** starting -> capturing and flushing ("running") -> draining -> stopped. */
export type AgentState = "starting" | "waiting" | "running" | "draining" | "stopped";
/** What the flusher knows of the server. `refused`: it answers, but does not let this server key in. */
export type ServerState = "unknown" | "connected" | "unreachable" | "untrusted" | "refused";

export interface AgentRow {
	readonly pid: number;
	readonly state: AgentState;
	readonly since: number;
	readonly opencode_db: string | null;
	readonly opencode_identity: string | null;
	readonly opencode_url: string | null;
	readonly opencode_connected: boolean;
	readonly server_url: string | null;
	readonly server_id: string | null;
	readonly share_mode: "auto" | "manual" | null;
	readonly on_delete: "keep" | "delete" | null;
	readonly selection: string | null;
	readonly redaction: string | null;
	readonly transport: string | null;
	readonly server_state: ServerState;
	readonly last_error: string | null;
	readonly connect_attempts: number;
	readonly next_connect_at: number;
	readonly capture_paused: string | null;
	readonly damage: string | null;
}

/** Reads what the agent said last; undefined where none ever ran. */
export function agentQuery(sqlite: Sqlite) {
	const read = sqlite.prepare<Omit<AgentRow, "opencode_connected"> & { opencode_connected: number }>(`
		SELECT pid, state, since, opencode_db, opencode_identity, opencode_url, opencode_connected, server_url, server_id,
			share_mode, on_delete, selection, redaction, transport, server_state, last_error, connect_attempts,
			next_connect_at, capture_paused, damage
		FROM agent WHERE id = 1`);
	return (): AgentRow | undefined => {
		const row = read.get();
		return row && { ...row, opencode_connected: row.opencode_connected !== 0 };
	};
}

/** The agent's word about itself: one row, for `status` and for the next start. */
export function agentVerbs(sqlite: Sqlite) {
	const current = agentQuery(sqlite);
	const insert = sqlite.prepare(
		"INSERT INTO agent (id, pid, state, since) VALUES (1, ?, 'starting', ?) ON CONFLICT DO NOTHING",
	);
	return {
		agent: current,
		/** Writes the named fields; the others stay. */
		say(fields: Partial<AgentRow>, now: number): void {
			const known = current();
			if (known && Object.entries(fields).every(([name, value]) => known[name as keyof AgentRow] === value)) return;
			sqlite.transaction(() => {
				insert.run(fields.pid ?? process.pid, now);
				for (const [name, value] of Object.entries(fields)) {
					if (known?.[name as keyof AgentRow] === value) continue;
					sqlite
						.prepare(`UPDATE agent SET ${name} = ? WHERE id = 1`)
						.run(typeof value === "boolean" ? Number(value) : value);
				}
			});
		},
	};
}
