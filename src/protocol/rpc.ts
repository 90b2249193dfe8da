import type { RpcTarget } from "capnweb";
import type {
	AppendBatch,
	ClaimRequest,
	CreateShareRequest,
	Delta,
	DigestPage,
	ListingPage,
	OpAck,
	RevokeRequest,
	ShareGrant,
	ShareRedemption,
	WatchedOp,
} from "./schema.ts";

/** What a fresh connection starts with. Every refusal is a ShareRefusal; see protocol/codes.ts. */
export interface ShareRpc extends RpcTarget {
	/** Makes a share, or returns the grant made before for the same `create_key`. Codes: denied, revoked. */
	createShare(serverKey: string, request: CreateShareRequest): Promise<ShareGrant>;
	/**
	 * The shares that this server key made or claimed, tombstones too, a page after a share's id. With `facts` each tells its
	 * size and when it was heard of last. Code: denied.
	 */
	listShares(serverKey: string, after?: string, facts?: boolean): Promise<ListingPage>;
	/**
	 * Takes a share over: sets its secret and its create key, and bumps the epoch. For its owner only. Asked for again with
	 * the same request it changes nothing. Who holds what it replaced is told `denied` with `details.claimed_at` from now
	 * on, and makes no new share with it. Codes: denied, not_found, revoked.
	 */
	claimShare(serverKey: string, request: ClaimRequest): Promise<ShareGrant>;
	/** Scope "append". Repeatable. Codes: not_found, denied (`details.claimed_at` after a claim), revoked. */
	redeemShare(shareId: string, secret: string): Promise<ShareCapability>;
	/** Scope "view": whoever has the link. Codes: not_found, revoked. */
	viewShare(slug: string): Promise<ShareCapability>;
}

/** Bound to (share, scope, capability_epoch); holding it is the permission. */
export interface ShareCapability extends RpcTarget {
	redemption(): Promise<ShareRedemption>;
	/** Delivers the share's changes from `fromCursor` on, then live. Each entity's last state once, in position order. */
	watch(sink: WatchSink, fromCursor: number): Promise<Subscription>;

	/** Scope "append" from here on; code denied otherwise, stale_epoch after a revocation. */
	appendOps(batch: AppendBatch): Promise<OpAck>;
	/** The share's live entities in key order, a page after `after`. */
	entityDigests(after?: string): Promise<DigestPage>;
	/** Text that streams, to those who watch: best effort, never stored. What they make of it: protocol/live.ts. */
	publishDelta(delta: Delta): Promise<void>;
	/**
	 * Bumps the epoch: every capability out there, this one too, can do nothing from now on. Repeatable, after redeeming
	 * anew: each call bumps the epoch again, and the same request ends with the same secret. Of two at once the second is
	 * told stale_epoch, and its secret opens nothing.
	 */
	revokeCapability(request: RevokeRequest): Promise<ShareGrant>;
	/** Deletes the content and leaves a tombstone: redeeming answers revoked from now on. */
	deleteShare(): Promise<void>;
}

export interface WatchSink extends RpcTarget {
	ops(ops: readonly WatchedOp[], cursor: number): Promise<void>;
	delta(delta: Delta): Promise<void>;
	/** The share was revoked or deleted; nothing more comes. */
	ended(code: "revoked"): Promise<void>;
}

export interface Subscription extends RpcTarget {
	cancel(): Promise<void>;
}
