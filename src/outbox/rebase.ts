import type { OpIntent, OpType, Watermark } from "../model/op.ts";
import { REMOVALS } from "../model/op.ts";
import type { Sqlite } from "../sqlite/driver.ts";
import { type Burial, opWriter } from "./append.ts";
import { markCheckpoint } from "./checkpoint.ts";
import { DIGEST } from "./known.ts";
import { unsealSession } from "./reject.ts";

/** What a session is put on after it was compared with its share (agent/compare.ts). */
export interface Rebase {
	/** The share's cursor and last op as redeemed; fresh ops take their positions from here. */
	readonly cursor: number;
	readonly last_op_id: string | null;
	/** Ops that bring the share to where OpenCode stands, and what cannot be brought. */
	readonly fresh: readonly (OpIntent | Burial)[];
	/** Entities on which both agree: key to digest. */
	readonly same: ReadonlyMap<string, string>;
	/**
	 * Of those in `fresh` and `same` whose text was put over what OpenCode has committed (checkpoint.ts): key to the digest of
	 * what it has.
	 */
	readonly committed?: ReadonlyMap<string, string>;
	/** What the comparison covers. */
	readonly watermark: Watermark | null;
}

/**
 * Sets every unacknowledged op of a session aside and puts fresh ones on top of the share's own cursor.
 *
 * Positions and old ops are never trusted again. The caller has fenced off every copy that may still be under way, and
 * `fresh` repeats the removals that the share has not seen, so nothing is lost by it. What both agree on stays retained, pending or
 * not. Safe to repeat.
 */
export function rebaseVerb(sqlite: Sqlite) {
	const unseal = unsealSession(sqlite);
	const lastId = sqlite.prepare<{ id: number | null }>("SELECT max(id) AS id FROM op WHERE session_id = ?");
	const removePending = sqlite.prepare(`
		DELETE FROM op WHERE session_id = ? AND id > (SELECT acked_id FROM session WHERE session_id = op.session_id)
			AND NOT EXISTS (SELECT 1 FROM entity
				WHERE entity.session_id = op.session_id AND entity.key = op.key AND entity.last_op = op.id)`);
	const entities = sqlite.prepare<{ key: string; held: string; last_op: number }>(
		`SELECT key, coalesce(checkpoint, ${DIGEST}) AS held, last_op FROM entity WHERE session_id = ?`,
	);
	const removeEntities = sqlite.prepare("DELETE FROM entity WHERE session_id = ?");
	const insertEntity = sqlite.prepare(`
		INSERT INTO entity (session_id, key, digest, first_op, last_op) VALUES (?, ?, unhex(?), 0, ?) ON CONFLICT DO NOTHING`);
	const put = sqlite.prepare(`
		UPDATE session SET acked_id = max(acked_id, ?), sealed_id = max(acked_id, ?), acked_cursor = ?,
			sealed_cursor = ?, acked_op_id = ?, pending_ops = 0, pending_bytes = 0, oldest_pending_at = NULL,
			watermark_seq = ?, watermark_event_id = ?, compare_reason = NULL
		WHERE session_id = ?`);
	const latest = sqlite.prepare("UPDATE agent SET acked_session_id = ?");
	const isCheckpoint = markCheckpoint(sqlite);
	const write = opWriter(sqlite);
	return (sessionId: string, rebase: Rebase, now: number): void =>
		sqlite.transaction(() => {
			const { cursor, last_op_id, watermark } = rebase;
			unseal(sessionId);
			const line = lastId.get(sessionId)?.id ?? 0;
			const known = new Map(entities.all(sessionId).map((row) => [row.key, row]));
			removeEntities.run(sessionId);
			for (const [key, digest] of rebase.same) {
				const captured = known.get(key);
				insertEntity.run(sessionId, key, digest, captured?.held === digest ? captured.last_op : 0);
			}
			removePending.run(sessionId);
			put.run(line, line, cursor, cursor, last_op_id, watermark?.seq ?? null, watermark?.event_id ?? null, sessionId);
			// What was found to be equal counts as acknowledged.
			latest.run(sessionId);
			const place = { session_id: sessionId, acked_id: line, sealed_id: line, floor: null, now };
			// A removal needs its entity to be known; what the share still holds of it is.
			for (const op of rebase.fresh) if (REMOVALS.has(op.type)) insertEntity.run(sessionId, op.key, "", 0);
			write(place, rebase.fresh);
			for (const [key, digest] of rebase.committed ?? []) isCheckpoint(sessionId, key, digest);
		});
}

/** What the outbox itself still knows of a session that OpenCode has forgotten: the last payload of each live entity. */
export function retainedQuery(sqlite: Sqlite) {
	const rows = sqlite.prepare<{ type: OpType; key: string; payload: string }>(`
		SELECT op.type, op.key, op.payload FROM entity JOIN op ON op.id = entity.last_op
		WHERE entity.session_id = ? ORDER BY op.id`);
	return (sessionId: string) => rows.all(sessionId);
}

/** Keys of the messages and parts that OpenCode has removed from a session. */
export function removedQuery(sqlite: Sqlite) {
	const rows = sqlite.prepare<{ key: string }>("SELECT key FROM removed WHERE session_id = ? ORDER BY key");
	return (sessionId: string): string[] => rows.all(sessionId).map((row) => row.key);
}

/** What was captured of a session: `digests` by key of its live entities, whether one `isCaptured`, keys set aside. */
export function capturedQueries(sqlite: Sqlite) {
	const rows = sqlite.prepare<{ key: string; digest: string }>(
		`SELECT key, ${DIGEST} AS digest FROM entity WHERE session_id = ?`,
	);
	const one = sqlite.prepare("SELECT 1 FROM entity WHERE session_id = ? AND key = ?");
	const dead = sqlite.prepare<{ key: string }>("SELECT DISTINCT key FROM dead WHERE session_id = ?");
	return {
		digests: (sessionId: string): Map<string, string> =>
			new Map(rows.all(sessionId).map(({ key, digest }) => [key, digest])),
		isCaptured: (sessionId: string, key: string): boolean => one.get(sessionId, key) !== undefined,
		buriedKeys: (sessionId: string): Set<string> => new Set(dead.all(sessionId).map((row) => row.key)),
	};
}
