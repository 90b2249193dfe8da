import { and, asc, eq, gt, isNotNull, sql } from "drizzle-orm";
import { alias, type BaseSQLiteDatabase } from "drizzle-orm/sqlite-core";
import { keys } from "../model/op.ts";
import { ID_CHARS_MAX, LISTING_TEXT_CHARS_MAX, LISTINGS_PER_PAGE } from "../protocol/limits.ts";
import type { ListingPage, ShareListing } from "../protocol/schema.ts";
import { entity, share } from "./share.sql.ts";

/** The shares of an owner, as a list of them is told. */
export class Listings {
	readonly #page;
	readonly #entities;
	readonly #url: (slug: string) => string;

	constructor(db: BaseSQLiteDatabase<"sync", unknown>, url: (slug: string) => string) {
		this.#url = url;
		const mark = alias(entity, "mark");
		// A payload is JSON; what a member is, its client decides.
		const member = (path: string) => sql<unknown>`json_extract(${entity.payload}, ${path})`;
		this.#page = db
			.select({
				share_id: share.share_id,
				session_id: share.session_id,
				slug: share.slug,
				cursor: share.cursor,
				created_at: share.created_at,
				deleted_at: share.deleted_at,
				mark: mark.key,
				parent_id: member("$.parentID"),
				title: member("$.title"),
				directory: member("$.directory"),
				updated_at: member("$.time.updated"),
			})
			.from(share)
			.leftJoin(entity, and(eq(entity.share_id, share.share_id), eq(entity.key, keys.session)))
			.leftJoin(
				mark,
				and(eq(mark.share_id, share.share_id), eq(mark.key, keys.sessionDeleted), isNotNull(mark.payload)),
			)
			.where(and(eq(share.owner, sql.placeholder("owner")), gt(share.share_id, sql.placeholder("after"))))
			.orderBy(asc(share.share_id))
			.limit(LISTINGS_PER_PAGE + 1)
			.prepare();
		// Of the index alone. Tombstones count too: there are few, and to tell them apart every row would be read.
		this.#entities = db
			.select({ count: sql<number>`count(*)` })
			.from(entity)
			.where(eq(entity.share_id, sql.placeholder("share_id")))
			.prepare();
	}

	/** A page of the owner's shares after a share's id, tombstones included; with their sizes, where `facts`. */
	page(owner: string, after: string, facts = false): ListingPage {
		const rows = this.#page.all({ owner, after });
		const shares = rows.slice(0, LISTINGS_PER_PAGE).map(
			({ deleted_at, mark, parent_id, title, directory, updated_at, ...row }): ShareListing => ({
				...row,
				url: this.#url(row.slug),
				deleted: deleted_at !== null,
				session_deleted: mark !== null,
				parent_id: textOf(parent_id, ID_CHARS_MAX),
				title: textOf(title, LISTING_TEXT_CHARS_MAX),
				directory: textOf(directory, LISTING_TEXT_CHARS_MAX),
				updated_at: Number.isSafeInteger(updated_at) && Number(updated_at) >= 0 ? Number(updated_at) : null,
				...(facts ? { entities: this.#entities.get({ share_id: row.share_id })?.count ?? 0 } : {}),
			}),
		);
		return { shares, next: rows.length > shares.length ? (shares.at(-1)?.share_id ?? null) : null };
	}
}

/** Null for what is no text, or an empty one. */
function textOf(value: unknown, charsMax: number): string | null {
	return typeof value === "string" && value !== "" ? value.slice(0, charsMax) : null;
}
