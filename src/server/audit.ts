import { and, desc, eq, inArray, lte, not, or, type SQL, sql } from "drizzle-orm";
import type { BaseSQLiteDatabase } from "drizzle-orm/sqlite-core";
import type { Clock } from "../model/clock.ts";
import type { Refusal } from "../protocol/codes.ts";
import { audit } from "./share.sql.ts";

/** Rows kept of what takes a key or a secret: grants, redemptions, revocations, deletions. About 10 MB. */
export const AUDIT_ROWS_MAX = 100_000;

/** Rows kept of what is gathered: refusals, looks at a public link, syncs of OpenCode's own share. They never push out any of the others. */
export const STRANGER_ROWS_MAX = 10_000;

/** Rows written between two looks for what is too old. */
export const ROWS_PER_LOOK = 256;

/**
 * What anybody can cause is told in one row per minute, method, share and code, with how often: so that a flood of refused
 * calls costs one commit a minute and not one each. The first is written at once.
 */
const GATHER_MS = 60_000;

/** Counts are written at most this often, in ms; a crash loses what was counted since. */
export const SETTLE_MS = 10_000;

export interface AuditEntry {
	readonly event: typeof audit.$inferSelect.event;
	readonly method: string;
	readonly share_id: string | null;
	readonly code?: Refusal;
}

/** A row that further equal decisions are counted in. */
interface Gathered {
	readonly id: number;
	readonly at: number;
	readonly entry: AuditEntry;
	times: number;
	written: number;
}

/** Calls that are allowed and so many that they are told together: looks at a link, and OpenCode's own share, once a second. */
const GATHERED = ["viewShare", "syncFromOpencode"];

const ofStrangers = or(eq(audit.event, "refused"), inArray(audit.method, GATHERED)) as SQL;

/** The record of every grant, redemption, refusal, revocation and deletion, newest rows only. */
export class AuditLog {
	readonly #db: BaseSQLiteDatabase<"sync", unknown>;
	readonly #clock: Pick<Clock, "now">;
	readonly #insert;
	readonly #count;
	readonly #gathered = new Map<string, Gathered>();
	#settledAt = 0;

	constructor(db: BaseSQLiteDatabase<"sync", unknown>, clock: Pick<Clock, "now">) {
		this.#db = db;
		this.#clock = clock;
		this.#insert = db
			.insert(audit)
			.values({
				at: sql.placeholder("at"),
				event: sql.placeholder("event"),
				method: sql.placeholder("method"),
				share_id: sql.placeholder("share_id"),
				code: sql.placeholder("code"),
				times: sql.placeholder("times"),
			})
			.returning({ id: audit.id })
			.prepare();
		this.#count = db
			.update(audit)
			.set({ times: sql`${sql.placeholder("times")}` })
			.where(and(eq(audit.id, sql.placeholder("id")), eq(audit.at, sql.placeholder("at"))))
			.returning({ id: audit.id })
			.prepare();
	}

	/** Joins the transaction that is open on the connection, if any: the decision and its record are one. */
	record(entry: AuditEntry): void {
		const at = this.#clock.now();
		if (entry.event !== "refused" && !GATHERED.includes(entry.method)) {
			this.#write(entry, at, 1);
			return;
		}
		const name = [entry.event, entry.method, entry.share_id, entry.code].join(" ");
		const gathered = this.#gathered.get(name);
		if (gathered && at >= gathered.at && at - gathered.at < GATHER_MS) {
			gathered.times++;
			if (Math.abs(at - this.#settledAt) >= SETTLE_MS) this.settle();
			return;
		}
		if (gathered) this.#writeCount(gathered);
		this.#gathered.set(name, { id: this.#write(entry, at, 1), at, entry, times: 1, written: 1 });
	}

	/** Writes what was counted since the last time. */
	settle(): void {
		const now = this.#clock.now();
		this.#settledAt = now;
		for (const [name, gathered] of this.#gathered) {
			this.#writeCount(gathered);
			if (Math.abs(now - gathered.at) >= GATHER_MS) this.#gathered.delete(name);
		}
	}

	#writeCount(gathered: Gathered): void {
		const { id, at, entry, times, written } = gathered;
		if (times === written) return;
		// The row is not there when the transaction of its first decision was rolled back.
		if (!this.#count.get({ id, at, times })) this.#write(entry, at, times);
		gathered.written = times;
	}

	#write(entry: AuditEntry, at: number, times: number): number {
		const { id } = this.#insert.get({ at, ...entry, code: entry.code ?? null, times });
		if (id % ROWS_PER_LOOK === 0) {
			this.#forget(ofStrangers, STRANGER_ROWS_MAX);
			this.#forget(not(ofStrangers), AUDIT_ROWS_MAX);
		}
		return id;
	}

	#forget(kind: SQL, rowsMax: number): void {
		const last = this.#db.select({ id: audit.id }).from(audit).where(kind);
		const tooOld = last.orderBy(desc(audit.id)).limit(1).offset(rowsMax);
		this.#db
			.delete(audit)
			.where(and(kind, lte(audit.id, sql`(${tooOld})`)))
			.run();
	}
}
