import { assert } from "../model/assert.ts";
import type { Sqlite } from "../sqlite/driver.ts";
import { buryPending } from "./bury.ts";
import { freeze } from "./frozen.ts";
import { watermarkOf } from "./watermark.ts";

/** What a redemption allows; the caller has redeemed on the connection that the batch will leave on. */
export interface SealLimits {
	readonly ops_per_batch: number;
	readonly batch_bytes: number;
	readonly op_bytes: number;
	readonly sealed_ops: number;
}

export type SealResult =
	/** `ops` were given their positions as one batch; `buried` letters were written on the way. */
	{ readonly sealed: number; readonly buried: readonly number[] };

interface Candidate {
	id: number;
	op_id: string;
	hash: string;
	key: string;
	bytes: number;
	depends_id: number | null;
	captured_at: number;
}

/**
 * Seals the next batch of a session: gives its ops their positions and freezes them.
 *
 * Takes unsealed ops in order, up to the limits; at least one, however large, as long as the op itself is allowed. An op
 * over `op_bytes` is buried here with what depends on it, since the server has told that it will not take it. Seals
 * nothing while `sealed_ops` are unacknowledged, so that the server's ledger stays exact. The first op of a batch depends
 * on the batch before it, as long as that is unacknowledged. A batch's name follows from all it holds, so nothing of a
 * later one is applied unless the earlier ones were, whole and in order, whoever else writes: another copy of this outbox
 * may put the same events there, but not the same batches. `sealed` is 0 only when nothing is left to seal, or there is
 * no room.
 */
export function sealVerb(sqlite: Sqlite) {
	type Session = {
		acked_id: number;
		sealed_id: number;
		acked_cursor: number;
		sealed_cursor: number;
		watermark_seq: number | null;
		watermark_event_id: string | null;
	};
	const sessionRow = sqlite.prepare<Session>(`
		SELECT acked_id, sealed_id, acked_cursor, sealed_cursor, watermark_seq, watermark_event_id
		FROM session WHERE session_id = ?`);
	const candidates = sqlite.prepare<Candidate>(`
		SELECT id, op_id, hash, key, bytes, depends_id, captured_at FROM op
		WHERE session_id = ? AND id > ? ORDER BY id LIMIT ?`);
	const lastBatch = sqlite.prepare<{ batch_id: string }>(
		"SELECT batch_id FROM batch WHERE session_id = ? ORDER BY first_position DESC LIMIT 1",
	);
	const opIdOf = sqlite.prepare<{ op_id: string }>("SELECT op_id FROM op WHERE id = ? AND session_id = ?");
	const floorAfter = sqlite.prepare<{ watermark_seq: number | null; watermark_event_id: string | null }>(`
		SELECT floor_seq AS watermark_seq, floor_event_id AS watermark_event_id FROM op
		WHERE session_id = ? AND id > ? ORDER BY id LIMIT 1`);
	const insert = sqlite.prepare(`
		INSERT INTO batch (batch_id, session_id, first_id, last_id, first_position, ops, bytes, digest, depends,
			watermark_seq, watermark_event_id, sealed_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`);
	const advance = sqlite.prepare("UPDATE session SET sealed_id = ?, sealed_cursor = ? WHERE session_id = ?");
	const bury = buryPending(sqlite);

	return (sessionId: string, limits: SealLimits, now: number): SealResult =>
		sqlite.transaction(() => {
			const session = sessionRow.get(sessionId);
			assert(session, `session ${sessionId} is known`);
			const room = limits.sealed_ops - (session.sealed_cursor - session.acked_cursor);
			const most = Math.min(limits.ops_per_batch, Math.max(0, room));
			const buried: number[] = [];
			let ops: Candidate[];
			for (;;) {
				ops = fitting(candidates.all(sessionId, session.sealed_id, most), limits);
				// What is parked with an op that is too large lies behind it, so each burial takes another look.
				const large = ops.find((row) => row.bytes > limits.op_bytes);
				if (large === undefined) break;
				const reason = `${large.key} has ${large.bytes} bytes; the server takes ${limits.op_bytes}`;
				buried.push(...bury(sessionId, large.id, "too_large", reason, now));
			}
			const [first, last] = [ops[0], ops.at(-1)];
			if (first === undefined || last === undefined) return { sealed: 0, buried };

			const unacked = (id: number | null) =>
				id !== null && id > session.acked_id ? (opIdOf.get(id, sessionId)?.op_id ?? null) : null;
			const before = session.sealed_id > session.acked_id ? lastBatch.get(sessionId)?.batch_id : undefined;
			const depends = ops.map((row, n) => (n === 0 && before) || unacked(row.depends_id));
			const position = session.sealed_cursor;
			const frozen = ops.map((row, n) => ({ op_id: row.op_id, hash: row.hash, depends_on: depends[n] ?? null }));
			const watermark = watermarkOf(floorAfter.get(sessionId, last.id) ?? session);
			const { captured_at } = first;
			const batch = { session_id: sessionId, first_position: position, captured_at, watermark };
			const { batch_id, digest } = freeze(batch, frozen);
			const bytes = ops.reduce((total, row) => total + row.bytes, 0);
			insert.run(
				...[batch_id, sessionId, first.id, last.id, position, ops.length, bytes, digest, JSON.stringify(depends)],
				...[watermark?.seq ?? null, watermark?.event_id ?? null, now],
			);
			advance.run(last.id, position + ops.length, sessionId);
			return { sealed: ops.length, buried };
		});
}

/** The ops from the first on that fit one batch; one that is too large by itself ends the list, to be buried. */
function fitting(rows: readonly Candidate[], limits: SealLimits): Candidate[] {
	const ops: Candidate[] = [];
	let bytes = 0;
	for (const row of rows) {
		bytes += row.bytes;
		const isTooLarge = row.bytes > limits.op_bytes;
		if (ops.length > 0 && bytes > limits.batch_bytes && !isTooLarge) break;
		ops.push(row);
		if (isTooLarge) break;
	}
	return ops;
}
