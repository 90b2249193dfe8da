import { OutboxError } from "../model/errors.ts";
import type { OpType, Watermark } from "../model/op.ts";
import { isAsHashed } from "../model/op-hash.ts";
import type { Sqlite } from "../sqlite/driver.ts";
import { freeze } from "./frozen.ts";
import { watermarkOf } from "./watermark.ts";

export interface ReservedOp {
	readonly op_id: string;
	readonly type: OpType;
	readonly key: string;
	readonly payload: string;
	readonly depends_on: string | null;
}

/** A sealed batch with its bytes checked, leased to one owner. */
export interface ReservedBatch {
	readonly batch_id: string;
	readonly session_id: string;
	readonly first_position: number;
	readonly ops: readonly ReservedOp[];
	readonly bytes: number;
	readonly source_watermark: Watermark | null;
	/** How often it has been sent, this time included. */
	readonly attempts: number;
}

interface OpRow {
	op_id: string;
	type: OpType;
	key: string;
	payload: string;
	hash: string;
	captured_at: number;
}

interface BatchRow {
	batch_id: string;
	session_id: string;
	first_id: number;
	last_id: number;
	first_position: number;
	ops: number;
	bytes: number;
	digest: string;
	depends: string;
	attempts: number;
	watermark_seq: number | null;
	watermark_event_id: string | null;
	lease_owner: string | null;
	lease_until: number;
}

/**
 * Reserves the next batch of a session for `owner` until `now + leaseMs`.
 *
 * The next is the first one that `owner` does not hold; the batches before it are under way on the same connection, so
 * the session still leaves in order (G3). A crashed owner keeps a batch no longer than its lease. The attempt is counted
 * here, before it is made.
 *
 * @returns the batch, or undefined when there is none or another owner holds it.
 * @throws OutboxError `corrupt` when the stored bytes do not match their hashes; the session must be compared.
 */
export function reserveVerb(sqlite: Sqlite) {
	const held = sqlite.prepare<BatchRow>("SELECT * FROM batch WHERE session_id = ? ORDER BY first_position");
	const opsOf = sqlite.prepare<OpRow>(`SELECT op_id, type, key, payload, hash, captured_at FROM op
		WHERE session_id = ? AND id BETWEEN ? AND ? ORDER BY id`);
	const lease = sqlite.prepare(
		"UPDATE batch SET lease_owner = ?, lease_until = ?, attempts = attempts + 1 WHERE batch_id = ?",
	);

	return (sessionId: string, owner: string, leaseMs: number, now: number): ReservedBatch | undefined =>
		sqlite.transaction(() => {
			const next = held.all(sessionId).find((row) => row.lease_owner !== owner || row.lease_until <= now);
			if (next === undefined) return undefined;
			if (next.lease_owner !== owner && next.lease_until > now) return undefined;

			const rows = opsOf.all(sessionId, next.first_id, next.last_id);
			const depends = dependsOf(next);
			const damaged = rows.find((row) => !isAsHashed(row, row.hash));
			if (damaged || !isAsFrozen(next, rows, depends)) {
				const what = damaged ? `op ${damaged.op_id}` : `batch ${next.batch_id}`;
				throw new OutboxError("corrupt", `The stored bytes of ${what} do not match their hash.`);
			}
			lease.run(owner, now + leaseMs, next.batch_id);
			return {
				batch_id: next.batch_id,
				session_id: sessionId,
				first_position: next.first_position,
				ops: rows.map(({ op_id, type, key, payload }, n) => ({
					op_id,
					type,
					key,
					payload,
					depends_on: depends[n] ?? null,
				})),
				bytes: next.bytes,
				source_watermark: watermarkOf(next),
				attempts: next.attempts + 1,
			};
		});
}

/** The frozen dependencies of a batch; none when the row is damaged, which its digest then tells. */
function dependsOf(batch: BatchRow): (string | null)[] {
	try {
		const depends: unknown = JSON.parse(batch.depends);
		return Array.isArray(depends) ? depends : [];
	} catch {
		return [];
	}
}

function isAsFrozen(batch: BatchRow, rows: readonly OpRow[], depends: readonly (string | null)[]): boolean {
	const [first] = rows;
	if (first === undefined || rows.length !== batch.ops || depends.length !== batch.ops) return false;
	const sealed = rows.map((row, n) => ({ op_id: row.op_id, hash: row.hash, depends_on: depends[n] ?? null }));
	const { session_id, first_position } = batch;
	const again = freeze(
		{ session_id, first_position, captured_at: first.captured_at, watermark: watermarkOf(batch) },
		sealed,
	);
	return again.batch_id === batch.batch_id && again.digest === batch.digest;
}

/** Extends the leases of everything that `owner` holds of a session to `now + leaseMs`. */
export function extendVerb(sqlite: Sqlite) {
	const extend = sqlite.prepare("UPDATE batch SET lease_until = ? WHERE session_id = ? AND lease_owner = ?");
	return (sessionId: string, owner: string, leaseMs: number, now: number): void => {
		extend.run(now + leaseMs, sessionId, owner);
	};
}
