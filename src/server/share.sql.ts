import { sql } from "drizzle-orm";
import { index, integer, primaryKey, sqliteTable, text, uniqueIndex } from "drizzle-orm/sqlite-core";
import type { OpType } from "../model/op.ts";

/**
 * The server's replica of one session. Appears with the first `createShare` of a create key and never goes: a deleted
 * share stays as a tombstone, so that redeeming it answers `revoked` and not `not_found`.
 */
export const share = sqliteTable(
	"share",
	{
		share_id: text("share_id").primaryKey(),
		/** Hex sha256 of the server key that made it. */
		owner: text("owner").notNull(),
		session_id: text("session_id").notNull(),
		/** Hex sha256 of the client's create key: what makes `createShare` idempotent. */
		create_key_hash: text("create_key_hash").notNull(),
		/** Names the share in its public link; whoever has it may view. */
		slug: text("slug").notNull(),
		/** Hex sha256 of the current secret. Kept in a tombstone, to tell its holder from a guesser. */
		secret_hash: text("secret_hash").notNull(),
		/** The writer generation, from 1; every revocation adds one. */
		capability_epoch: integer("capability_epoch").notNull(),
		/** Ops applied, which is the position that the next one must take. */
		cursor: integer("cursor").notNull(),
		/** The batch that took position cursor - 1; null before the first op. */
		last_batch_id: text("last_batch_id"),
		/** The op that took it; null before the first op. */
		last_op_id: text("last_op_id"),
		/** The source position up to which the share covers its session; both null until a batch tells one. */
		source_seq: integer("source_seq"),
		source_event_id: text("source_event_id"),
		/** UTF-8 bytes of the payloads of its live entities: the sum of theirs, kept up by every append. */
		bytes: integer("bytes").notNull().default(0),
		/** Epoch ms. */
		created_at: integer("created_at").notNull(),
		/** When an op was last applied, or it was made, or up to a minute before (registry.ts); epoch ms. What retention goes by. */
		changed_at: integer("changed_at").notNull().default(0),
		/** Epoch ms; null while the share lives. */
		deleted_at: integer("deleted_at"),
		/** Set beside deleted_at where it was not deleted by its owner, but let go of by retention. */
		expired_at: integer("expired_at"),
	},
	(table) => [
		uniqueIndex("share_create_key_hash").on(table.create_key_hash),
		uniqueIndex("share_slug").on(table.slug),
		index("share_owner").on(table.owner, table.share_id),
		index("share_changed_at").on(table.changed_at).where(sql`${table.deleted_at} IS NULL`),
	],
);

/**
 * What an owner has, over all of its shares that live; what quotas go by. Appears with its first share and stays; kept up by
 * every append, creation and deletion (server/quota.ts).
 */
export const owner = sqliteTable("owner", {
	/** Hex sha256 of the server key; `share.owner`. */
	owner: text("owner").primaryKey(),
	bytes: integer("bytes").notNull(),
	shares: integer("shares").notNull(),
});

/**
 * A credential that is good for nothing any more. Appears when it is rotated away and never goes: who comes with an old
 * link is told `revoked`, who comes with what a claim took from it is told when that was; a guesser is told neither.
 */
export const retired = sqliteTable("retired", {
	/** Hex sha256 of the credential. */
	hash: text("hash").primaryKey(),
	/** What it was: a slug that was rotated away; the secret or the create key that a share had before it was claimed. */
	kind: text("kind", { enum: ["slug", "secret", "create_key"] })
		.notNull()
		.default("slug"),
	share_id: text("share_id").notNull(),
	/** Epoch ms. */
	retired_at: integer("retired_at").notNull(),
});

/**
 * The last state of one entity of a share. Appears with its first op and is overwritten by each later one. A removed one
 * stays as a tombstone, so that a watcher can learn of it from an old cursor; the parts of a removed message go, because
 * the message's tombstone says as much. All rows of a share go when it is deleted.
 */
export const entity = sqliteTable(
	"entity",
	{
		share_id: text("share_id").notNull(),
		/** See `keys` in model/op.ts. */
		key: text("key").notNull(),
		/** Type of the op that wrote it last. */
		type: text("type").$type<OpType>().notNull(),
		/** JSON text as the op brought it; null in a tombstone. */
		payload: text("payload"),
		/** digestOf the payload; null in a tombstone. */
		digest: text("digest"),
		/** UTF-8 bytes of the payload; 0 in a tombstone. What a watcher's page is cut by. */
		bytes: integer("bytes").notNull(),
		/** Position of the op that wrote it last. An op writes one row, so no two entities of a share have the same. */
		position: integer("position").notNull(),
	},
	(table) => [
		primaryKey({ columns: [table.share_id, table.key] }),
		uniqueIndex("entity_position").on(table.share_id, table.position),
	],
);

/**
 * An op that was applied. Of each share the last LEDGER_OPS stay, and up to a quarter more; why that is enough stands in
 * ledger.ts.
 *
 * WITHOUT ROWID, which drizzle cannot say (migration 0005): a row that is one entry of one tree.
 */
export const ledger = sqliteTable(
	"ledger",
	{
		share_id: text("share_id").notNull(),
		op_id: text("op_id").notNull(),
		/** The one that it took. */
		position: integer("position").notNull(),
	},
	(table) => [primaryKey({ columns: [table.share_id, table.op_id] })],
);

/**
 * A decision about authority, or several equal ones that anybody can cause. The last of each kind stay (server/audit.ts).
 * Bears no secret, key or slug, not even hashed.
 */
export const audit = sqliteTable(
	"audit",
	{
		id: integer("id").primaryKey({ autoIncrement: true }),
		/** Epoch ms. */
		at: integer("at").notNull(),
		event: text("event", {
			enum: ["granted", "redeemed", "refused", "revoked", "deleted", "claimed", "listed"],
		}).notNull(),
		/** The call that asked for it. */
		method: text("method").notNull(),
		/** Null when the call named no share that exists. */
		share_id: text("share_id"),
		/** The refusal's code; null for what was allowed. */
		code: text("code"),
		/** How many equal decisions this row stands for: those within a minute from `at`. */
		times: integer("times").notNull().default(1),
	},
	(table) => [index("audit_share_id").on(table.share_id)],
);
