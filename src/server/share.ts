import type { BaseSQLiteDatabase } from "drizzle-orm/sqlite-core";
import { assert } from "../model/assert.ts";
import { LEDGER_OPS, LIMITS, type ShareLimits } from "../protocol/limits.ts";
import { ShareRefusal } from "../protocol/refusal.ts";
import type {
	AppendBatch,
	ClaimRequest,
	CreateShareRequest,
	DigestPage,
	ListingPage,
	OpAck,
	RevokeRequest,
	ShareGrant,
	ShareRedemption,
} from "../protocol/schema.ts";
import { refuseMisshapen } from "./append.ts";
import { AuditLog } from "./audit.ts";
import { Entities, type Entity } from "./entity.ts";
import { Grants, type GrantsOptions } from "./grants.ts";
import type { Holder } from "./holder.ts";
import { Ledger } from "./ledger.ts";
import { Listings } from "./listings.ts";
import { measured, type ServerMeter } from "./meter.ts";
import { OpencodeShares } from "./opencode-shares.ts";
import { Owners } from "./owners.ts";
import { type QuotaLimits, Quotas } from "./quota.ts";
import { noScope, notFound, refuseGone, stale } from "./refusals.ts";
import { Registry, type ShareRow, watermarkOf } from "./registry.ts";
import { type Decide, Viewing } from "./viewing.ts";
import type { Page } from "./watcher.ts";
import { Writes } from "./writes.ts";

export type { Holder } from "./holder.ts";

export interface ShareRulesOptions extends GrantsOptions {
	/** Who may make shares. */
	readonly serverKeys: readonly string[];
	/** Default LIMITS; never higher. */
	readonly limits?: ShareLimits;
	/** Op ids remembered per share, default LEDGER_OPS; at least twice `limits.sealed_ops`. */
	readonly ledgerOps?: number;
	readonly meter?: ServerMeter | undefined;
	/** Whether OpenCode's own share, which shows no server key, may make shares here; default false. */
	readonly opencodeShare?: boolean;
	/** What shares and their owners may hold; default: whatever they send. */
	readonly quotas?: QuotaLimits | undefined;
}

/**
 * The rules of the share server: every decision, and nothing of any host.
 *
 * Synchronous; each call is one transaction, durable when it returns. A call that is not allowed throws a ShareRefusal
 * and changes nothing but the audit log. Arguments have been parsed by the caller.
 */
export class ShareRules {
	readonly #db: BaseSQLiteDatabase<"sync", unknown>;
	readonly #options: ShareRulesOptions;
	readonly #owners: Owners;
	readonly #audit: AuditLog;
	readonly #entities: Entities;
	readonly #registry: Registry;
	readonly #grants: Grants;
	readonly #writes: Writes;
	readonly #listings: Listings;
	readonly limits: ShareLimits;
	/** What OpenCode's own share may do. */
	readonly opencode: OpencodeShares;
	/** What its link and its page show of a share. */
	readonly viewing: Viewing;

