import { digestOf } from "../model/json.ts";
import { type OpType, REMOVALS } from "../model/op.ts";
import type { Sqlite } from "../sqlite/driver.ts";
import { opWriter } from "./append.ts";
import { markCheckpoint } from "./checkpoint.ts";
import { DIGEST, isRemovable } from "./known.ts";
import { watermarkOf } from "./watermark.ts";

export interface DeadRow {
	readonly id: number;
	readonly session_id: string;
	readonly op_id: string;
	readonly type: OpType;
	readonly key: string;
	readonly payload: string | null;
	readonly bytes: number;
	readonly code: string;
	readonly reason: string;
	readonly parent_id: number | null;
	readonly buried_at: number;
}

/**
 * `revived`: the letters are pending ops again. `superseded`: a newer state of the entity was captured since, so the
 * letter was only discarded (for a removal: its entity is there again). `no_payload`: there is nothing to send; it stays. `unknown`: no such letter.
 */
export type ReviveResult = {
	readonly outcome: "revived" | "superseded" | "no_payload" | "unknown";
	readonly ops: number;
};

/** Puts a dead letter, and those that were set aside because of it, back at the end of its session's line. */
export function reviveVerb(sqlite: Sqlite) {
	const byId = sqlite.prepare<DeadRow>("SELECT * FROM dead WHERE id = ?");
	const children = sqlite.prepare<DeadRow>("SELECT * FROM dead WHERE parent_id = ? ORDER BY id");
	const remove = sqlite.prepare("DELETE FROM dead WHERE id = ?");
	const captured = sqlite.prepare<{ digest: string; checkpoint: string | null }>(
		`SELECT ${DIGEST} AS digest, checkpoint FROM entity WHERE session_id = ? AND key = ?`,
	);
	const forget = sqlite.prepare("DELETE FROM entity WHERE session_id = ? AND key = ?");
	type Line = { acked_id: number; sealed_id: number; watermark_seq: number | null; watermark_event_id: string | null };
	const line = sqlite.prepare<Line>(
		"SELECT acked_id, sealed_id, watermark_seq, watermark_event_id FROM session WHERE session_id = ?",
	);
	const stub = sqlite.prepare(
		"INSERT INTO entity (session_id, key, digest, first_op, last_op) VALUES (?, ?, x'', 0, 0) ON CONFLICT DO NOTHING",
	);
	const removable = isRemovable(sqlite);
	const isCheckpoint = markCheckpoint(sqlite);
	const hurry = sqlite.prepare("UPDATE session SET next_retry_at = 0 WHERE session_id = ?");
	const write = opWriter(sqlite);

	const reviveOne = (letter: DeadRow, now: number): boolean => {
		remove.run(letter.id);
		const { session_id, op_id, type, key, payload } = letter;
		const session = line.get(session_id);
		if (payload === null || session === undefined) return false;
		const known = captured.get(session_id, key);
		const isSuperseded = REMOVALS.has(type)
			? removable(session_id, letter)
			: (known?.checkpoint ?? known?.digest) !== digestOf(payload);
		if (isSuperseded) return false;
		// Captured already counts as said. A removal is of what is known, anything else of what is not.
		if (REMOVALS.has(type)) stub.run(session_id, key);
		else forget.run(session_id, key);
		const { acked_id, sealed_id } = session;
		write({ session_id, acked_id, sealed_id, floor: watermarkOf(session), now }, [{ op_id, type, key, payload }]);
		if (known && known.checkpoint !== null) isCheckpoint(session_id, key, known.digest);
		return true;
	};

	return (id: number, now: number): ReviveResult =>
		sqlite.transaction(() => {
			const letter = byId.get(id);
			if (letter === undefined) return { outcome: "unknown", ops: 0 };
			if (letter.payload === null) return { outcome: "no_payload", ops: 0 };
			const revived = [letter, ...children.all(id)].filter((row) => reviveOne(row, now)).length;
			hurry.run(letter.session_id);
			return { outcome: revived > 0 ? "revived" : "superseded", ops: revived };
		});
}

/** Throws dead letters away: one and those set aside because of it. Returns how many went. */
export function discardVerb(sqlite: Sqlite) {
	const remove = sqlite.prepare("DELETE FROM dead WHERE ? IN (id, parent_id)");
	return (id: number): number => remove.run(id).changes;
}

export function deadQueries(sqlite: Sqlite) {
	const all = sqlite.prepare<DeadRow>("SELECT * FROM dead ORDER BY id");
	const one = sqlite.prepare<DeadRow>("SELECT * FROM dead WHERE id = ?");
	return { list: () => all.all(), show: (id: number) => one.get(id) };
}
