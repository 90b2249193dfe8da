import { CLAIMED } from "../agent/failure.ts";
import { messageOf, OutboxError } from "../model/errors.ts";
import { type CreateKey, firstSecret } from "../model/identity.ts";
import { RESTORING } from "../outbox/adopt.ts";
import type { Outbox } from "../outbox/outbox.ts";
import { refusalOf } from "../protocol/refusal.ts";
import type { ShareGrant, ShareListing } from "../protocol/schema.ts";
import type { Connection } from "../transport/transport.ts";

/** Create keys of this machine that may have been replaced before one is found that was not. */
const GENERATIONS_MAX = 20;

export interface TakeoverOptions {
	readonly outbox: Outbox;
	readonly connection: Connection;
	/** The server as grants name it, and its key. */
	readonly server: { readonly id: string; readonly key: () => string };
	readonly createKey: CreateKey;
	readonly now: () => number;
}

/**
 * Makes this machine the holder of a share that another one made.
 *
 *     hold -> (the session is brought here) -> claim -> (brought forward once more) -> adopted
 *
 * A kill in between leaves the session held, which `status` tells; the same command goes on from there.
 */
export class Takeover {
	readonly #options: TakeoverOptions;
	readonly #share: ShareListing;
	#generation: number;

	/**
	 * @returns undefined when this machine holds the share already.
	 * @throws OutboxError diverged when the session has another share here.
	 */
	static of(share: ShareListing, options: TakeoverOptions): Takeover | undefined {
		const { outbox } = options;
		const known = outbox.share(share.session_id);
		const generation = outbox.generation(share.session_id);
		if (known === undefined) return new Takeover(share, options, generation);
		if (known.share_id !== share.share_id)
			throw new OutboxError(
				"diverged",
				`${share.session_id} has a share of its own here: ${known.url ?? "not made yet"}.`,
				{
					hint: "`opencode-outbox unshare` takes that one back; or restore without --continue.",
				},
			);
		const parked = outbox.session(share.session_id)?.parked_code;
		// What was held is claimed with what was stored then; what was lost to another machine needs a new create key.
		if (parked === RESTORING) return new Takeover(share, options, generation);
		if (parked === CLAIMED || parked === "denied") return new Takeover(share, options, generation + 1);
		return undefined;
	}

	private constructor(share: ShareListing, options: TakeoverOptions, generation: number) {
		this.#share = share;
		this.#options = options;
		this.#generation = generation;
	}

	/** Stores what the share will be held by, before anybody hears of it. */
	hold(): { create_key: string; secret: string } {
		const { outbox, server, createKey, now } = this.#options;
		const { session_id, share_id, slug, url } = this.#share;
		const create_key = createKey(server.id, session_id, this.#generation);
		const secret = firstSecret(create_key, share_id);
		const generation = this.#generation;
		outbox.adopt({ session_id, server_url: server.id, share_id, slug, url, create_key, secret, generation }, now());
		return { create_key, secret };
	}

	/** Has the server hand the share over; the machine that had it can do nothing to it from then on. */
	async claim(): Promise<ShareGrant> {
		const { connection, server } = this.#options;
		const { share_id } = this.#share;
		for (const last = this.#generation + GENERATIONS_MAX; ; this.#generation++) {
			const { create_key, secret } = this.hold();
			try {
				return await connection.claimShare(server.key(), { share_id, create_key, next_secret: secret });
			} catch (error) {
				// The owner's key was good for the list of shares, so it is this create key that is used up: another machine has
				// claimed the share since, or this one has made another share with it and forgot.
				if (refusalOf(error)?.code === "denied" && this.#generation < last) continue;
				throw claimError(this.#share, error);
			}
		}
	}

	/** From now on the session is synced to it. */
	adopted(grant: ShareGrant): void {
		this.#options.outbox.adopted(this.#share.session_id, grant);
	}
}

function claimError({ url }: ShareListing, error: unknown): OutboxError {
	const code = refusalOf(error)?.code;
	const message = `The server does not hand over ${url}: ${messageOf(error)}`;
	if (code === "denied") return new OutboxError("denied", message);
	if (code === "revoked" || code === "not_found") return new OutboxError("no_such_share", message);
	return new OutboxError("unreachable", message, { hint: "Run it again; it goes on from where it was." });
}
