import { Buffer } from "node:buffer";
import { and, asc, eq, gt, gte, inArray, isNotNull, lt, lte, sql } from "drizzle-orm";
import type { BaseSQLiteDatabase } from "drizzle-orm/sqlite-core";
import { digestOf } from "../model/json.ts";
import { keys, messageIdOf, type OpType, partsRange, REMOVALS } from "../model/op.ts";
import { DIGESTS_PER_PAGE, LIMITS, WATCH_OPS_PER_DELIVERY } from "../protocol/limits.ts";
import type { DigestPage, WatchedOp } from "../protocol/schema.ts";
import { entity } from "./share.sql.ts";

/** What OpenCode imports, in the order in which it wants it, and what it leaves out: todos are for `restore` to tell of. */
const EXPORTED: readonly OpType[] = ["session", "message", "part", "session_diff", "model", "todo"];

export interface Entity {
	readonly type: OpType;
	readonly payload: string;
}

/** Characters of entities that are told at once, unless the first one alone has more. */
const SOME_CHARS = 64 * 1024;

/** The materialised entities of all shares: what the ops of each add up to. */
export class Entities {
	readonly #upsert;
	readonly #bytes;
	readonly #removeParts;
	readonly #undelete;
	readonly #digests;
	readonly #sizes;
	readonly #span;
	readonly #keysOf;
	readonly #payload;
	readonly #clear;

	constructor(db: BaseSQLiteDatabase<"sync", unknown>) {
		const ofShare = eq(entity.share_id, sql.placeholder("share_id"));
		const written = {
			type: sql.placeholder("type"),
			payload: sql.placeholder("payload"),
			digest: sql.placeholder("digest"),
			bytes: sql.placeholder("bytes"),
			position: sql.placeholder("position"),
		};
		const excluded = Object.fromEntries(Object.keys(written).map((name) => [name, sql.raw(`excluded.${name}`)]));
		this.#upsert = db
			.insert(entity)
			.values({ share_id: sql.placeholder("share_id"), key: sql.placeholder("key"), ...written })
			.onConflictDoUpdate({ target: [entity.share_id, entity.key], set: excluded })
			.prepare();
		const named = sql`(SELECT value FROM json_each(${sql.placeholder("keys")}))`;
		this.#bytes = db
			.select({ key: entity.key, bytes: entity.bytes })
			.from(entity)
			.where(and(ofShare, inArray(entity.key, named)))
			.prepare();
		this.#undelete = db
			.delete(entity)
			.where(and(ofShare, eq(entity.key, sql.placeholder("key"))))
			.returning({ key: entity.key, bytes: entity.bytes })
			.prepare();
		this.#removeParts = db
			.delete(entity)
			.where(and(ofShare, gte(entity.key, sql.placeholder("from")), lt(entity.key, sql.placeholder("to"))))
			.returning({ key: entity.key, bytes: entity.bytes })
			.prepare();
		this.#digests = db
			.select({ key: entity.key, digest: sql<string>`${entity.digest}` })
			.from(entity)
			.where(and(ofShare, gt(entity.key, sql.placeholder("after")), isNotNull(entity.digest)))
			.orderBy(asc(entity.key))
			.limit(DIGESTS_PER_PAGE + 1)
			.prepare();
		this.#sizes = db
			.select({ position: entity.position, bytes: entity.bytes })
			.from(entity)
			.where(and(ofShare, gte(entity.position, sql.placeholder("from"))))
			.orderBy(asc(entity.position))
			.limit(WATCH_OPS_PER_DELIVERY)
			.prepare();
		this.#span = db
			.select({ position: entity.position, type: entity.type, key: entity.key, payload: entity.payload })
			.from(entity)
			.where(and(ofShare, gte(entity.position, sql.placeholder("from")), lte(entity.position, sql.placeholder("to"))))
			.orderBy(asc(entity.position))
			.prepare();
		this.#keysOf = db
			.select({ key: entity.key })
			.from(entity)
			.where(and(ofShare, eq(entity.type, sql.placeholder("type"))))
			.orderBy(asc(entity.key))
			.prepare();
		this.#payload = db
			.select({ type: entity.type, payload: entity.payload })
			.from(entity)
			.where(and(ofShare, eq(entity.key, sql.placeholder("key")), isNotNull(entity.payload)))
			.prepare();
		this.#clear = db.delete(entity).where(ofShare).prepare();
	}

