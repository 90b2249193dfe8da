import { DurableObject } from "cloudflare:workers";
import { randomBytes } from "node:crypto";
import type { DurableObjectState } from "@cloudflare/workers-types";
import type { BaseSQLiteDatabase } from "drizzle-orm/sqlite-core";
import { systemClock } from "../../model/clock.ts";
import { keys } from "../../model/op.ts";
import { ShareRefusal } from "../../protocol/refusal.ts";
import type {
	AppendBatch,
	ClaimRequest,
	CreateShareRequest,
	Delta,
	DigestPage,
	OpAck,
	RevokeRequest,
	ShareGrant,
	ShareRedemption,
} from "../../protocol/schema.ts";
import { credentialHash } from "../credential.ts";
import type { Entity } from "../entity.ts";
import { Listings } from "../listings.ts";
import type { SyncItem } from "../opencode-item.ts";
import { NOBODY, type SyncAck } from "../opencode-shares.ts";
import { notFound } from "../refusals.ts";
import { Registry } from "../registry.ts";
import { share } from "../share.sql.ts";
import { type Holder, ShareRules, type ShareRulesOptions } from "../share.ts";
import type { LiveEntity, Outline } from "../viewing.ts";
import type { Page } from "../watcher.ts";
import { type Env, isOpencodeShareOpen, quotasOf, serverKeysOf, WORKER_LIMITS } from "./env.ts";
import { shareIdOf, slugOf } from "./place.ts";
import { restoreTo } from "./restore.ts";
import { hasTables, openTables } from "./storage.ts";
import { Told } from "./told.ts";

/** What is at a create key's place: the share's grant; or the share that is said to have been claimed with that key. */
export type Made = { readonly grant: ShareGrant } | { readonly elsewhere: string };

/** Names in the object's own key-value storage. */
const CLAIMED_BY_KEY = "claimed";
const VOID_KEY = "void/";

interface Opened {
	readonly db: BaseSQLiteDatabase<"sync", unknown>;
	readonly rules: ShareRules;
	readonly registry: Registry;
	readonly listings: Listings;
}

/**
 * One share: its rules, and its rows. Every method takes and gives plain data and holds nothing of its caller, so that the
 * object is evicted as soon as nobody calls, whatever sockets are open elsewhere.
 *
 *     asked for, never made: no table, nothing stored --createShare--> made --> ... as on every host
 *
 * The place of a create key is the object that the key would make (place.ts). A claim with a key that made no share leaves
 * word there where the share is, so that the key finds it again.
 */
export class ShareObject extends DurableObject<Env> {
	#opened: Opened | undefined;
	readonly #told: Told;

	constructor(ctx: DurableObjectState, env: Env) {
		super(ctx, env);
		this.#told = new Told(ctx, env, () => this.#listing());
		if (hasTables(ctx.storage)) this.#open();
	}

	/** @param isVoid the share elsewhere has said that it was not claimed with this key, and never will be. */
	async createShare(serverKey: string, request: CreateShareRequest, isVoid = false): Promise<Made> {
		const { kv } = this.ctx.storage;
		const elsewhere = kv.get<string>(CLAIMED_BY_KEY);
		if (!this.#opened && elsewhere !== undefined) {
			if (!isVoid) return { elsewhere };
			kv.delete(CLAIMED_BY_KEY);
		}
		const grant = this.#open().rules.createShare(serverKey, request);
		await this.#told.owner();
		return { grant };
	}

