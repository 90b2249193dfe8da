import type { Sqlite } from "../sqlite/driver.ts";

/**
 * Keeps what each session has pending, in ops and bytes, beside its line: counting it would read an entry per op, which
 * takes `status` half a second at a million. Whoever puts ops into a line, or takes them out, says so inside its
 * transaction. Only told, never decided by: whether anything is to be sent is asked of the ops themselves.
 */
export function pendingCount(sqlite: Sqlite) {
	const add = sqlite.prepare(
		"UPDATE session SET pending_ops = pending_ops + ?, pending_bytes = pending_bytes + ? WHERE session_id = ?",
	);
	const recount = sqlite.prepare(`
		UPDATE session SET pending_ops = counted.ops, pending_bytes = counted.bytes FROM (
			SELECT session.session_id AS id, count(op.id) AS ops, coalesce(sum(op.bytes), 0) AS bytes
			FROM session LEFT JOIN op ON op.session_id = session.session_id AND op.id > session.acked_id
			GROUP BY session.session_id) AS counted
		WHERE session_id = counted.id AND (pending_ops, pending_bytes) <> (counted.ops, counted.bytes)`);
	return {
		/** Writes nothing when nothing has changed. */
		add(sessionId: string, ops: number, bytes: number): void {
			if (ops !== 0 || bytes !== 0) add.run(ops, bytes, sessionId);
		},
		/** Counts all sessions anew, an index entry per pending op; writes what was wrong. */
		recount: (): void => void recount.run(),
	};
}
