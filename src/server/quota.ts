import { eq, sql } from "drizzle-orm";
import type { BaseSQLiteDatabase } from "drizzle-orm/sqlite-core";
import { ShareRefusal } from "../protocol/refusal.ts";
import { owner as table } from "./share.sql.ts";

/** What may be held; undefined: as much as the disk takes. Bytes are those of payloads of live entities. */
export interface QuotaLimits {
	readonly shareBytes?: number | undefined;
	/** Of all shares of one owner. */
	readonly ownerBytes?: number | undefined;
	/** Shares of one owner that live. */
	readonly ownerShares?: number | undefined;
	/** When a client is to look again whether there is room, in ms. Default 60 s: a person makes it. */
	readonly retryAfterMs?: number | undefined;
}

const RETRY_AFTER_MS = 60_000;

/**
 * Keeps count of what owners have, inside the caller's transactions, and refuses what is beyond the limits.
 *
 * The counts are kept whatever the limits are, so that they are right from the moment on that there is one. What makes a
 * share smaller is never refused, or nobody could make room.
 */
export class Quotas {
	readonly #limits: QuotaLimits;
	readonly #of;
	readonly #add;

	constructor(db: BaseSQLiteDatabase<"sync", unknown>, limits: QuotaLimits = {}) {
		this.#limits = limits;
		this.#of = db
			.select({ bytes: table.bytes, shares: table.shares })
			.from(table)
			.where(eq(table.owner, sql.placeholder("owner")))
			.prepare();
		const [bytes, shares] = [sql.placeholder("bytes"), sql.placeholder("shares")];
		this.#add = db
			.insert(table)
			.values({ owner: sql.placeholder("owner"), bytes, shares })
			.onConflictDoUpdate({
				target: table.owner,
				set: { bytes: sql`${table.bytes} + excluded.bytes`, shares: sql`${table.shares} + excluded.shares` },
			})
			.prepare();
	}

	/** Counts a share that is made. Code over_quota. */
	open(owner: string): void {
		const { ownerShares = Number.POSITIVE_INFINITY } = this.#limits;
		const { shares = 0 } = this.#of.get({ owner }) ?? {};
		if (shares >= ownerShares)
			throw this.#full(`Its owner has ${shares} shares; this server lets one have ${ownerShares}.`);
		this.#add.run({ owner, bytes: 0, shares: 1 });
	}

	/** Counts what a share has more, or less, than before. Code over_quota, for more only. */
	resize(owner: string, before: number, after: number): void {
		if (after === before) return;
		const { shareBytes = Number.POSITIVE_INFINITY, ownerBytes = Number.POSITIVE_INFINITY } = this.#limits;
		const all = (this.#of.get({ owner })?.bytes ?? 0) + after - before;
		if (after > before && after > shareBytes)
			throw this.#full(`The share would hold ${after} bytes; this server lets one hold ${shareBytes}.`);
		if (after > before && all > ownerBytes)
			throw this.#full(`Its owner's shares would hold ${all} bytes; this server lets them hold ${ownerBytes}.`);
		this.#add.run({ owner, bytes: after - before, shares: 0 });
	}

	/** Counts a share that is deleted, which had so many bytes. */
	close(owner: string, bytes: number): void {
		this.#add.run({ owner, bytes: -bytes, shares: -1 });
	}

	#full(message: string): ShareRefusal {
		return new ShareRefusal("over_quota", message, { retry_after_ms: this.#limits.retryAfterMs ?? RETRY_AFTER_MS });
	}
}
