import { and, eq, gte, inArray, lt, sql } from "drizzle-orm";
import type { BaseSQLiteDatabase } from "drizzle-orm/sqlite-core";
import { ledger } from "./share.sql.ts";

/** What is below the floor goes once this part of a ledger has come to be there, as finding it takes a look at every row. */
const STRIDE = 1 / 4;

/**
 * The op_ids that a share remembers: those of its last W positions. What makes replay have one effect (G2).
 *
 * Why a bounded memory is exact, and does not expire with time. Let S be the most ops that a client holds sealed and
 * unacknowledged, W >= 2 S, and C the cursor.
 *
 * 1. A client seals only on top of a cursor that a redemption or an ack told it, A, and never more than S ops ahead: the
 *    positions that it may send lie in [A, A + S). A position never changes once sealed.
 * 2. As long as one client writes, C never leaves [A, A + S], so whatever it sends again, however late, lies at C - S or
 *    above: its id is still in the ledger, if it was applied. The floor C - W is never reached.
 * 3. An op from below the floor is therefore either an echo (a copy of a message that was acknowledged long ago; its
 *    position was taken by it), or of a client that another writer has overtaken by more than W - S ops. To the first
 *    `duplicate` is the truth. The second learns it from the cursor, which the ack bears as well and which lies beyond
 *    everything that it ever sealed: it compares, as after a redemption that tells the same, and loses nothing.
 * 4. Between the floor and the cursor every id is known: an unknown op there is another writer's, `cursor_conflict`.
 * 5. `depends_on` names only an op that was unacknowledged when its dependant was sealed. Both lie in one [A, A + S), so
 *    when the dependant is at the cursor its dependency is less than S below, above the floor: not in the ledger means
 *    not applied. Where it names a batch, the share itself remembers which one took the position before its cursor. Where
 *    another copy of the client's outbox has put the first ops of a batch there, what follows them still needs that batch.
 */
export class Ledger {
	readonly #ops: number;
	readonly #stride: number;
	readonly #remembered;
	readonly #insert;
	readonly #forget;
	readonly #clear;

	constructor(db: BaseSQLiteDatabase<"sync", unknown>, ops: number) {
		this.#ops = ops;
		this.#stride = Math.ceil(ops * STRIDE);
		const ofShare = eq(ledger.share_id, sql.placeholder("share_id"));
		const named = sql`(SELECT value FROM json_each(${sql.placeholder("op_ids")}))`;
		this.#remembered = db
			.select({ op_id: ledger.op_id, position: ledger.position })
			.from(ledger)
			.where(and(ofShare, inArray(ledger.op_id, named), gte(ledger.position, sql.placeholder("floor"))))
			.prepare();
		// An id from below the floor may still have its row, and is a new one.
		this.#insert = db
			.insert(ledger)
			.select(
				sql`SELECT ${sql.placeholder("share_id")}, value, ${sql.placeholder("from")} + key
					FROM json_each(${sql.placeholder("op_ids")}) WHERE true`,
			)
			.onConflictDoUpdate({
				target: [ledger.share_id, ledger.op_id],
				set: { position: sql.raw("excluded.position") },
			})
			.prepare();
		this.#forget = db
			.delete(ledger)
			.where(and(ofShare, lt(ledger.position, sql.placeholder("floor"))))
			.prepare();
		this.#clear = db.delete(ledger).where(ofShare).prepare();
	}

	/** The lowest position that a share at `cursor` remembers. */
	floor(cursor: number): number {
		return Math.max(0, cursor - this.#ops);
	}

	/**
	 * Those of these ops that a share at `cursor` remembers, with the positions that they took: one question for a whole
	 * batch, as one op costs most of what all do.
	 */
	remembered(share_id: string, cursor: number, op_ids: readonly string[]): Map<string, number> {
		const rows = this.#remembered.all({ share_id, floor: this.floor(cursor), op_ids: JSON.stringify(op_ids) });
		return new Map(rows.map(({ op_id, position }) => [op_id, position]));
	}

	/** Remembers ops that took consecutive positions, the first one `from`, and forgets what has long been below the floor. */
	insert(share_id: string, from: number, op_ids: readonly string[]): void {
		this.#insert.run({ share_id, from, op_ids: JSON.stringify(op_ids) });
		const cursor = from + op_ids.length;
		const isStride = Math.floor(cursor / this.#stride) > Math.floor(from / this.#stride);
		if (isStride && cursor > this.#ops) this.#forget.run({ share_id, floor: this.floor(cursor) });
	}

	clear(share_id: string): void {
		this.#clear.run({ share_id });
	}
}
