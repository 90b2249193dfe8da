import { randomBytes } from "node:crypto";
import type { Clock } from "../../model/clock.ts";
import { refusalOf, ShareRefusal } from "../../protocol/refusal.ts";
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
} from "../../protocol/schema.ts";
import { newCreateKey } from "../credential.ts";
import type { Entity } from "../entity.ts";
import { Owners } from "../owners.ts";
import { notFound } from "../refusals.ts";
import type { Rules } from "../rules.ts";
import type { Holder } from "../share.ts";
import type { Page } from "../watcher.ts";
import { type Env, isOpencodeShareOpen, ownerDirectory, type Stub, serverKeysOf, WORKER_LIMITS } from "./env.ts";
import { isShareId, shareIdIn, shareIdOf } from "./place.ts";
import type { ShareObject } from "./share-object.ts";
import type { Strangers } from "./strangers.ts";

/** How often a viewer's page is read when nobody decides, and the steps between, in ms: half a minute in all. */
const READS_MAX = 12;
const READ_AGAIN_MS = 500;

/**
 * The rules of all shares, asked for by value where each share's object has them; of one connection.
 *
 * Calls of one connection to one share that are under way together go over one stub, so that they arrive in the order in
 * which they were made. No stub is kept longer: one whose object was reset is broken for good.
 */
export class ObjectRules implements Rules {
	readonly limits = WORKER_LIMITS;
	/** Calls of objects so far, each a subrequest. */
	asked = 0;
	/** Calls of objects that are under way. */
	pending = 0;
	readonly #env: Env;
	readonly #url: (slug: string) => string;
	readonly #strangers: Strangers;
	readonly #owners: Owners;
	readonly #clock: Clock;
	readonly #isOneConnection: boolean;
	readonly #lost = Promise.withResolvers<void>();
	/** Of the shares of which a call is under way. */
	readonly #lines = new Map<string, { readonly stub: Stub<ShareObject>; calls: number }>();

	/** @param isOneConnection false where it serves many requests: a stub is good in the request that made it only. */
	constructor(env: Env, url: (slug: string) => string, strangers: Strangers, clock: Clock, isOneConnection: boolean) {
		this.#isOneConnection = isOneConnection;
		this.#clock = clock;
		this.#env = env;
		this.#url = url;
		this.#strangers = strangers;
		this.#owners = new Owners(serverKeysOf(env));
	}

	/** Resolves when one of the connection's viewers cannot be served any more. */
	get lost(): Promise<void> {
		return this.#lost.promise;
	}

	async createShare(serverKey: string, request: CreateShareRequest): Promise<ShareGrant> {
		await this.#owner("createShare", serverKey);
		const place = shareIdOf(request.create_key);
		let made = await this.#share(place, (share) => share.createShare(serverKey, request));
		if ("elsewhere" in made) {
			const claimed = await this.#share(made.elsewhere, (share) => share.claimedWith(serverKey, request));
			if (claimed) return this.#told(claimed);
			made = await this.#share(place, (share) => share.createShare(serverKey, request, true));
		}
		if ("grant" in made) return this.#told(made.grant);
		throw new Error("a create key leads from share to share");
	}

