import type { Sqlite } from "../sqlite/driver.ts";
import { pendingCount } from "./pending.ts";

/** A dead letter before it has an id. */
export interface DeadLetter {
	readonly session_id: string;
	readonly op_id: string;
	readonly type: string;
	readonly key: string;
	readonly payload: string | null;
	readonly bytes: number;
	readonly code: string;
	readonly reason: string;
	readonly parent_id: number | null;
}

/** Writes a dead letter inside a transaction and returns its id. */
export function buryOp(sqlite: Sqlite) {
	const insert = sqlite.prepare(`
		INSERT INTO dead (session_id, op_id, type, key, payload, bytes, code, reason, parent_id, buried_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`);
	return (letter: DeadLetter, now: number): number => {
		const { session_id, op_id, type, key, payload, bytes, code, reason, parent_id } = letter;
		const row = insert.run(session_id, op_id, type, key, payload, bytes, code, reason, parent_id, now);
		return Number(row.lastInsertRowid);
	};
}

/**
 * Takes one op out of the line, with its reason, and parks the ops that depend on it beside it.
 *
 * Inside a transaction, on unsealed ops only. Returns the letters' ids, the op's own first.
 */
export function buryPending(sqlite: Sqlite) {
	type Row = { id: number; op_id: string; type: string; key: string; payload: string; bytes: number };
	const byId = sqlite.prepare<Row>(
		"SELECT id, op_id, type, key, payload, bytes FROM op WHERE id = ? AND session_id = ?",
	);
	const dependants = sqlite.prepare<Row>(
		"SELECT id, op_id, type, key, payload, bytes FROM op WHERE session_id = ? AND id > ? AND depends_id = ? ORDER BY id",
	);
	const remove = sqlite.prepare("DELETE FROM op WHERE id = ?");
	const bury = buryOp(sqlite);
	const pending = pendingCount(sqlite);
	const take = (sessionId: string, row: Row): void => {
		remove.run(row.id);
		pending.remove(sessionId, row.bytes);
	};
	return (sessionId: string, id: number, code: string, reason: string, now: number): number[] => {
		const head = byId.get(id, sessionId);
		if (head === undefined) return [];
		const letter = { ...head, session_id: sessionId, code, reason, parent_id: null };
		const parent = bury(letter, now);
		take(sessionId, head);
		const parked = dependants.all(sessionId, id, id).map((row) => {
			const why = `what it belongs to was set aside: ${head.key} (${code})`;
			const child = { ...row, session_id: sessionId, code: "missing_dependency", reason: why, parent_id: parent };
			take(sessionId, row);
			return bury(child, now);
		});
		return [parent, ...parked];
	};
}
