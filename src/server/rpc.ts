import { Buffer } from "node:buffer";
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
import { credentialHash } from "./credential.ts";
import { parse } from "./parse.ts";
import { andThen, type Eventual, type Notices, type Rules } from "./rules.ts";
import type { Holder } from "./share.ts";
import { type Sink, Watcher } from "./watcher.ts";

/** What the calls of all connections work on. */
export interface RpcContext {
	readonly rules: Rules;
	readonly hub: Notices;
	readonly clock: Clock;
}

const ServerKey = z.string().min(1).max(1000);
const Cursor = DurableOp.shape.expected_cursor;
const Facts = z.boolean().optional();
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
			const parsed = parse(CreateShareRequest, request, "request");
			this.#connection.allowance.create(credentialHash(key));
			return this.#known(() => this.#context.rules.createShare(key, parsed));
		});
	}

	listShares(serverKey: string, after?: string, facts?: boolean): Promise<ListingPage> {
		return this.#connection.run(() => {
			const { rules, hub } = this.#context;
			const key = parse(ServerKey, serverKey, "server_key");
			const from = parse(ShareId.optional(), after, "after");
			const isTold = parse(Facts, facts, "facts") ?? false;
			const listed = this.#known(() => rules.listShares(key, from, isTold));
			if (!isTold) return listed;
			return andThen(listed, ({ shares, next }) => {
				const told = shares.map((share) => ({ ...share, changed_at: hub.changedAt?.(share.share_id) ?? null }));
				return { shares: told, next };
			});
		});
	}

	claimShare(serverKey: string, request: ClaimRequest): Promise<ShareGrant> {
		return this.#connection.run(() => {
			const key = parse(ServerKey, serverKey, "server_key");
			const parsed = parse(ClaimRequest, request, "request");
			const claimed = this.#known(() => this.#context.rules.claimShare(key, parsed));
			return andThen(claimed, (grant) => {
				this.#context.hub.ended(grant.share_id);
				return grant;
			});
		});
	}

	redeemShare(shareId: string, secret: string): Promise<ShareCapability> {
		return this.#connection.run(() => {
			const id = parse(ShareId, shareId, "share_id");
			const parsed = parse(Secret, secret, "secret");
			const redeemed = this.#known(() => this.#context.rules.redeemShare(id, parsed));
			return andThen(redeemed, (holder) => this.#capability(holder));
		});
	}

	viewShare(slug: string): Promise<ShareCapability> {
		return this.#connection.run(() => {
			const parsed = parse(Slug, slug, "slug");
			const viewed = this.#connection.allowance.show(() => this.#context.rules.viewShare(parsed));
			return andThen(viewed, (holder) => this.#capability(holder));
		});
	}

	/** What took a key or a secret; whoever got it has shown one. */
	#known<T>(decide: () => Eventual<T>): Eventual<T> {
		return andThen(this.#connection.allowance.show(decide), (value) => {
			this.#connection.known();
			return value;
		});
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
		return this.#connection.run(async () => {
			const stub: unknown = sink;
			if (!(stub instanceof RpcStub)) throw new ShareRefusal("invalid_request", "sink: expected an object to call");
			const from = parse(Cursor, fromCursor, "from_cursor");
			this.#connection.admitWatcher();
			const { rules, hub, clock } = this.#context;
			// The call's own stub goes when the call returns; the duplicate is the watcher's.
			const duplicate = stub.dup() as unknown as Sink;
			const watcher = new Watcher(duplicate, (cursor) => rules.changes(this.#holder, cursor), clock);
			this.#connection.add(watcher);
			await watcher.begin(from, () => hub.add(this.#holder.share_id, watcher));
			return new WatchSubscription(watcher);
		});
	}

	appendOps(batch: AppendBatch): Promise<OpAck> {
		return this.#write("appendOps", () => {
			const parsed = parse(AppendBatch, batch, "batch");
			const bytes = parsed.ops.reduce((sum, op) => sum + Buffer.byteLength(op.payload), 0);
			this.#connection.allowance.append(this.#holder.owner, bytes);
			const appended = this.#context.rules.appendOps(this.#holder, parsed);
			return andThen(appended, (ack) => {
				if (ack.applied.length > 0) this.#context.hub.changed(this.#holder.share_id);
				return ack;
			});
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
			const allowed = this.#context.rules.publishDelta(this.#holder, parsed);
			return andThen(allowed, () => this.#context.hub.delta(this.#holder.share_id, parsed));
		});
	}

	revokeCapability(request: RevokeRequest): Promise<ShareGrant> {
		return this.#write("revokeCapability", () => {
			const revoked = this.#context.rules.revokeCapability(this.#holder, parse(RevokeRequest, request, "request"));
			return andThen(revoked, (grant) => {
				this.#context.hub.ended(this.#holder.share_id);
				return grant;
			});
		});
	}

	deleteShare(): Promise<void> {
		return this.#write("deleteShare", () => {
			const removed = this.#context.rules.deleteShare(this.#holder);
			return andThen(removed, () => this.#context.hub.ended(this.#holder.share_id));
		});
	}

	/** A call that wants scope "append": who has not even looks in vain for what is wrong with its arguments. */
	#write<T>(method: string, call: () => Eventual<T>): Promise<T> {
		return this.#connection.run(() => andThen(this.#context.rules.admitWriter(this.#holder, method), call));
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
