import type { Watermark } from "../model/op.ts";
import type { Sqlite } from "../sqlite/driver.ts";
import { agentQuery } from "./agent-row.ts";
import type { Report, SessionReport, Totals } from "./report.ts";
import { type SessionState, stateOf } from "./session-state.ts";

/** A session as it is read: its state is told afterwards, from the rest. */
type Row = Omit<SessionReport, "state"> & { state: SessionState };

/** A rule's word, where the person who asked for the session has not overruled it. */
const EXCLUDED = "iif(wanted = 'auto', excluded, NULL)";

/**
 * Every column is named, so that no secret slips in. No op is looked at (pending.ts): of a thousand sessions that would be
 * two pages each. Plain SQL, whose rows are the report's: for a thousand sessions drizzle takes ten times as long to make
 * the rows as SQLite to read them, and copying them takes 8 ms.
 */
const SESSIONS = `
	SELECT session.session_id, parent_id, title, directory, wanted, source_state, source_note, share_id, slug, url,
		acked_cursor AS cursor, capability_epoch AS epoch, pending_ops AS pending,
		(SELECT count(*) FROM dead WHERE dead.session_id = session.session_id) AS dead,
		last_acked_at, last_error, parked_code, ${EXCLUDED} AS excluded, compare_reason,
		nullif(next_retry_at, 0) AS next_retry_at, oldest_pending_at, attempts, '' AS state
	FROM session
	LEFT JOIN share ON share.session_id = session.session_id
	ORDER BY oldest_pending_at IS NULL, oldest_pending_at, session.session_id`;

/** Sessions for which a share was asked, and not granted yet. */
const ASKED = "SELECT session_id FROM share WHERE share_id IS NULL";

/** A batch may begin before the acked cursor; those ops are no longer in flight. */
const TOTALS = `
	SELECT coalesce(sum(pending_ops) FILTER (WHERE ${EXCLUDED} IS NULL), 0) AS pending,
		coalesce(sum(pending_ops) FILTER (WHERE ${EXCLUDED} IS NOT NULL), 0) AS excluded,
		coalesce(sum(sealed_cursor - acked_cursor), 0) AS sealed,
		(SELECT coalesce(sum(min(ops, first_position + ops - acked_cursor)), 0)
			FROM batch JOIN session USING (session_id) WHERE lease_until > ?) AS in_flight,
		(SELECT count(*) FROM dead) AS dead,
		coalesce(sum(pending_bytes) FILTER (WHERE ${EXCLUDED} IS NULL), 0) AS bytes,
		min(oldest_pending_at) FILTER (WHERE ${EXCLUDED} IS NULL) AS oldest_pending_at
	FROM session`;

/** Reads a report inside a transaction; see openReport. */
export function readReport(sqlite: Sqlite, now: number): Report {
	const sessions = sqlite.prepare<Row>(SESSIONS).all();
	const asked = new Set(
		sqlite
			.prepare<{ session_id: string }>(ASKED)
			.all()
			.map((row) => row.session_id),
	);
	for (const session of sessions)
		session.state = stateOf(session, session.share_id !== null || asked.has(session.session_id));
	return {
		agent: agentQuery(sqlite)() ?? null,
		totals: sqlite.prepare<Totals>(TOTALS).get(now) as Totals,
		sessions,
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
