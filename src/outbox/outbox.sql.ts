import { blob, index, integer, primaryKey, sqliteTable, text } from "drizzle-orm/sqlite-core";

/**
 * The outbox: what must survive on this machine until the share server has it.
 *
 * An op's state is where its id lies on its session's line of ids, so nothing per op is written when it moves on:
 *
 *     acked            sealed                unsealed
 *     -------------|------------------|-------------------->  op.id
 *              acked_id           sealed_id
 *
 * Ids grow with capture and are never reused. A batch is a range of ids; the n-th of its ops has position
 * first_position + n. All instants are epoch ms.
 */

/** A row per session that was captured or asked for; stays when OpenCode forgets the session, so that it can be unshared. */
export const session = sqliteTable("session", {
	session_id: text().primaryKey(),
	parent_id: text(),
	title: text().notNull().default(""),
	directory: text().notNull().default(""),
	/** When OpenCode last touched the session, as it was captured last; null when that is not known. */
	updated_at: integer(),
	/**
	 * What a person asked for: auto (follow the agent's mode), share, unshare (pending), never (unshared). `delete`: nobody
	 * asked, but OpenCode has deleted the session and its share goes with it (pending); auto again once that is done.
	 */
	wanted: text().notNull().default("auto"),
	/** Where OpenCode stands: present, deleted, vanished (no proof of deletion; a person must look). */
	source_state: text().notNull().default("present"),
	source_note: text(),
	/** Captured up to here; both null before the first capture and for sessions without a log. */
	watermark_seq: integer(),
	watermark_event_id: text(),
	/** Last op id that the server has, and last one that is sealed. */
	acked_id: integer().notNull().default(0),
	sealed_id: integer().notNull().default(0),
	/** A and S: the share's cursor after those ops. */
	acked_cursor: integer().notNull().default(0),
	sealed_cursor: integer().notNull().default(0),
	/** op_id at position acked_cursor - 1. */
	acked_op_id: text(),
	/** Ops after acked_id, and their payload bytes (outbox/pending.ts). */
	pending_ops: integer().notNull().default(0),
	pending_bytes: integer().notNull().default(0),
	/** When the first op after acked_id was captured, which is the oldest; null where there is none. */
	oldest_pending_at: integer(),
	last_acked_at: integer(),
	/** Attempts since the last success, counted before each is made, and when the next one is due. */
	attempts: integer().notNull().default(0),
	next_retry_at: integer().notNull().default(0),
	last_error: text(),
	/** Set: positions are not to be trusted, the share must be compared with OpenCode before anything is sent. */
	compare_reason: text(),
	/** 1: the share is to be redeemed once, since the server may have lost what it acknowledged. */
	unconfirmed: integer().notNull().default(0),
	/** Set: nothing is sent until a person acts; holds the refusal's code. */
	parked_code: text(),
	/** Set: what the person wants synced leaves it out now, and nothing of it is captured or sent; why, for a person. */
	excluded: text(),
	/** How many shares it had that a person took back; part of the next one's create key (model/identity.ts). */
	generation: integer().notNull().default(0),
});

/** A row per share that was asked for. `share_id` is null while the answer to createShare is unknown. */
export const share = sqliteTable("share", {
	session_id: text().primaryKey(),
	/** `embedded`, or the base url of the server it was asked from. */
	server_url: text().notNull(),
	/** Made here before the first call, so that asking again makes no second share. Secret. */
	create_key: text().notNull(),
	share_id: text(),
	slug: text(),
	url: text(),
	/** What redeems the share. Secret. */
	secret: text(),
	capability_epoch: integer(),
	created_at: integer().notNull(),
});

/** A row per op that is not acknowledged, and for a while after (see retention). */
export const op = sqliteTable(
	"op",
	{
		id: integer().primaryKey({ autoIncrement: true }),
		session_id: text().notNull(),
		op_id: text().notNull(),
		type: text().notNull(),
		key: text().notNull(),
		payload: text().notNull(),
		/** UTF-8 bytes of payload. */
		bytes: integer().notNull(),
		/** opHash of the row; checked whenever it is reserved. */
		hash: text().notNull(),
		/** `op.id` of the op that creates what this one belongs to, when that was unacked at capture. */
		depends_id: integer(),
		/** Watermark before this op's first source event: what is covered without it. Kept when it is superseded. */
		floor_seq: integer(),
		floor_event_id: text(),
		/** When the change was first captured; superseding keeps it, so that ages are honest. */
		captured_at: integer().notNull(),
	},
	(table) => [index("op_session_id_idx").on(table.session_id, table.id, table.bytes)],
);

