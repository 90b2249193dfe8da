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
} from "../protocol/schema.ts";

export type TransportKind = "websocket" | "http-batch";

/**
 * One way to a share server, as the flusher sees it.
 *
 * Every call ends: with an answer that was checked against its schema, with a ShareRefusal (the server decided, nothing
 * was applied), or with any other error, which leaves the outcome unknown. No call outlives its deadline.
 */
export interface Connection {
	readonly kind: TransportKind;
	/** Aborted when the connection is gone, with why as its reason; calls under way have failed by then. */
	readonly closed: AbortSignal;
	createShare(serverKey: string, request: CreateShareRequest): Promise<ShareGrant>;
	/** A page of the server key's shares, after a share's id. */
	listShares(serverKey: string, after?: string): Promise<ListingPage>;
	/** Takes a share over; asked for again with the same request, the answer is the same. */
	claimShare(serverKey: string, request: ClaimRequest): Promise<ShareGrant>;
	/** Settles once everything that was sent so far has been handed to the network, or the connection is gone; never rejects. */
	written(): Promise<void>;
	/** Redeems a share. The handle is good for this connection only. */
	redeem(shareId: string, secret: string): Promise<RedeemedShare>;
	/** Ends the connection; calls under way fail as unknown. Safe to repeat. */
	close(): void;
}

/** A share with append scope on one connection. */
export interface RedeemedShare {
	readonly redemption: ShareRedemption;
	appendOps(batch: AppendBatch): Promise<OpAck>;
	entityDigests(after?: string): Promise<DigestPage>;
	revokeCapability(request: RevokeRequest): Promise<ShareGrant>;
	deleteShare(): Promise<void>;
	/** Text that streams, to whoever watches: best effort. */
	publishDelta(delta: Delta): Promise<void>;
}

export interface Transport {
	/**
	 * Connects and proves that the server answers: WebSocket first, HTTP batch where an upgrade is not to be had.
	 *
	 * @throws OutboxError unreachable, with what was tried.
	 */
	connect(signal: AbortSignal): Promise<Connection>;
}