	async listShares(serverKey: string, after = ""): Promise<ListingPage> {
		const owner = await this.#owner("listShares", serverKey);
		const { shares, next } = await this.#counted(ownerDirectory(this.#env, owner).page(after));
		return { shares: shares.map((one) => ({ ...one, url: this.#url(one.slug) })), next };
	}

	async claimShare(serverKey: string, request: ClaimRequest): Promise<ShareGrant> {
		const { share_id, create_key } = request;
		await this.#owner("claimShare", serverKey);
		const place = shareIdOf(create_key);
		if (isShareId(share_id) && place !== share_id) {
			const said = await this.#share(place, (share) => share.reserve(share_id, false));
			if (said !== share_id) {
				if (await this.#share(said, (share) => share.hasKey(create_key)))
					throw new ShareRefusal("denied", "This create key made another share.");
				await this.#share(place, (share) => share.reserve(share_id, true));
			}
		}
		return this.#told(await this.#named("claimShare", share_id, (share) => share.claimShare(serverKey, request)));
	}

	async redeemShare(shareId: string, secret: string): Promise<Holder> {
		return this.#named("redeemShare", shareId, (share) => share.redeemShare(shareId, secret));
	}

	async viewShare(slug: string): Promise<Holder> {
		return this.#named("viewShare", shareIdIn(slug), (share) => share.viewShare(slug));
	}

	/** A holder of scope "append" is judged by each call anyway. */
	admitWriter(holder: Holder, method: string): void | Promise<void> {
		if (holder.scope !== "append") return this.#share(holder.share_id, (share) => share.admitWriter(holder, method));
	}

	async redemption(holder: Holder): Promise<ShareRedemption> {
		return this.#share(holder.share_id, (share) => share.redemption(holder));
	}

	async appendOps(holder: Holder, batch: AppendBatch): Promise<OpAck> {
		return this.#share(holder.share_id, (share) => share.appendOps(holder, batch));
	}

	async entityDigests(holder: Holder, after?: string): Promise<DigestPage> {
		return this.#share(holder.share_id, (share) => share.entityDigests(holder, after));
	}

	/** Again while nobody decides: a viewer asks for nothing, so it would not notice. In the end its session is `lost`. */
	async changes(holder: Holder, from: number): Promise<Page> {
		for (let attempt = 1; ; attempt++) {
			try {
				return await this.#share(holder.share_id, (share) => share.changes(holder, from));
			} catch (error) {
				if (refusalOf(error)) throw error;
				if (attempt === READS_MAX) {
					this.#lost.resolve();
					throw error;
				}
				await this.#clock.sleep(attempt * READ_AGAIN_MS);
			}
		}
	}

	async publishDelta(holder: Holder, delta: Delta): Promise<void> {
		return this.#share(holder.share_id, (share) => share.publishDelta(holder, delta));
	}

	async exportKeys(holder: Holder): Promise<string[]> {
		return this.#share(holder.share_id, (share) => share.exportKeys(holder));
	}

	async entities(holder: Holder, keys: readonly string[]): Promise<(Entity | undefined)[]> {
		return this.#share(holder.share_id, (share) => share.entities(holder, keys));
	}

	async revokeCapability(holder: Holder, request: RevokeRequest): Promise<ShareGrant> {
		return this.#told(await this.#share(holder.share_id, (share) => share.revokeCapability(holder, request)));
	}

	async deleteShare(holder: Holder): Promise<void> {
		return this.#share(holder.share_id, (share) => share.deleteShare(holder));
	}

	readonly viewing: Rules["viewing"] = {
		outline: (holder) => this.#share(holder.share_id, (share) => share.outline(holder)),
		span: (holder, from, to) => this.#share(holder.share_id, (share) => share.span(holder, from, to)),
		// Every share has an object of its own here, and none knows of the others.
		children: () => [],
	};

	readonly opencode: Rules["opencode"] = {
		create: async (sessionId) => {
			if (!isOpencodeShareOpen(this.#env)) {
				await this.#strangers.refused(this.#env, "createForOpencode", "denied");
				throw new ShareRefusal("denied", "This server makes no shares for OpenCode's own share.");
			}
			const key = newCreateKey(randomBytes);
			return this.#told(await this.#share(shareIdOf(key), (share) => share.createForOpencode(sessionId, key)));
		},
		sync: async (slug, secret, items) =>
			this.#named("syncFromOpencode", shareIdIn(slug), (share) => share.syncFromOpencode(slug, secret, items)),
		delete: async (slug, secret) =>
			this.#named("deleteForOpencode", shareIdIn(slug), (share) => share.deleteForOpencode(slug, secret)),
	};

	/** Whoever has no key of ours wakes no object. */
	async #owner(method: string, serverKey: string): Promise<string> {
		try {
			return this.#owners.of(serverKey);
		} catch (error) {
			await this.#strangers.refused(this.#env, method, "denied");
			throw error;
		}
	}

	/** Asks a share that a client has named; what can be no share's name is not_found, and that is on record. */
	async #named<T>(
		method: string,
		shareId: string | undefined,
		call: (share: Stub<ShareObject>) => Promise<T>,
	): Promise<T> {
		try {
			if (shareId === undefined || !isShareId(shareId)) throw notFound();
			return await this.#share(shareId, call);
		} catch (error) {
			if (refusalOf(error)?.code === "not_found") await this.#strangers.refused(this.#env, method, "not_found");
			throw error;
		}
	}

	async #share<T>(shareId: string, call: (share: Stub<ShareObject>) => Promise<T>): Promise<T> {
		const line = this.#lines.get(shareId) ?? { stub: this.#env.SHARE.getByName(shareId), calls: 0 };
		if (this.#isOneConnection) this.#lines.set(shareId, line);
		line.calls++;
		let isBroken = false;
		try {
			return await this.#counted(call(line.stub));
		} catch (error) {
			const refusal = refusalOf(error);
			if (refusal) throw refusal;
			isBroken = true;
			throw error;
		} finally {
			line.calls--;
			if ((isBroken || line.calls === 0) && this.#lines.get(shareId) === line) this.#lines.delete(shareId);
		}
	}

	async #counted<T>(call: Promise<T>): Promise<T> {
		this.asked++;
		this.pending++;
		try {
			return await call;
		} finally {
			this.pending--;
		}
	}

	#told(grant: ShareGrant): ShareGrant {
		return { ...grant, url: this.#url(grant.slug) };
	}
}
