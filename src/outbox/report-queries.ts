import type { Watermark } from "../model/op.ts";
import type { Sqlite } from "../sqlite/driver.ts";
import { agentQuery } from "./agent-row.ts";
import type { Report, SessionReport } from "./report.ts";
import { stateOf } from "./session-state.ts";

/** A session as it is read, before its state is told. */
interface Row extends Omit<SessionReport, "state"> {
	/** 1 when a share was asked for. */
	readonly asked: number;
	readonly bytes: number;
	readonly sealed: number;
}

/**
 * Every column is named, so that no secret slips in. No op is looked at (pending.ts): of a thousand sessions that would be
 * two pages each. Plain SQL: of a thousand sessions, drizzle takes ten times as long to make the rows as SQLite to read them.
 */
const SESSIONS = `
	SELECT session.session_id, parent_id, title, directory, wanted, source_state, source_note, share_id, slug, url,
		acked_cursor AS cursor, capability_epoch AS epoch, pending_ops AS pending,
		(SELECT count(*) FROM dead WHERE dead.session_id = session.session_id) AS dead,
		last_acked_at, last_error, parked_code, iif(wanted = 'auto', excluded, NULL) AS excluded, compare_reason,
		nullif(next_retry_at, 0) AS next_retry_at, oldest_pending_at, attempts,
		share.session_id IS NOT NULL AS asked, pending_bytes AS bytes, sealed_cursor - acked_cursor AS sealed
	FROM session
	LEFT JOIN share ON share.session_id = session.session_id
	ORDER BY oldest_pending_at IS NULL, oldest_pending_at, session.session_id`;

/** A batch may begin before the acked cursor; those ops are no longer in flight. */
const IN_FLIGHT = `
	SELECT coalesce(sum(min(ops, first_position + ops - acked_cursor)), 0) AS ops
	FROM batch JOIN session USING (session_id) WHERE lease_until > ?`;

/** Reads a report inside a transaction; see openReport. */
export function readReport(sqlite: Sqlite, now: number): Report {
	const rows = sqlite.prepare<Row>(SESSIONS).all();
	const flight = sqlite.prepare<{ ops: number }>(IN_FLIGHT).get(now);
	const dead = sqlite.prepare<{ count: number }>("SELECT count(*) AS count FROM dead").get();
	const sum = (of: (row: Row) => number) => rows.reduce((total, row) => total + of(row), 0);
	return {
		agent: agentQuery(sqlite)() ?? null,
		totals: {
			pending: sum((row) => (row.excluded === null ? row.pending : 0)),
			excluded: sum((row) => (row.excluded === null ? 0 : row.pending)),
			sealed: sum((row) => row.sealed),
			in_flight: flight?.ops ?? 0,
			dead: dead?.count ?? 0,
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
