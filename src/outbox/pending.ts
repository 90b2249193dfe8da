import type { Sqlite } from "../sqlite/driver.ts";

/**
 * SQL: when the oldest op of a `session` was captured that is pending once it is acknowledged up to an op's id; null where
 * none is. Ids grow with capture, so it is the first one.
 */
export function oldestAfter(ackedId: string): string {
	return `(SELECT captured_at FROM op AS line
		WHERE line.session_id = session.session_id AND line.id > ${ackedId} ORDER BY line.id LIMIT 1)`;
}
const OLDEST = oldestAfter("session.acked_id");

/**
 * Keeps what each session has pending, in ops and bytes, and since when, beside its line: counting it would read an entry
 * per op, which takes `status` half a second at a million, and the oldest op of each of a thousand sessions 50 ms more.
 * Whoever puts ops into a line, or takes them out, says so inside its transaction. Only told, never decided by: whether
 * anything is to be sent is asked of the ops themselves.
 */
export function pendingCount(sqlite: Sqlite) {
	const add = sqlite.prepare(`
		UPDATE session SET pending_ops = pending_ops + ?, pending_bytes = pending_bytes + ?,
			oldest_pending_at = coalesce(oldest_pending_at, ?)
		WHERE session_id = ?`);
	const remove = sqlite.prepare(`
		UPDATE session SET pending_ops = pending_ops - 1, pending_bytes = pending_bytes - ?, oldest_pending_at = ${OLDEST}
		WHERE session_id = ?`);
	const recount = sqlite.prepare(`
		UPDATE session SET pending_ops = counted.ops, pending_bytes = counted.bytes, oldest_pending_at = counted.oldest FROM (
			SELECT session.session_id AS id, count(op.id) AS ops, coalesce(sum(op.bytes), 0) AS bytes, ${OLDEST} AS oldest
			FROM session LEFT JOIN op ON op.session_id = session.session_id AND op.id > session.acked_id
			GROUP BY session.session_id) AS counted
		WHERE session_id = counted.id
			AND (pending_ops, pending_bytes, oldest_pending_at) IS NOT (counted.ops, counted.bytes, counted.oldest)`);
	return {
		/** Ops at the end of a line, captured at `now`, and bytes in it. Writes nothing when nothing has changed. */
		add(sessionId: string, ops: number, bytes: number, now: number): void {
			if (ops !== 0 || bytes !== 0) add.run(ops, bytes, now, sessionId);
		},
		/** An op that is gone from a line. */
		remove: (sessionId: string, bytes: number): void => void remove.run(bytes, sessionId),
		/** Counts all sessions anew, an index entry per pending op; writes what was wrong. */
		recount: (): void => void recount.run(),
	};
}
