import { and, asc, eq, gt, min, sql } from "drizzle-orm";
import { alias } from "drizzle-orm/sqlite-core";
import type { Watermark } from "../model/op.ts";
import type { Sqlite } from "../sqlite/driver.ts";
import type { AgentRow, AgentState, ServerState } from "./agent-row.ts";
import { agent, batch, dead, op, session, share } from "./outbox.sql.ts";
import type { Report } from "./report.ts";
import type { SourceState, Wanted } from "./session.ts";
import { stateOf } from "./session-state.ts";

/** Reads a report inside a transaction; see openReport. Every column is named, so that no secret slips in. */
export function readReport({ orm }: Sqlite, now: number): Report {
	const line = alias(op, "line");
	// Ids grow with capture, so a session's first pending op is its oldest one.
	const first = orm
		.select({ id: min(line.id) })
		.from(line)
		.where(and(eq(line.session_id, session.session_id), gt(line.id, session.acked_id)));
	const letters = orm
		.select({ session_id: dead.session_id, count: sql<number>`count(*)`.as("letters") })
		.from(dead)
		.groupBy(dead.session_id)
		.as("letters");
	const count = (column: unknown) => sql<number>`coalesce(${column}, 0)`;
	const rows = orm
		.select({
			session_id: session.session_id,
			parent_id: session.parent_id,
			title: session.title,
			directory: session.directory,
			wanted: sql<Wanted>`${session.wanted}`,
			source_state: sql<SourceState>`${session.source_state}`,
			source_note: session.source_note,
			share_id: share.share_id,
			slug: share.slug,
			url: share.url,
			cursor: session.acked_cursor,
			epoch: share.capability_epoch,
			pending: session.pending_ops,
			dead: count(letters.count),
			last_acked_at: session.last_acked_at,
			last_error: session.last_error,
			parked_code: session.parked_code,
			excluded: sql<string | null>`iif(${session.wanted} = 'auto', ${session.excluded}, NULL)`,
			compare_reason: session.compare_reason,
			next_retry_at: sql<number | null>`nullif(${session.next_retry_at}, 0)`,
			oldest_pending_at: op.captured_at,
			attempts: session.attempts,
			asked: sql<number>`${share.session_id} IS NOT NULL`,
			bytes: session.pending_bytes,
			sealed: sql<number>`${session.sealed_cursor} - ${session.acked_cursor}`,
		})
		.from(session)
		.leftJoin(share, eq(share.session_id, session.session_id))
		.leftJoin(letters, eq(letters.session_id, session.session_id))
		.leftJoin(op, eq(op.id, first))
		.orderBy(sql`${op.captured_at} IS NULL`, asc(op.captured_at), asc(session.session_id))
		.all();
	// A batch may begin before the acked cursor; those ops are no longer in flight.
	const flight = orm
		.select({
			ops: sql<number>`coalesce(sum(min(${batch.ops}, ${batch.first_position} + ${batch.ops} - ${session.acked_cursor})), 0)`,
		})
		.from(batch)
		.innerJoin(session, eq(session.session_id, batch.session_id))
		.where(gt(batch.lease_until, now))
		.get();
	const sum = (of: (row: (typeof rows)[number]) => number) => rows.reduce((total, row) => total + of(row), 0);
	return {
		agent: readAgent(orm),
		totals: {
			pending: sum((row) => (row.excluded === null ? row.pending : 0)),
			excluded: sum((row) => (row.excluded === null ? 0 : row.pending)),
			sealed: sum((row) => row.sealed),
			in_flight: flight?.ops ?? 0,
			dead: orm.select({ count: sql<number>`count(*)` }).from(dead).get()?.count ?? 0,
			bytes: sum((row) => (row.excluded === null ? row.bytes : 0)),
			oldest_pending_at: rows.find((row) => row.excluded === null)?.oldest_pending_at ?? null,
		},
		sessions: rows.map(({ asked, bytes: _bytes, sealed: _sealed, ...row }) => ({
			...row,
			state: stateOf({ ...row, asked: asked !== 0 }),
		})),
	};
}

/** Up to where each session is captured that is wanted and that OpenCode has; null for one without a log. */
export function readWatermarks(sqlite: Sqlite): Map<string, Watermark | null> {
	const rows = sqlite
		.prepare<{ session_id: string; seq: number | null; event_id: string | null }>(`
			SELECT session_id, watermark_seq AS seq, watermark_event_id AS event_id FROM session
			WHERE wanted IN ('auto', 'share') AND source_state = 'present' AND excluded IS NULL`)
		.all();
	return new Map(
		rows.map(({ session_id, seq, event_id }) => [
			session_id,
			seq === null || event_id === null ? null : { seq, event_id },
		]),
	);
}

function readAgent(orm: Sqlite["orm"]): AgentRow | null {
	const row = orm
		.select({
			pid: agent.pid,
			state: sql<AgentState>`${agent.state}`,
			since: agent.since,
			opencode_db: agent.opencode_db,
			opencode_identity: agent.opencode_identity,
			opencode_url: agent.opencode_url,
			opencode_connected: agent.opencode_connected,
			server_url: agent.server_url,
			server_id: agent.server_id,
			share_mode: sql<AgentRow["share_mode"]>`${agent.share_mode}`,
			on_delete: sql<AgentRow["on_delete"]>`${agent.on_delete}`,
			selection: agent.selection,
			redaction: agent.redaction,
			transport: agent.transport,
			server_state: sql<ServerState>`${agent.server_state}`,
			last_error: agent.last_error,
			connect_attempts: agent.connect_attempts,
			next_connect_at: agent.next_connect_at,
			capture_paused: agent.capture_paused,
			damage: agent.damage,
		})
		.from(agent)
		.where(eq(agent.id, 1))
		.get();
	return row ?? null;
}
