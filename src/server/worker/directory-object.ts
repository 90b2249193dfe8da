import { DurableObject } from "cloudflare:workers";
import type { DurableObjectState } from "@cloudflare/workers-types";
import { systemClock } from "../../model/clock.ts";
import { LISTINGS_PER_PAGE } from "../../protocol/limits.ts";
import type { ListingPage, ShareListing } from "../../protocol/schema.ts";
import { type AuditEntry, AuditLog } from "../audit.ts";
import type { Env } from "./env.ts";
import { openTables } from "./storage.ts";

/**
 * What one owner's shares have told of themselves, each with when; and the audit log of what is about no share. Neither is
 * needed to find, open or write a share: where a directory is lost, each share tells it anew as soon as it changes.
 */
export class DirectoryObject extends DurableObject<Env> {
	readonly #audit: AuditLog;

	constructor(ctx: DurableObjectState, env: Env) {
		super(ctx, env);
		this.#audit = new AuditLog(openTables(ctx.storage), systemClock);
		ctx.storage.sql.exec(
			"CREATE TABLE IF NOT EXISTS listing (share_id TEXT PRIMARY KEY, as_of INTEGER NOT NULL, told TEXT NOT NULL)",
		);
	}

	/** What was told later counts, whichever comes first. */
	update(listing: ShareListing & { as_of: number }): void {
		this.ctx.storage.sql.exec(
			`INSERT INTO listing (share_id, as_of, told) VALUES (?, ?, ?) ON CONFLICT (share_id)
				DO UPDATE SET as_of = excluded.as_of, told = excluded.told WHERE excluded.as_of >= listing.as_of`,
			listing.share_id,
			listing.as_of,
			JSON.stringify(listing),
		);
	}

	/** The owner's shares, a page after a share's id. */
	page(after: string): ListingPage {
		this.#audit.record({ event: "listed", method: "listShares", share_id: null });
		const rows = this.ctx.storage.sql
			.exec<{ told: string }>(
				"SELECT told FROM listing WHERE share_id > ? ORDER BY share_id LIMIT ?",
				after,
				LISTINGS_PER_PAGE + 1,
			)
			.toArray();
		const shares = rows.slice(0, LISTINGS_PER_PAGE).map(({ told }) => JSON.parse(told) as ShareListing);
		return { shares, next: rows.length > shares.length ? (shares.at(-1)?.share_id ?? null) : null };
	}

	record(entry: AuditEntry): void {
		this.#audit.record(entry);
	}
}