	/**
	 * What materialises ops of these keys, one by one. A removal leaves a tombstone, and takes a message's parts along; a
	 * session that is said again after `session_deleted` is not deleted any more. To be called in the transaction in which
	 * it was made, while nothing else writes to the share.
	 *
	 * What the share has of them is asked once for all. The function returns by how many bytes of payloads the share has
	 * grown; negative where it has less.
	 */
	writer(share_id: string, opKeys: readonly string[]) {
		const rows = this.#bytes.all({ share_id, keys: JSON.stringify(opKeys) });
		const held = new Map(rows.map(({ key, bytes }) => [key, bytes]));
		return (op: { type: OpType; key: string; payload: string }, position: number): number => {
			const payload = REMOVALS.has(op.type) ? null : op.payload;
			const bytes = payload === null ? 0 : Buffer.byteLength(payload);
			let gone = held.get(op.key) ?? 0;
			for (const row of this.#removedBy(share_id, op)) {
				gone += row.bytes;
				held.delete(row.key);
			}
			this.#upsert.run({
				share_id,
				key: op.key,
				type: op.type,
				payload,
				digest: payload === null ? null : digestOf(payload),
				bytes,
				position,
			});
			held.set(op.key, bytes);
			return bytes - gone;
		};
	}

	/** Digests of the live entities after a key, in key order. */
	digests(share_id: string, after: string): DigestPage {
		const rows = this.#digests.all({ share_id, after });
		const entities = rows.slice(0, DIGESTS_PER_PAGE);
		return { entities, next: rows.length > entities.length ? (entities.at(-1)?.key ?? null) : null };
	}

	/**
	 * The last state of each entity written at `from` or later, in position order: a page of at most
	 * WATCH_OPS_PER_DELIVERY ops and about LIMITS.batch_bytes, but one op at least; empty when there is none.
	 */
	page(share_id: string, from: number): WatchedOp[] {
		let bytes = 0;
		let to: number | undefined;
		for (const row of this.#sizes.all({ share_id, from })) {
			bytes += row.bytes;
			if (to !== undefined && bytes > LIMITS.batch_bytes) break;
			to = row.position;
		}
		return to === undefined ? [] : this.#span.all({ share_id, from, to });
	}

	/** Takes away what an op makes an end of beside its own entity, and tells what that was. */
	#removedBy(share_id: string, { type, key }: { type: OpType; key: string }): { key: string; bytes: number }[] {
		if (type === "session") return this.#undelete.all({ share_id, key: keys.sessionDeleted });
		if (type !== "message_removed") return [];
		const [from, to] = partsRange(messageIdOf(key) ?? "");
		return this.#removeParts.all({ share_id, from, to });
	}

	/** Keys of what OpenCode imports: the session, its messages by id, their parts by id, then the rest. */
	exportKeys(share_id: string): string[] {
		return EXPORTED.flatMap((type) => this.#keysOf.all({ share_id, type }).map((row) => row.key));
	}

	/** A live entity, or undefined. */
	get(share_id: string, key: string): Entity | undefined {
		const row = this.#payload.get({ share_id, key });
		return row && { type: row.type, payload: row.payload ?? "" };
	}

	/** Those of the first keys, one at least, until they have SOME_CHARS together; each in its place, or undefined. */
	some(share_id: string, keys: readonly string[]): (Entity | undefined)[] {
		const found: (Entity | undefined)[] = [];
		let chars = 0;
		for (const key of keys) {
			if (chars >= SOME_CHARS) break;
			const entity = this.get(share_id, key);
			chars += entity?.payload.length ?? 0;
			found.push(entity);
		}
		return found;
	}

	clear(share_id: string): void {
		this.#clear.run({ share_id });
	}
}
