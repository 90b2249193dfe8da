import type { Clock } from "../model/clock.ts";
import { firstSecret } from "../model/identity.ts";
import { ShareRefusal } from "../protocol/refusal.ts";
import type { ClaimRequest, CreateShareRequest, RevokeRequest, ShareGrant } from "../protocol/schema.ts";
import { credentialHash, newShareId, newSlug, type RandomBytes, sameHash } from "./credential.ts";
import type { Quotas } from "./quota.ts";
import { claimed, notFound, refuseGone, rotated } from "./refusals.ts";
import type { Registry, RetiredRow, ShareRow } from "./registry.ts";

export interface GrantsOptions {
	readonly clock: Pick<Clock, "now">;
	readonly random: RandomBytes;
	/** The public link of a slug. */
	readonly url: (slug: string) => string;
	/** Where a host finds a share by its name: what its id and its slugs are instead of random. */
	readonly names?: {
		readonly shareId: (createKey: string) => string;
		readonly slug: (shareId: string) => string;
	};
}

/**
 * What an owner is granted: a share that is made, or one that is taken over. Inside the caller's transaction.
 *
 *     made with a create key -> (secret rotated)* -> claimed with another one -> ...
 *
 * A create key that was replaced by a claim is remembered for good: its holder is told so, and makes no second share.
 */
export class Grants {
	readonly #registry: Registry;
	readonly #options: GrantsOptions;
	readonly #quotas: Quotas;

	constructor(registry: Registry, quotas: Quotas, options: GrantsOptions) {
		this.#registry = registry;
		this.#quotas = quotas;
		this.#options = options;
	}

	/** Makes a share, or tells the grant made before for the same create key. Codes: denied, revoked, over_quota. */
	create(owner: string, { session_id, create_key }: CreateShareRequest): ShareGrant {
		const create_key_hash = credentialHash(create_key);
		const before = this.#registry.byCreateKey(create_key_hash);
		if (before && (!sameHash(before.owner, owner) || before.session_id !== session_id))
			throw new ShareRefusal("denied", "This create key made a share of another session or owner.");
		if (!before) this.#refuseTaken(create_key_hash);
		const row = before ?? this.#insert(owner, session_id, create_key, create_key_hash);
		const secret = firstSecret(create_key, row.share_id);
		refuseGone(row);
		if (!sameHash(row.secret_hash, credentialHash(secret))) throw rotated();
		return this.grant(row, secret);
	}

	/** Sets a share's create key and secret and bumps its epoch; nothing, when it has them. Codes: denied, not_found, revoked. */
	claim(owner: string, { share_id, create_key, next_secret }: ClaimRequest): ShareGrant {
		const row = this.#registry.byId(share_id);
		if (!row) throw notFound();
		if (!sameHash(row.owner, owner)) throw new ShareRefusal("denied", "The share is another owner's.");
		refuseGone(row);
		const [create_key_hash, secret_hash] = [credentialHash(create_key), credentialHash(next_secret)];
		// Said once and then replaced by a later claim: a delayed copy must not take the share back.
		this.#refuseTaken(create_key_hash);
		const isKept = sameHash(row.create_key_hash, create_key_hash);
		if (isKept && sameHash(row.secret_hash, secret_hash)) return this.grant(row, next_secret);
		if (!isKept && this.#registry.byCreateKey(create_key_hash))
			throw new ShareRefusal("denied", "This create key made another share.");
		this.retire("secret", row.secret_hash, share_id);
		if (!isKept) this.retire("create_key", row.create_key_hash, share_id);
		const capability_epoch = this.#epochAfter(row);
		const next: ShareRow = { ...row, create_key_hash, secret_hash, capability_epoch };
		this.#registry.replace(next);
		return this.grant(next, next_secret);
	}

	/** Bumps the epoch, and rotates what is asked for; `secret` is the one it is redeemed with afterwards. */
	revoke(row: ShareRow, { rotate_slug }: Pick<RevokeRequest, "rotate_slug">, secret: string): ShareGrant {
		const next: ShareRow = {
			...row,
			capability_epoch: this.#epochAfter(row),
			secret_hash: credentialHash(secret),
			slug: rotate_slug ? this.#slug(row.share_id) : row.slug,
		};
		if (rotate_slug) this.retire("slug", credentialHash(row.slug), row.share_id);
		this.#registry.replace(next);
		return this.grant(next, secret);
	}

	/** Bumps the epoch and nothing else, so that no capability so far does anything. */
	fence(row: ShareRow): number {
		const capability_epoch = this.#epochAfter(row);
		this.#registry.replace({ ...row, capability_epoch });
		return capability_epoch;
	}

	/** A share whose secret is shown, deleted ones included. Codes: not_found, denied. */
	proven(row: ShareRow | undefined, secret: string): ShareRow {
		if (!row) throw notFound();
		const hash = credentialHash(secret);
		if (sameHash(row.secret_hash, hash)) return row;
		// A secret that was rotated away is no better than a wrong one: `revoked` is kept for what is gone for everybody.
		const taken = this.#registry.retiredOf("secret", hash);
		if (taken?.share_id === row.share_id) throw claimed(taken.retired_at);
		throw new ShareRefusal("denied", "The secret is not this share's, or not any more.");
	}

	/** The share of a link, deleted ones included. Codes: not_found, revoked. */
	linked(slug: string): ShareRow {
		const row = this.#registry.bySlug(slug);
		if (row) return row;
		throw this.#registry.retiredOf("slug", credentialHash(slug)) ? rotated() : notFound();
	}

	/** Remembers a credential of a share that is good for nothing from now on. */
	retire(kind: RetiredRow["kind"], hash: string, share_id: string): void {
		this.#registry.retire({ kind, hash, share_id, retired_at: this.#options.clock.now() });
	}

	grant({ share_id, slug, capability_epoch }: ShareRow, secret: string): ShareGrant {
		return { share_id, slug, url: this.#options.url(slug), secret, capability_epoch };
	}

	/** A time, so that a server that was restored gives none out twice. */
	#epochAfter(row: ShareRow): number {
		return Math.max(row.capability_epoch + 1, this.#options.clock.now());
	}

	#slug(share_id: string): string {
		return this.#options.names?.slug(share_id) ?? newSlug(this.#options.random);
	}

	#refuseTaken(createKeyHash: string): void {
		const taken = this.#registry.retiredOf("create_key", createKeyHash);
		if (taken) throw claimed(taken.retired_at);
	}

	#insert(owner: string, session_id: string, createKey: string, create_key_hash: string): ShareRow {
		const share_id = this.#options.names?.shareId(createKey) ?? newShareId(this.#options.random);
		const now = this.#options.clock.now();
		const row: ShareRow = {
			share_id,
			owner,
			session_id,
			create_key_hash,
			slug: this.#slug(share_id),
			secret_hash: credentialHash(firstSecret(createKey, share_id)),
			capability_epoch: 1,
			cursor: 0,
			last_batch_id: null,
			last_op_id: null,
			source_seq: null,
			source_event_id: null,
			bytes: 0,
			created_at: now,
			changed_at: now,
			deleted_at: null,
			expired_at: null,
		};
		this.#quotas.open(owner);
		this.#registry.insert(row);
		return row;
	}
}
