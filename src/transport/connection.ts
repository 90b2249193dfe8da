import type { RpcStub } from "capnweb";
import {
	DIGEST_PAGE_BYTES,
	LISTING_PAGE_BYTES,
	MESSAGE_BYTES_MAX,
	MESSAGE_DEPTH_MAX,
	OP_ENVELOPE_BYTES,
} from "../protocol/limits.ts";
import type { ShareCapability, ShareRpc } from "../protocol/rpc.ts";
import type { AppendBatch, ClaimRequest, CreateShareRequest, ListingPage, ShareGrant } from "../protocol/schema.ts";
import {
	checkAck,
	checkClaim,
	checkDigests,
	checkGrant,
	checkListing,
	checkRedemption,
	checkRevocation,
	failureOf,
} from "./reply.ts";
import type { Connection, RedeemedShare, TransportKind } from "./transport.ts";

export type Api = RpcStub<ShareRpc>;

/** What a share's calls are made on: a stub, or the promise of one, which is pipelined. */
export type Capability = Pick<RpcStub<ShareCapability>, Exclude<keyof ShareCapability, "__RPC_TARGET_BRAND">>;

/** How one kind of transport carries calls. It knows deadlines and ends, not what the calls mean. */
export interface Wire {
	readonly kind: TransportKind;
	readonly closed: AbortSignal;
	/**
	 * Makes one call and returns its raw answer.
	 *
	 * @param bytes roughly what it sends and is answered.
	 */
	call(method: string, bytes: number, make: (api: Api) => PromiseLike<unknown>): Promise<unknown>;
	/** See Connection. */
	written(): Promise<void>;
	/** Redeems a share without waiting for it. */
	redeem(shareId: string, secret: string): HeldShare;
	close(): void;
}

/** A redeemed share as its wire keeps it. */
export interface HeldShare {
	capability(api: Api): Capability;
	/** It was redeemed: from now on it also serves the earlier handles of the same share and secret. */
	keep(): void;
	/** It was not. */
	release(): void;
}

/** What bounds a message from the server; a larger or deeper one ends the connection. */
export const SESSION_LIMITS = { maxMessageSize: MESSAGE_BYTES_MAX, maxDepth: MESSAGE_DEPTH_MAX };

/** The share server's calls over a wire, each answer checked. */
export function connectionOver(wire: Wire): Connection {
	return {
		kind: wire.kind,
		closed: wire.closed,
		createShare: (serverKey, request) => createShare(wire, serverKey, request),
		listShares: (serverKey, after) => listShares(wire, serverKey, after),
		claimShare: (serverKey, request) => claimShare(wire, serverKey, request),
		written: () => wire.written(),
		redeem: (shareId, secret) => redeem(wire, shareId, secret),
		close: () => wire.close(),
	};
}

async function createShare(wire: Wire, serverKey: string, request: CreateShareRequest): Promise<ShareGrant> {
	return call(
		wire,
		"createShare",
		0,
		(api) => api.createShare(serverKey, request),
		(answer) => checkGrant("createShare", answer),
	);
}

async function listShares(wire: Wire, serverKey: string, after: string | undefined): Promise<ListingPage> {
	return call(
		wire,
		"listShares",
		LISTING_PAGE_BYTES,
		// An argument that is undefined would arrive as one.
		(api) => (after === undefined ? api.listShares(serverKey) : api.listShares(serverKey, after)),
		(answer) => checkListing(answer, after),
	);
}

async function claimShare(wire: Wire, serverKey: string, request: ClaimRequest): Promise<ShareGrant> {
	return call(
		wire,
		"claimShare",
		0,
		(api) => api.claimShare(serverKey, request),
		(answer) => checkClaim(answer, request),
	);
}

async function redeem(wire: Wire, shareId: string, secret: string): Promise<RedeemedShare> {
	const held = wire.redeem(shareId, secret);
	const ask = <T>(
		method: string,
		bytes: number,
		make: (capability: Capability) => PromiseLike<unknown>,
		check: (answer: unknown) => T,
	): Promise<T> => call(wire, method, bytes, (api) => make(held.capability(api)), check);
	try {
		const redemption = await ask(
			"redemption",
			0,
			(capability) => capability.redemption(),
			(answer) => checkRedemption(answer, shareId),
		);
		held.keep();
		return {
			redemption,
			appendOps: (batch) =>
				ask(
					"appendOps",
					bytesOf(batch),
					(capability) => capability.appendOps(batch),
					(answer) => checkAck(answer, batch),
				),
			entityDigests: (after) =>
				ask(
					"entityDigests",
					DIGEST_PAGE_BYTES,
					// An argument that is undefined would arrive as one.
					(capability) => (after === undefined ? capability.entityDigests() : capability.entityDigests(after)),
					(answer) => checkDigests(answer, after),
				),
			revokeCapability: (request) =>
				ask(
					"revokeCapability",
					0,
					(capability) => capability.revokeCapability(request),
					(answer) => checkRevocation(answer, shareId, request),
				),
			deleteShare: () =>
				ask(
					"deleteShare",
					0,
					(capability) => capability.deleteShare(),
					() => undefined,
				),
			publishDelta: (delta) =>
				ask(
					"publishDelta",
					OP_ENVELOPE_BYTES + Buffer.byteLength(delta.delta),
					(capability) => capability.publishDelta(delta),
					() => undefined,
				),
		};
	} catch (error) {
		held.release();
		throw error;
	}
}

async function call<T>(
	wire: Wire,
	method: string,
	bytes: number,
	make: (api: Api) => PromiseLike<unknown>,
	check: (answer: unknown) => T,
): Promise<T> {
	const answer = await wire.call(method, bytes, make).catch((error) => {
		throw failureOf(method, error);
	});
	try {
		return check(answer);
	} finally {
		// Gives back whatever the server put into its answer besides data.
		if (isDisposable(answer)) answer[Symbol.dispose]();
	}
}

function isDisposable(answer: unknown): answer is Disposable {
	return ((typeof answer === "object" && answer !== null) || typeof answer === "function") && Symbol.dispose in answer;
}

function bytesOf(batch: AppendBatch): number {
	return batch.ops.reduce((sum, op) => sum + OP_ENVELOPE_BYTES + Buffer.byteLength(op.payload), 0);
}
