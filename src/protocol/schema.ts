import * as z from "zod";
import { OP_TYPES } from "../model/op.ts";
import { REJECTIONS } from "./codes.ts";
import {
	DELTA_CHARS_MAX,
	DIGESTS_PER_PAGE,
	ID_CHARS_MAX,
	KEY_CHARS_MAX,
	LIMITS,
	LISTING_TEXT_CHARS_MAX,
	LISTINGS_PER_PAGE,
} from "./limits.ts";

const id = z.string().min(1).max(ID_CHARS_MAX);
const key = z.string().min(1).max(KEY_CHARS_MAX);
const count = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);
/** A bearer secret: 256 random bits as base64url. The floor keeps guessable ones out. */
const secret = z.string().min(32).max(ID_CHARS_MAX);

/** 256 random bits as base64url, made by the client and used for one rotation only. Of this form, logs strike it out. */
const NextSecret = z.string().regex(/^[A-Za-z0-9_-]{43}$/);

export const Watermark = z.strictObject({ seq: count, event_id: id });

export const DurableOp = z.strictObject({
	op_id: id,
	batch_id: id,
	/** Place in the batch, from 0. */
	seq: count,
	/** The position this op takes: the share's cursor just before it. */
	expected_cursor: count,
	capability_epoch: count,
	/**
	 * An op that must have been applied before; or, for the first op of a batch, the batch that must have taken the position
	 * before it. Named only while it was unacknowledged.
	 */
	depends_on: id.optional(),
	type: z.enum(OP_TYPES),
	key,
	/** JSON text. Its size and form are judged op by op, so that one bad op refuses no batch. */
	payload: z.string(),
});
export type DurableOp = z.infer<typeof DurableOp>;

export const AppendBatch = z.strictObject({
	batch_id: id,
	ops: z.array(DurableOp).min(1).max(LIMITS.ops_per_batch),
	source_watermark: Watermark.nullable(),
});
export type AppendBatch = z.infer<typeof AppendBatch>;

export const OpAck = z.strictObject({
	cursor: count,
	applied: z.array(id).max(LIMITS.ops_per_batch),
	duplicates: z.array(id).max(LIMITS.ops_per_batch),
	rejected: z
		.array(z.strictObject({ op_id: id, code: z.enum(REJECTIONS), reason: z.string().max(1000) }))
		.max(LIMITS.ops_per_batch),
});
export type OpAck = z.infer<typeof OpAck>;

export const CreateShareRequest = z.strictObject({
	session_id: id,
	/** Made and stored by the client before the first call; 256 random bits as base64url. */
	create_key: secret,
});
export type CreateShareRequest = z.infer<typeof CreateShareRequest>;

export const Secret = secret;
export const ShareId = id;
export const Slug = z.string().regex(/^[a-zA-Z0-9_-]{16,64}$/);

export const ShareGrant = z.strictObject({
	share_id: id,
	slug: Slug,
	url: z.url().max(2000),
	secret,
	capability_epoch: count,
});
export type ShareGrant = z.infer<typeof ShareGrant>;

export const ShareRedemption = z.strictObject({
	share_id: id,
	session_id: id,
	scope: z.enum(["append", "view"]),
	cursor: count,
	capability_epoch: count,
	last_op_id: id.nullable(),
	/** The batch that took position cursor - 1, so that its client knows its whole prefix again. */
	last_batch_id: id.nullable().optional(),
	source_watermark: Watermark.nullable(),
	created_at: count,
	limits: z.strictObject({
		ops_per_batch: count.min(1),
		batch_bytes: count.min(1),
		op_bytes: count.min(1),
		payload_depth: count.min(1),
		sealed_ops: count.min(1),
	}),
});
export type ShareRedemption = z.infer<typeof ShareRedemption>;

export const DigestPage = z.strictObject({
	/** In key order. */
	entities: z.array(z.strictObject({ key, digest: z.string().length(64) })).max(DIGESTS_PER_PAGE),
	/** Pass as `after` for the next page; null on the last one. */
	next: key.nullable(),
	/** The share's cursor that they are of. */
	cursor: count.optional(),
});
export type DigestPage = z.infer<typeof DigestPage>;

/**
 * The next secret is the client's own choice, made and stored before the call, so that a lost reply loses nothing: of the
 * two secrets that the client holds then, the server takes exactly one. It takes `next_secret`: it was done. It takes the
 * old one: ask again, with the same request.
 */
export const RevokeRequest = z.discriminatedUnion("rotate_secret", [
	z.strictObject({ rotate_secret: z.literal(false), rotate_slug: z.boolean() }),
	z.strictObject({ rotate_secret: z.literal(true), next_secret: NextSecret, rotate_slug: z.boolean() }),
]);
export type RevokeRequest = z.infer<typeof RevokeRequest>;

/**
 * Takes a share over for another machine of the same owner. Both credentials are the client's own, made and stored before
 * the call: said again after a lost reply, the answer is the same.
 */
export const ClaimRequest = z.strictObject({ share_id: id, create_key: secret, next_secret: NextSecret });
export type ClaimRequest = z.infer<typeof ClaimRequest>;

/** One of an owner's shares, as a list of them tells it; bears no secret. */
export const ShareListing = z.strictObject({
	share_id: id,
	session_id: id,
	slug: Slug,
	url: z.url().max(2000),
	cursor: count,
	created_at: count,
	/** True for a share that was deleted: nothing of it is left. */
	deleted: z.boolean(),
	/** True when its session was deleted in OpenCode, and the share kept. */
	session_deleted: z.boolean(),
	/** What the session says of itself; null where it does not, or not so. */
	parent_id: id.nullable(),
	title: z.string().max(LISTING_TEXT_CHARS_MAX).nullable(),
	directory: z.string().max(LISTING_TEXT_CHARS_MAX).nullable(),
	/** Epoch ms. */
	updated_at: count.nullable(),
	/** With `facts` only, which clients of before this would not take: what the share has of messages, parts and the rest. */
	entities: count.optional(),
	/** With `facts` only: when the server heard of the session last, in epoch ms; null where it does not remember. */
	changed_at: count.nullable().optional(),
	/** When the share was so, in epoch ms; missing from servers that tell it as it is. */
	as_of: count.optional(),
});
export type ShareListing = z.infer<typeof ShareListing>;

export const ListingPage = z.strictObject({
	/** In the order of their ids. */
	shares: z.array(ShareListing).max(LISTINGS_PER_PAGE),
	/** Pass as `after` for the next page; null on the last one. */
	next: id.nullable(),
});
export type ListingPage = z.infer<typeof ListingPage>;

export const Delta = z.strictObject({
	key,
	field: z.string().min(1).max(100),
	/**
	 * UTF-16 length of the member before this delta: whoever watches tells by it what is missing, repeated or stored already
	 * (protocol/live.ts). Missing from clients that do not know; then nobody knows where the text belongs.
	 */
	offset: count.optional(),
	delta: z.string().max(DELTA_CHARS_MAX),
});
export type Delta = z.infer<typeof Delta>;

/** One op as a watcher sees it. `payload` is null for what was removed. */
export interface WatchedOp {
	readonly position: number;
	readonly type: DurableOp["type"];
	readonly key: string;
	readonly payload: string | null;
}
