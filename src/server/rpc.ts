import { RpcStub, RpcTarget } from "capnweb";
import * as z from "zod";
import type { Clock } from "../model/clock.ts";
import { ShareRefusal } from "../protocol/refusal.ts";
import type { ShareCapability, ShareRpc, Subscription, WatchSink } from "../protocol/rpc.ts";
import {
	AppendBatch,
	ClaimRequest,
	CreateShareRequest,
	Delta,
	type DigestPage,
	DurableOp,
	type ListingPage,
	type OpAck,
	RevokeRequest,
	Secret,
	type ShareGrant,
	ShareId,
	type ShareRedemption,
	Slug,
} from "../protocol/schema.ts";
import type { Connection } from "./connection.ts";
import type { Hub } from "./hub.ts";
import { parse } from "./parse.ts";
import type { Holder, ShareRules } from "./share.ts";
import { type Sink, Watcher } from "./watcher.ts";

/** What the calls of all connections work on. */
export interface RpcContext {
	readonly rules: ShareRules;
	readonly hub: Hub;
	readonly clock: Clock;
}

const ServerKey = z.string().min(1).max(1000);
const Cursor = DurableOp.shape.expected_cursor;
const After = DurableOp.shape.key.optional();

/** What a fresh connection starts with. Every argument is parsed before anything looks at it. */
export class Api extends RpcTarget implements ShareRpc {
	readonly #context: RpcContext;
	readonly #connection: Connection;

	constructor(context: RpcContext, connection: Connection) {
		super();
		this.#context = context;
		this.#connection = connection;
	}

	createShare(serverKey: string, request: CreateShareRequest): Promise<ShareGrant> {
		return this.#connection.run(() => {
			const key = parse(ServerKey, serverKey, "server_key");
			const grant = this.#context.rules.createShare(key, parse(CreateShareRequest, request, "request"));
			this.#connection.known();
			return grant;
		});
	}

	listShares(serverKey: string, after?: string): Promise<ListingPage> {
		return this.#connection.run(() => {
			const key = parse(ServerKey, serverKey, "server_key");
			const page = this.#context.rules.listShares(key, parse(ShareId.optional(), after, "after"));
			this.#connection.known();
			return page;
		});
	}

	claimShare(serverKey: string, request: ClaimRequest): Promise<ShareGrant> {
		return this.#connection.run(() => {
			const key = parse(ServerKey, serverKey, "server_key");
			const grant = this.#context.rules.claimShare(key, parse(ClaimRequest, request, "request"));
			this.#connection.known();
			this.#context.hub.ended(grant.share_id);
			return grant;
		});
	}

	redeemShare(shareId: string, secret: string): Promise<ShareCapability> {
		return this.#connection.run(() => {
			const id = parse(ShareId, shareId, "share_id");
			const holder = this.#context.rules.redeemShare(id, parse(Secret, secret, "secret"));
			this.#connection.known();
			return this.#capability(holder);
		});
	}

	viewShare(slug: string): Promise<ShareCapability> {
		return this.#connection.run(() => this.#capability(this.#context.rules.viewShare(parse(Slug, slug, "slug"))));
	}

	#capability(holder: Holder): ShareCapability {
		return new Capability(this.#context, this.#connection, holder);
	}
}

class Capability extends RpcTarget implements ShareCapability {
	readonly #context: RpcContext;
	readonly #connection: Connection;
	readonly #holder: Holder;

	constructor(context: RpcContext, connection: Connection, holder: Holder) {
		super();
		this.#context = context;
		this.#connection = connection;
		this.#holder = holder;
	}

	redemption(): Promise<ShareRedemption> {
		return this.#connection.run(() => this.#context.rules.redemption(this.#holder));
	}

	watch(sink: WatchSink, fromCursor: number): Promise<Subscription> {
		return this.#connection.run(() => {
			const stub: unknown = sink;
			if (!(stub instanceof RpcStub)) throw new ShareRefusal("invalid_request", "sink: expected an object to call");
			const from = parse(Cursor, fromCursor, "from_cursor");
			this.#connection.admitWatcher();
			const { rules, hub, clock } = this.#context;
			const read = (cursor: number) => rules.changes(this.#holder, cursor);
			const first = read(from);
			// The call's own stub goes when the call returns; the duplicate is the watcher's.
			const watcher = new Watcher(stub.dup() as unknown as Sink, first, read, clock);
			hub.add(this.#holder.share_id, watcher);
			this.#connection.add(watcher);
			return new WatchSubscription(watcher);
		});
	}

	appendOps(batch: AppendBatch): Promise<OpAck> {
		return this.#write("appendOps", () => {
			const ack = this.#context.rules.appendOps(this.#holder, parse(AppendBatch, batch, "batch"));
			if (ack.applied.length > 0) this.#context.hub.changed(this.#holder.share_id);
			return ack;
		});
	}

	entityDigests(after?: string): Promise<DigestPage> {
		return this.#write("entityDigests", () =>
			this.#context.rules.entityDigests(this.#holder, parse(After, after, "after")),
		);
	}

	publishDelta(delta: Delta): Promise<void> {
		return this.#write("publishDelta", () => {
			const parsed = parse(Delta, delta, "delta");
			this.#context.rules.publishDelta(this.#holder);
			this.#context.hub.delta(this.#holder.share_id, parsed);
		});
	}

	revokeCapability(request: RevokeRequest): Promise<ShareGrant> {
		return this.#write("revokeCapability", () => {
			const grant = this.#context.rules.revokeCapability(this.#holder, parse(RevokeRequest, request, "request"));
			this.#context.hub.ended(this.#holder.share_id);
			return grant;
		});
	}

	deleteShare(): Promise<void> {
		return this.#write("deleteShare", () => {
			this.#context.rules.deleteShare(this.#holder);
			this.#context.hub.ended(this.#holder.share_id);
		});
	}

	/** A call that wants scope "append": who has not even looks in vain for what is wrong with its arguments. */
	#write<T>(method: string, call: () => T): Promise<T> {
		return this.#connection.run(() => {
			this.#context.rules.admitWriter(this.#holder, method);
			return call();
		});
	}
}

class WatchSubscription extends RpcTarget implements Subscription {
	readonly #watcher: Watcher;

	constructor(watcher: Watcher) {
		super();
		this.#watcher = watcher;
	}

	async cancel(): Promise<void> {
		this.#watcher.cancel();
		await this.#watcher.done;
	}

	/** The client let go of its subscription, or its connection has ended: capnweb then disposes what it exported. */
	[Symbol.dispose](): void {
		this.#watcher.cancel();
	}
}
