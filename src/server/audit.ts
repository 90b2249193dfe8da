import { lte, sql } from "drizzle-orm";
import type { BaseSQLiteDatabase } from "drizzle-orm/sqlite-core";
import type { Clock } from "../model/clock.ts";
import type { Refusal } from "../protocol/codes.ts";
import { audit } from "./share.sql.ts";

/**
 * Rows kept. About 10 MB: months of a team's shares, and an end to what a stranger can make the server store by asking
 * for shares that do not exist.
 */
export const AUDIT_ROWS_MAX = 100_000;

export interface AuditEntry {
	readonly event: typeof audit.$inferSelect.event;
	readonly method: string;
	readonly share_id: string | null;
	readonly code?: Refusal;
}

/** The record of every grant, redemption, refusal, revocation and deletion, newest rows only. */
export class AuditLog {
	readonly #clock: Pick<Clock, "now">;
	readonly #insert;
	readonly #forget;

	constructor(db: BaseSQLiteDatabase<"sync", unknown>, clock: Pick<Clock, "now">) {
		this.#clock = clock;
		this.#insert = db
			.insert(audit)
			.values({
				at: sql.placeholder("at"),
				event: sql.placeholder("event"),
				method: sql.placeholder("method"),
				share_id: sql.placeholder("share_id"),
				code: sql.placeholder("code"),
			})
			.returning({ id: audit.id })
			.prepare();
		this.#forget = db
			.delete(audit)
			.where(lte(audit.id, sql.placeholder("id")))
			.prepare();
	}

	/** Joins the transaction that is open on the connection, if any: the decision and its record are one. */
	record(entry: AuditEntry): void {
		const row = { at: this.#clock.now(), ...entry, code: entry.code ?? null };
		const { id } = this.#insert.get(row);
		if (id > AUDIT_ROWS_MAX) this.#forget.run({ id: id - AUDIT_ROWS_MAX });
	}
}
