import { and, asc, eq, gte, isNotNull, isNull, lt, lte, ne, sql } from "drizzle-orm";
import type { BaseSQLiteDatabase } from "drizzle-orm/sqlite-core";
import { keys, type OpType } from "../model/op.ts";
import { LIMITS, WATCH_OPS_PER_DELIVERY } from "../protocol/limits.ts";
import { NOBODY } from "./opencode-shares.ts";
import type { ShareRow } from "./registry.ts";
import { entity, share } from "./share.sql.ts";
import type { Holder } from "./share.ts";

/** A message as far as a page must know it before it shows any: to put it in order, and to sum up. */
export interface OutlinedMessage {
	readonly key: string;
	/** Epoch ms, as OpenCode says it; whatever else it says instead. */
	readonly created: unknown;
	readonly role: unknown;
	readonly cost: unknown;
	/** JSON text. */
	readonly tokens: unknown;
}

export interface Outline {
	readonly session_id: string;
	/** Whoever watches from here misses nothing of what was read after this outline. */
	readonly cursor: number;
	readonly messages: readonly OutlinedMessage[];
	/** Keys of all parts, in their order. */
	readonly parts: readonly string[];
}

export interface LiveEntity {
	readonly type: OpType;
	readonly key: string;
	readonly payload: string;
}

export interface ChildShare {
	readonly session_id: string;
	readonly slug: string;
	readonly title: unknown;
}

/** Sub-sessions that are told of one share. */
const CHILDREN_MAX = 1000;

/** Runs a call in one transaction, with the share as it is, if its holder may still look at it. */
export type Decide = <T>(method: string, about: Holder, body: (row: ShareRow) => T) => T;

/** What a share's page is made of, besides its entities by key. Every call decides anew whether its holder may look. */
export class Viewing {
	readonly #decide: Decide;
	readonly #messages;
	readonly #parts;
	readonly #sizes;
	readonly #span;
	readonly #children;

	constructor(db: BaseSQLiteDatabase<"sync", unknown>, decide: Decide) {
		this.#decide = decide;
		const member = (path: string) => sql<unknown>`json_extract(${entity.payload}, ${path})`;
		const ofShare = eq(entity.share_id, sql.placeholder("share_id"));
		const from = gte(entity.key, sql.placeholder("from"));
		this.#messages = db
			.select({
				key: entity.key,
				created: member("$.time.created"),
				role: member("$.role"),
				cost: member("$.cost"),
				tokens: member("$.tokens"),
			})
			.from(entity)
			.where(and(ofShare, eq(entity.type, "message")))
			.prepare();
		this.#parts = db
			.select({ key: entity.key })
			.from(entity)
			.where(and(ofShare, eq(entity.type, "part")))
			.orderBy(asc(entity.key))
			.prepare();
		this.#sizes = db
			.select({ key: entity.key, bytes: entity.bytes })
			.from(entity)
			.where(and(ofShare, from, lt(entity.key, sql.placeholder("to")), isNotNull(entity.digest)))
			.orderBy(asc(entity.key))
			.limit(WATCH_OPS_PER_DELIVERY)
			.prepare();
		this.#span = db
			.select({ type: entity.type, key: entity.key, payload: sql<string>`${entity.payload}` })
			.from(entity)
			.where(and(ofShare, from, lte(entity.key, sql.placeholder("last")), isNotNull(entity.digest)))
			.orderBy(asc(entity.key))
			.prepare();
		this.#children = db
			.select({ session_id: share.session_id, slug: share.slug, title: member("$.title") })
			.from(share)
			.innerJoin(entity, and(eq(entity.share_id, share.share_id), eq(entity.key, keys.session)))
			.where(
				and(
					eq(share.owner, sql.placeholder("owner")),
					// Whose shares have no owner say nothing of each other: anybody may have made any of them.
					ne(share.owner, NOBODY),
					isNull(share.deleted_at),
					eq(member("$.parentID"), sql.placeholder("parent_id")),
				),
			)
			.orderBy(asc(entity.share_id))
			.limit(CHILDREN_MAX)
			.prepare();
	}

	outline(holder: Holder): Outline {
		return this.#decide("view", holder, ({ share_id, session_id, cursor }) => ({
			session_id,
			cursor,
			messages: this.#messages.all({ share_id }),
			parts: this.#parts.all({ share_id }).map((row) => row.key),
		}));
	}

	/**
	 * The live entities with keys from `from` to before `to`, in key order: at most WATCH_OPS_PER_DELIVERY and about
	 * LIMITS.batch_bytes, but one at least; empty when there is none.
	 */
	span(holder: Holder, from: string, to: string): LiveEntity[] {
		return this.#decide("view", holder, ({ share_id }) => {
			let bytes = 0;
			let last: string | undefined;
			for (const row of this.#sizes.all({ share_id, from, to })) {
				bytes += row.bytes;
				if (last !== undefined && bytes > LIMITS.batch_bytes) break;
				last = row.key;
			}
			return last === undefined ? [] : this.#span.all({ share_id, from, last });
		});
	}

	/**
	 * The shares of the session's sub-sessions that whoever views this share may view too: those of the same owner that
	 * themselves name this session as the one above them. A share cannot claim another's for its child.
	 */
	children(holder: Holder): ChildShare[] {
		return this.#decide("view", holder, ({ owner, session_id }) =>
			this.#children.all({ owner, parent_id: session_id }),
		);
	}
}
