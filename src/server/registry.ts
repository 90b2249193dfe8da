import { and, asc, eq, isNull, lt, type SQL, sql } from "drizzle-orm";
import type { BaseSQLiteDatabase } from "drizzle-orm/sqlite-core";
import type { ShareRedemption } from "../protocol/schema.ts";
import { retired, share } from "./share.sql.ts";

/** How much later than `changed_at` a share may have changed, in ms: written with every batch, its index would be, too. */
const CHANGED_MS = 60_000;

export type ShareRow = typeof share.$inferSelect;
export type RetiredRow = typeof retired.$inferSelect;

/** The source position up to which a share covers its session; null until a batch has told one. */
export function watermarkOf({ source_seq, source_event_id }: ShareRow): ShareRedemption["source_watermark"] {
	return source_seq === null || source_event_id === null ? null : { seq: source_seq, event_id: source_event_id };
}

/** The rows of the shares themselves, tombstones included, and the credentials that were rotated away. */
export class Registry {
	readonly #db: BaseSQLiteDatabase<"sync", unknown>;
	readonly #byId;
	readonly #bySlug;
	readonly #byCreateKey;
	readonly #retired;
	readonly #advance;
	readonly #changed;

	constructor(db: BaseSQLiteDatabase<"sync", unknown>) {
		this.#db = db;
		const by = (condition: SQL) => db.select().from(share).where(condition).prepare();
		this.#byId = by(eq(share.share_id, sql.placeholder("value")));
		this.#bySlug = by(eq(share.slug, sql.placeholder("value")));
		this.#byCreateKey = by(eq(share.create_key_hash, sql.placeholder("value")));
		this.#retired = db
			.select()
			.from(retired)
			.where(and(eq(retired.hash, sql.placeholder("hash")), eq(retired.kind, sql.placeholder("kind"))))
			.prepare();
		this.#advance = db
			.update(share)
			.set({
				cursor: sql`${sql.placeholder("cursor")}`,
				last_batch_id: sql`${sql.placeholder("last_batch_id")}`,
				last_op_id: sql`${sql.placeholder("last_op_id")}`,
				bytes: sql`${sql.placeholder("bytes")}`,
				source_seq: sql`${sql.placeholder("source_seq")}`,
				source_event_id: sql`${sql.placeholder("source_event_id")}`,
			})
			.where(eq(share.share_id, sql.placeholder("share_id")))
			.prepare();
		this.#changed = db
			.update(share)
			.set({ changed_at: sql`${sql.placeholder("now")}` })
			.where(eq(share.share_id, sql.placeholder("share_id")))
			.prepare();
	}

	byId(share_id: string): ShareRow | undefined {
		return this.#byId.get({ value: share_id });
	}

	bySlug(slug: string): ShareRow | undefined {
		return this.#bySlug.get({ value: slug });
	}

	byCreateKey(hash: string): ShareRow | undefined {
		return this.#byCreateKey.get({ value: hash });
	}

	/** A share that lives and has certainly not changed since `at`, the one that has not for longest. */
	unchangedSince(at: number): ShareRow | undefined {
		const isOld = and(isNull(share.deleted_at), lt(share.changed_at, at - CHANGED_MS));
		return this.#db.select().from(share).where(isOld).orderBy(asc(share.changed_at)).limit(1).get();
	}

	insert(row: ShareRow): void {
		this.#db.insert(share).values(row).run();
	}

	/** Writes where a share stands that has changed at `now`, and nothing else of its row. */
	advance(row: ShareRow, now: number): void {
		const { share_id, cursor, last_batch_id, last_op_id, bytes, source_seq, source_event_id } = row;
		this.#advance.run({ share_id, cursor, last_batch_id, last_op_id, bytes, source_seq, source_event_id });
		if (now - row.changed_at > CHANGED_MS) this.#changed.run({ share_id, now });
	}

	/** Writes a row whole. */
	replace(row: ShareRow): void {
		this.#db.update(share).set(row).where(eq(share.share_id, row.share_id)).run();
	}

	/** Remembers a credential that is good for nothing from now on. */
	retire(row: RetiredRow): void {
		this.#db.insert(retired).values(row).onConflictDoUpdate({ target: retired.hash, set: row }).run();
	}

	/** What became of a credential that was retired, or undefined. */
	retiredOf(kind: RetiredRow["kind"], hash: string): RetiredRow | undefined {
		return this.#retired.get({ hash, kind });
	}
}
