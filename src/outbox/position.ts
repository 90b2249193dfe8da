import type { Sqlite } from "../sqlite/driver.ts";

/**
 * Finds the sealed, unacknowledged op at a position.
 *
 * @returns undefined when the position is acknowledged, not sealed yet, or its op's row is gone.
 */
export function opAt(sqlite: Sqlite) {
	const line = sqlite.prepare<{ acked_id: number; sealed_id: number; acked_cursor: number; sealed_cursor: number }>(
		"SELECT acked_id, sealed_id, acked_cursor, sealed_cursor FROM session WHERE session_id = ?",
	);
	const nth = sqlite.prepare<{ id: number; op_id: string }>(
		"SELECT id, op_id FROM op WHERE session_id = ? AND id > ? AND id <= ? ORDER BY id LIMIT 1 OFFSET ?",
	);
	return (sessionId: string, position: number): { id: number; op_id: string } | undefined => {
		const session = line.get(sessionId);
		if (!session || position < session.acked_cursor || position >= session.sealed_cursor) return undefined;
		return nth.get(sessionId, session.acked_id, session.sealed_id, position - session.acked_cursor);
	};
}