	/** The grant of a share that was claimed with this create key; undefined when it was not, and then it never will be. */
	claimedWith(serverKey: string, request: CreateShareRequest): ShareGrant | undefined {
		if (!this.#isHeld(request.create_key)) return undefined;
		return this.#made().rules.createShare(serverKey, request);
	}

	/** True when this share has the create key, or had it; otherwise it never will. */
	hasKey(createKey: string): boolean {
		return this.#isHeld(createKey);
	}

	/**
	 * Leaves word that a share elsewhere is about to be claimed with this place's create key. Code denied when the key made
	 * a share here.
	 *
	 * @param isVoid what was said before does not hold.
	 * @returns the share that is said to have the key.
	 */
	reserve(shareId: string, isVoid: boolean): string {
		if (this.#opened) throw madeAnother();
		const { kv } = this.ctx.storage;
		const said = isVoid ? undefined : kv.get<string>(CLAIMED_BY_KEY);
		if (said === undefined) kv.put(CLAIMED_BY_KEY, shareId);
		return said ?? shareId;
	}

	async claimShare(serverKey: string, request: ClaimRequest): Promise<ShareGrant> {
		const { rules } = this.#made();
		if (this.ctx.storage.kv.get(VOID_KEY + credentialHash(request.create_key))) throw madeAnother();
		return this.#toldToAll(rules.claimShare(serverKey, request));
	}

	redeemShare(shareId: string, secret: string): Holder {
		return this.#made().rules.redeemShare(shareId, secret);
	}

	viewShare(slug: string): Holder {
		return this.#made().rules.viewShare(slug);
	}

	admitWriter(holder: Holder, method: string): void {
		this.#made().rules.admitWriter(holder, method);
	}

	redemption(holder: Holder): ShareRedemption {
		return this.#made().rules.redemption(holder);
	}

	appendOps(holder: Holder, batch: AppendBatch): OpAck {
		const ack = this.#made().rules.appendOps(holder, batch);
		if (ack.applied.length > 0) this.#told.grown(batch.ops.some(({ key }) => LISTED.has(key)));
		return ack;
	}

	entityDigests(holder: Holder, after?: string): DigestPage {
		return this.#made().rules.entityDigests(holder, after);
	}

	changes(holder: Holder, from: number): Page {
		return this.#made().rules.changes(holder, from);
	}

	publishDelta(holder: Holder, delta: Delta): void {
		this.#made().rules.publishDelta(holder);
		this.#told.delta(delta);
	}

	exportKeys(holder: Holder): string[] {
		return this.#made().rules.exportKeys(holder);
	}

	entities(holder: Holder, keys: readonly string[]): (Entity | undefined)[] {
		return this.#made().rules.entities(holder, keys);
	}

	outline(holder: Holder): Outline {
		return this.#made().rules.viewing.outline(holder);
	}

	span(holder: Holder, from: string, to: string): LiveEntity[] {
		return this.#made().rules.viewing.span(holder, from, to);
	}

	async revokeCapability(holder: Holder, request: RevokeRequest): Promise<ShareGrant> {
		return this.#toldToAll(this.#made().rules.revokeCapability(holder, request));
	}

	async deleteShare(holder: Holder): Promise<void> {
		return this.#toldToAll(this.#made().rules.deleteShare(holder));
	}

	createForOpencode(sessionId: string, createKey: string): ShareGrant {
		return this.#open().rules.opencode.create(sessionId, createKey);
	}

	syncFromOpencode(slug: string, secret: string, items: readonly SyncItem[]): SyncAck {
		const ack = this.#made().rules.opencode.sync(slug, secret, items);
		if (ack.applied > 0) this.#told.grown(false);
		return ack;
	}

	async deleteForOpencode(slug: string, secret: string): Promise<string> {
		return this.#toldToAll(this.#made().rules.opencode.delete(slug, secret));
	}

	/** Somebody watches from now on; `token` is new each time. Code not_found. */
	watched(token: string): void {
		this.#made();
		this.#told.watched(token);
	}

	/** See restore.ts. Code not_found. */
	async restore(to: number | string): Promise<void> {
		this.#made();
		await restoreTo(this.ctx, to);
	}

	/** Bumps the epoch of a share that was restored, and has its watchers read anew. Code not_found. */
	async fence(shareId: string): Promise<number> {
		return this.#toldToAll(this.#made().rules.fence(shareId));
	}

	async alarm(): Promise<void> {
		await this.#told.alarm();
	}

	/** Said before the answer: who has it finds the share in the list as it is now. */
	async #toldToAll<T>(answer: T): Promise<T> {
		this.#told.watchers();
		await this.#told.owner();
		return answer;
	}

	#isHeld(createKey: string): boolean {
		const hash = credentialHash(createKey);
		const { registry } = this.#opened ?? {};
		if (registry?.byCreateKey(hash) || registry?.retiredOf("create_key", hash)) return true;
		if (this.#opened) this.ctx.storage.kv.put(VOID_KEY + hash, true);
		return false;
	}

	#listing() {
		const { name } = this.#opened?.db.select({ name: share.owner }).from(share).get() ?? {};
		if (name === undefined || name === NOBODY) return undefined;
		const [listing] = this.#opened?.listings.page(name, "").shares ?? [];
		return listing && { owner: name, listing };
	}

	/** Code not_found. An id that nobody was given stores nothing. */
	#made(): Opened {
		if (!this.#opened) throw notFound();
		return this.#opened;
	}

	#open(): Opened {
		this.#opened ??= opened(openTables(this.ctx.storage), this.env, this.bounds());
		return this.#opened;
	}

	/** What a share takes and remembers; a test that attacks the bounds lowers them. */
	protected bounds(): Pick<ShareRulesOptions, "limits" | "ledgerOps"> {
		return { limits: WORKER_LIMITS };
	}
}

/** Entities that a list of shares tells of. */
const LISTED: ReadonlySet<string> = new Set([keys.session, keys.sessionDeleted]);

function opened(
	db: BaseSQLiteDatabase<"sync", unknown>,
	env: Env,
	bounds: Pick<ShareRulesOptions, "limits" | "ledgerOps">,
): Opened {
	// The Worker knows under which name it was called.
	const url = (slug: string) => `/share/${slug}`;
	const rules = new ShareRules(db, {
		clock: systemClock,
		random: randomBytes,
		serverKeys: serverKeysOf(env),
		url,
		...bounds,
		quotas: quotasOf(env),
		opencodeShare: isOpencodeShareOpen(env),
		names: { shareId: shareIdOf, slug: (shareId) => slugOf(shareId, randomBytes) },
	});
	return { db, rules, registry: new Registry(db), listings: new Listings(db, url) };
}

function madeAnother(): ShareRefusal {
	return new ShareRefusal("denied", "This create key made another share.");
}