	constructor(db: BaseSQLiteDatabase<"sync", unknown>, options: ShareRulesOptions) {
		const ledgerOps = options.ledgerOps ?? LEDGER_OPS;
		this.limits = options.limits ?? LIMITS;
		assert(ledgerOps >= 2 * this.limits.sealed_ops, "the ledger remembers twice what a client holds sealed");
		this.#db = db;
		this.#options = options;
		this.#owners = new Owners(options.serverKeys);
		this.#audit = new AuditLog(db, options.clock);
		this.#entities = new Entities(db);
		const ledger = new Ledger(db, ledgerOps);
		this.#registry = new Registry(db);
		const quotas = new Quotas(db, options.quotas);
		this.#grants = new Grants(this.#registry, quotas, options);
		this.#writes = new Writes({
			limits: this.limits,
			clock: options.clock,
			registry: this.#registry,
			entities: this.#entities,
			ledger,
			quotas,
			audit: this.#audit,
		});
		this.#listings = new Listings(db, options.url);
		const look: Decide = (method, holder, body) => this.#decide(method, holder, () => body(this.#held(holder)));
		this.viewing = new Viewing(db, look);
		this.opencode = new OpencodeShares({
			isOpen: options.opencodeShare ?? false,
			limits: this.limits,
			random: options.random,
			registry: this.#registry,
			grants: this.#grants,
			entities: this.#entities,
			audit: this.#audit,
			decide: (method, shareId, body) => this.#decide(method, shareId, body),
			apply: (row, batch) => this.#writes.apply(row, batch),
			remove: (row, method) => this.#writes.remove(row, method),
		});
	}

	/** Makes a share, or tells the grant made before for the same create key. Codes: denied, revoked. */
	createShare(serverKey: string, request: CreateShareRequest): ShareGrant {
		return this.#decide("createShare", null, () => {
			const grant = this.#grants.create(this.#owners.of(serverKey), request);
			this.#audit.record({ event: "granted", method: "createShare", share_id: grant.share_id });
			return grant;
		});
	}

	/** Takes a share over for its owner (Grants.claim). Codes: denied, not_found, revoked. */
	claimShare(serverKey: string, request: ClaimRequest): ShareGrant {
		return this.#decide("claimShare", request.share_id, () => {
			const grant = this.#grants.claim(this.#owners.of(serverKey), request);
			this.#audit.record({ event: "claimed", method: "claimShare", share_id: grant.share_id });
			return grant;
		});
	}

	/** The owner's shares, a page after a share's id; with the size of each, where `facts`. Code: denied. */
	listShares(serverKey: string, after = "", facts = false): ListingPage {
		return this.#decide("listShares", null, () => {
			const page = this.#listings.page(this.#owners.of(serverKey), after, facts);
			this.#audit.record({ event: "listed", method: "listShares", share_id: null });
			return page;
		});
	}

	/** Repeatable. Codes: not_found, denied, revoked. */
	redeemShare(share_id: string, secret: string): Holder {
		return this.#decide("redeemShare", share_id, () => {
			const row = this.#grants.proven(this.#registry.byId(share_id), secret);
			refuseGone(row);
			this.#audit.record({ event: "redeemed", method: "redeemShare", share_id });
			return { share_id, scope: "append", capability_epoch: row.capability_epoch, owner: row.owner, secret };
		});
	}

	/** Codes: not_found, revoked. */
	viewShare(slug: string): Holder {
		return this.#decide("viewShare", null, () => {
			const row = this.#grants.linked(slug);
			refuseGone(row);
			this.#audit.record({ event: "redeemed", method: "viewShare", share_id: row.share_id });
			const { share_id, owner, capability_epoch } = row;
			return { share_id, scope: "view", capability_epoch, owner, secret: null };
		});
	}

	/** Throws, and records it, unless the holder's scope is "append": asked before its arguments are looked at. */
	admitWriter(holder: Holder, method: string): void {
		if (holder.scope !== "append") this.#decide(method, holder, () => this.#held(holder, "append"));
	}

	redemption(holder: Holder): ShareRedemption {
		return this.#decide("redemption", holder, () => {
			const row = this.#held(holder);
			const { share_id, session_id, cursor, capability_epoch, created_at } = row;
			return {
				share_id,
				session_id,
				scope: holder.scope,
				cursor,
				capability_epoch,
				last_op_id: row.last_op_id,
				last_batch_id: row.last_batch_id,
				source_watermark: watermarkOf(row),
				created_at,
				limits: this.limits,
			};
		});
	}

	/**
	 * Applies a batch in one transaction: all of its effect and its ack, or, when it is refused as a whole, nothing.
	 *
	 * The watermark moves when the batch brought something new and left nothing out: a replay cannot move it back.
	 */
	appendOps(holder: Holder, batch: AppendBatch): OpAck {
		const answer = this.#decide("appendOps", holder, () => {
			const row = this.#held(holder, "append");
			if (batch.ops.some((op) => op.capability_epoch !== row.capability_epoch)) throw stale(row.capability_epoch);
			refuseMisshapen(batch, this.limits);
			return this.#writes.apply(row, batch);
		});
		this.#options.meter?.appended(answer, batch.ops);
		return answer;
	}

	/** Digests of the live entities, in key order, a page after `after`. */
	entityDigests(holder: Holder, after = ""): DigestPage {
		return this.#decide("entityDigests", holder, () => {
			const { share_id, cursor } = this.#held(holder, "append");
			return { cursor, ...this.#entities.digests(share_id, after) };
		});
	}

	/** The page of changes at `from` (Entities.page), and the cursor to go on from. Code invalid_request beyond the cursor. */
	changes(holder: Holder, from: number): Page {
		return this.#decide("watch", holder, () => {
			const row = this.#held(holder);
			if (from > row.cursor)
				throw new ShareRefusal("invalid_request", `The share's cursor is ${row.cursor}; ${from} is beyond it.`);
			const ops = this.#entities.page(row.share_id, from);
			return { ops, cursor: (ops.at(-1)?.position ?? from - 1) + 1 };
		});
	}

	/** Throws unless the holder may publish deltas now; there is nothing to store. */
	publishDelta(holder: Holder): void {
		this.#decide("publishDelta", holder, () => this.#held(holder, "append"));
	}

	/** Keys of what OpenCode imports, in its order. */
	exportKeys(holder: Holder): string[] {
		return this.#decide("export", holder, () => this.#entities.exportKeys(this.#held(holder).share_id));
	}

	/** The live entities of some keys, each in its place, or undefined; fewer than asked for when they are large (Entities.some). */
	entities(holder: Holder, keys: readonly string[]): (Entity | undefined)[] {
		return this.#decide("export", holder, () => this.#entities.some(this.#held(holder).share_id, keys));
	}

	/** Bumps the epoch, so no capability so far does anything; rotates. */
	revokeCapability(holder: Holder, request: RevokeRequest): ShareGrant {
		return this.#decide("revokeCapability", holder, () => {
			const row = this.#held(holder, "append");
			const secret = request.rotate_secret ? request.next_secret : holder.secret;
			assert(secret !== null, "scope append was redeemed with a secret");
			const grant = this.#grants.revoke(row, request, secret);
			this.#audit.record({ event: "revoked", method: "revokeCapability", share_id: row.share_id });
			return grant;
		});
	}

	/** Bumps the epoch of a share whose content is not what it was: it was restored. Code not_found. */
	fence(share_id: string): number {
		return this.#decide("fence", share_id, () => {
			const row = this.#registry.byId(share_id);
			if (!row) throw notFound();
			this.#audit.record({ event: "revoked", method: "fence", share_id });
			return this.#grants.fence(row);
		});
	}

	/** Deletes the content and leaves a tombstone. */
	deleteShare(holder: Holder): void {
		this.#decide("deleteShare", holder, () => this.#writes.remove(this.#held(holder, "append"), "deleteShare"));
	}

	/** Lets go of the one share that has not changed for longest, if not since `at`. Returns its id; undefined: there is none. */
	expire(at: number): string | undefined {
		return this.#decide("expire", null, () => {
			const row = this.#registry.unchangedSince(at);
			if (row) this.#writes.remove(row, "expire", true);
			return row?.share_id;
		});
	}

	/** Writes down what the audit log has only counted so far; to be called now and then, and last of all. */
	settle(): void {
		this.#db.transaction(() => this.#audit.settle(), { behavior: "immediate" });
	}

	/** Runs one call in one transaction. A refusal rolls it back and is recorded by itself. */
	#decide<T>(method: string, about: Holder | string | null, body: () => T): T {
		try {
			const commit = (work: () => T) => this.#db.transaction(work, { behavior: "immediate" });
			return measured(this.#options.meter, method, body, commit);
		} catch (error) {
			if (error instanceof ShareRefusal) {
				const named = typeof about === "string" ? about : (about?.share_id ?? null);
				const share_id = error.code === "not_found" ? null : named;
				this.#audit.record({ event: "refused", method, share_id, code: error.code });
			}
			throw error;
		}
	}

	/** The share as it is now, if the holder may still act on it: the epoch's fence, inside the transaction. */
	#held(holder: Holder, scope: Holder["scope"] = "view"): ShareRow {
		if (scope === "append" && holder.scope !== "append") throw noScope();
		const row = this.#registry.byId(holder.share_id);
		if (!row) throw notFound();
		refuseGone(row);
		if (row.capability_epoch !== holder.capability_epoch) throw stale(row.capability_epoch);
		return row;
	}
}