/** A row per sealed, unacknowledged batch. Immutable but for its lease; goes when all its ops are acknowledged. */
export const batch = sqliteTable(
	"batch",
	{
		batch_id: text().primaryKey(),
		session_id: text().notNull(),
		first_id: integer().notNull(),
		last_id: integer().notNull(),
		first_position: integer().notNull(),
		ops: integer().notNull(),
		bytes: integer().notNull(),
		/** freeze's digest (frozen.ts); checked whenever the batch is reserved. */
		digest: text().notNull(),
		/** JSON array, an entry per op: what it depends on (an op_id, or for the first one a batch_id), or null. */
		depends: text().notNull(),
		/** What the share covers once this batch is applied. */
		watermark_seq: integer(),
		watermark_event_id: text(),
		sealed_at: integer().notNull(),
		/** How often it was sent, counted before sending. */
		attempts: integer().notNull().default(0),
		lease_owner: text(),
		lease_until: integer().notNull().default(0),
	},
	(table) => [index("batch_session_position_idx").on(table.session_id, table.first_position)],
);

/**
 * A row per live entity of a captured session: its state after the last captured op. Removed entities have none.
 *
 * WITHOUT ROWID, which drizzle cannot say (migration 0006): a row by its key alone, where a row and an index entry would
 * both bear the key, is a page less to write per capture and half the file that is left once everything is sent.
 */
export const entity = sqliteTable(
	"entity",
	{
		session_id: text().notNull(),
		key: text().notNull(),
		/** digestOf the last captured payload, in 32 bytes; none where it was never known. */
		digest: blob({ mode: "buffer" }).notNull(),
		/**
		 * Set: text that was streaming has been put over it since, and this is digestOf what the share holds for it then, in hex.
		 * Goes when OpenCode commits the entity anew.
		 */
		checkpoint: text(),
		/** `op.id` of the op that created it, and of the last one. */
		first_op: integer().notNull(),
		last_op: integer().notNull(),
	},
	(table) => [primaryKey({ columns: [table.session_id, table.key] })],
);

/**
 * A row per message or part that OpenCode has removed, so that a comparison can take it from a share that has it again,
 * however long ago its removal was acknowledged. Goes when the entity is captured anew.
 */
export const removed = sqliteTable(
	"removed",
	{
		session_id: text().notNull(),
		key: text().notNull(),
	},
	(table) => [primaryKey({ columns: [table.session_id, table.key] })],
);

/** Dead letters: a row per op that was set aside for a person, with its reason. */
export const dead = sqliteTable(
	"dead",
	{
		id: integer().primaryKey({ autoIncrement: true }),
		session_id: text().notNull(),
		op_id: text().notNull(),
		type: text().notNull(),
		key: text().notNull(),
		/** Null when the source's row could not be read as an entity. */
		payload: text(),
		bytes: integer().notNull(),
		code: text().notNull(),
		reason: text().notNull(),
		/** Set: set aside only because that dead letter was; both come back together. */
		parent_id: integer(),
		buried_at: integer().notNull(),
	},
	(table) => [index("dead_session_idx").on(table.session_id)],
);

/** One row: what the agent last said about itself, for `status`. Whether it is alive is told by its lock, not by this. */
export const agent = sqliteTable("agent", {
	id: integer().primaryKey(),
	pid: integer().notNull(),
	state: text().notNull(),
	since: integer().notNull(),
	opencode_db: text(),
	/** Source.identity of the database that was captured from. */
	opencode_identity: text(),
	opencode_url: text(),
	opencode_connected: integer({ mode: "boolean" }).notNull().default(false),
	server_url: text(),
	/** What grants of that server are filed under: share.server_url. */
	server_id: text(),
	/** Which sessions it shares by itself: auto (all) or manual (none). */
	share_mode: text(),
	/** What becomes of the share of a session that OpenCode deletes: keep or delete. */
	on_delete: text(),
	/** Which of them its rules leave out, as JSON (agent/selection.ts); null: none. Commands beside it go by them. */
	selection: text(),
	transport: text(),
	server_state: text().notNull().default("unknown"),
	last_error: text(),
	/** The session that was acknowledged last: a server that went back has lost at least that. */
	acked_session_id: text(),
	/** Connecting: failed attempts in a row, and when the next is due. Survives restarts. */
	connect_attempts: integer().notNull().default(0),
	next_connect_at: integer().notNull().default(0),
	/**
	 * The redaction rules that what is captured went through, as JSON (redaction/redactor.ts); null: none. Other ones mean:
	 * redact what is stored, compare every share. Commands beside it go by them.
	 */
	redaction: text(),
	/** Set: capture waits for room, or for OpenCode's database to be mended; holds the error's code. */
	capture_paused: text(),
	/** What became of the last outbox file that was damaged: where it was put, and what was saved of it. For a person. */
	damage: text(),
});
