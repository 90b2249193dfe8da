import type { Sqlite } from "../sqlite/driver.ts";
import { oldestAfter } from "./pending.ts";
import { opAt } from "./position.ts";
import { OVER_QUOTA } from "./session.ts";

/**
 * Records that the server has every op of a session below `cursor`.
 *
 * Batches that lie wholly below go; one that lies astride stays as it is, since its bytes never change. Repeating an ack,
 * or acking less than before, changes nothing. A cursor beyond what is sealed is ignored: nobody can have that from us.
 *
 * @returns how many ops were newly acknowledged.
 */
export function ackVerb(sqlite: Sqlite) {
	const row = sqlite.prepare<{ acked_id: number; acked_cursor: number; sealed_cursor: number }>(
		"SELECT acked_id, acked_cursor, sealed_cursor FROM session WHERE session_id = ?",
	);
	const last = lastBelow(sqlite);
	const removeBatches = sqlite.prepare("DELETE FROM batch WHERE session_id = ? AND first_position + ops <= ?");
	const bytesOf = sqlite.prepare<{ bytes: number }>(
		"SELECT coalesce(sum(bytes), 0) AS bytes FROM op WHERE session_id = ? AND id > ? AND id <= ?",
	);
	const advance = sqlite.prepare(`
		UPDATE session SET acked_id = ?, acked_cursor = ?, acked_op_id = ?, pending_ops = pending_ops - ?,
			pending_bytes = pending_bytes - ?, oldest_pending_at = ${oldestAfter("?")}, last_acked_at = ?, attempts = 0,
			next_retry_at = 0, last_error = NULL, parked_code = nullif(parked_code, '${OVER_QUOTA}')
		WHERE session_id = ?`);
	const latest = sqlite.prepare("UPDATE agent SET acked_session_id = ? WHERE acked_session_id IS NOT ?");
	return (sessionId: string, cursor: number, now: number): number =>
		sqlite.transaction(() => {
			const session = row.get(sessionId);
			if (!session || cursor <= session.acked_cursor || cursor > session.sealed_cursor) return 0;
			const op = last(sessionId, cursor);
			if (op === undefined) return 0;
			const ops = cursor - session.acked_cursor;
			const bytes = bytesOf.get(sessionId, session.acked_id, op.id)?.bytes ?? 0;
			advance.run(op.id, cursor, op.op_id, ops, bytes, op.id, now, sessionId);
			removeBatches.run(sessionId, cursor);
			latest.run(sessionId, sessionId);
			return ops;
		});
}

/** The sealed, unacknowledged op at position `cursor - 1`, or undefined when none of ours is there. */
export function lastBelow(sqlite: Sqlite) {
	const at = opAt(sqlite);
	return (sessionId: string, cursor: number) => at(sessionId, cursor - 1);
}

/** Name of the unacknowledged batch that has position `cursor - 1`, or undefined. */
export function batchBelow(sqlite: Sqlite) {
	const row = sqlite.prepare<{ batch_id: string }>(
		"SELECT batch_id FROM batch WHERE session_id = ? AND first_position < ? AND first_position + ops >= ?",
	);
	return (sessionId: string, cursor: number) => row.get(sessionId, cursor, cursor)?.batch_id;
}

/**
 * Records that a session's batches may not have arrived: gives its leases back and makes the same bytes due again at
 * `nextRetryAt`. Also for attempts that failed before anything was sent.
 */
export function nackVerb(sqlite: Sqlite) {
	const release = sqlite.prepare("UPDATE batch SET lease_owner = NULL, lease_until = 0 WHERE session_id = ?");
	const defer = sqlite.prepare("UPDATE session SET next_retry_at = ?, last_error = ? WHERE session_id = ?");
	return (sessionId: string, nextRetryAt: number, error: string): void =>
		sqlite.transaction(() => {
			release.run(sessionId);
			defer.run(nextRetryAt, error, sessionId);
		});
}

/** Gives back what is leased of one session; writes nothing when nothing is. */
export function releaseVerb(sqlite: Sqlite) {
	const release = sqlite.prepare(
		"UPDATE batch SET lease_owner = NULL, lease_until = 0 WHERE session_id = ? AND lease_owner IS NOT NULL",
	);
	return (sessionId: string): void => void release.run(sessionId);
}

/** Gives back every lease: the caller holds the outbox alone, so whoever held one is dead. */
export function recoverVerb(sqlite: Sqlite) {
	const release = sqlite.prepare("UPDATE batch SET lease_owner = NULL, lease_until = 0 WHERE lease_owner IS NOT NULL");
	return (): number => release.run().changes;
}
