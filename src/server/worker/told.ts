import type { DurableObjectState } from "@cloudflare/workers-types";
import { systemClock } from "../../model/clock.ts";
import type { Delta, ShareListing } from "../../protocol/schema.ts";
import { type Env, nameOf, ownerDirectory } from "./env.ts";

/** How late a list may tell of a share's cursor, in ms. Bounds what an owner's directory is written. */
const LISTING_LAG_MS = 60_000;

/** How often watchers are told that there is more to read, when what they watch through does not answer, and the steps between, in ms. */
const ATTEMPTS_MAX = 6;
const RETRY_MS = 500;

/** In the object's own key-value storage: the token of who watched last; nothing while nobody does. */
const WATCHED = "watched";

/** What to tell a share's watchers: there is more to read, or this delta. */
export type Notice = { readonly delta: Delta } | "read";

/**
 * Whom a share tells what: its owner's directory, sooner or later, and those who watch, at once. No call of a client fails
 * because either is away.
 */
export class Told {
	readonly #ctx: DurableObjectState;
	readonly #env: Env;
	readonly #listing: () => { owner: string; listing: ShareListing } | undefined;
	/** Whether an alarm is set that tells the directory. Not kept: setting it once more puts it off by as long at most. */
	#isDue = false;
	#isTelling = false;
	#hasMore = false;

	constructor(ctx: DurableObjectState, env: Env, listing: () => { owner: string; listing: ShareListing } | undefined) {
		this.#ctx = ctx;
		this.#env = env;
		this.#listing = listing;
	}

	/** The share has new ops, of what a list tells or not. */
	grown(isListed: boolean): void {
		this.watchers();
		if (isListed) this.#ctx.waitUntil(this.owner());
		else this.#later();
	}

	/** There is something to read: new ops, or that the share is not theirs any more. */
	watchers(): void {
		this.#hasMore = true;
		if (!this.#isTelling) this.#ctx.waitUntil(this.#tellWatchers());
	}

	delta(delta: Delta): void {
		const token = this.#watcher;
		if (token !== undefined) this.#ctx.waitUntil(this.#notify(token, { delta }));
	}

	watched(token: string): void {
		this.#ctx.storage.kv.put(WATCHED, token);
	}

	/** Tells the directory, or, when that is away, sees to it that it is told later. Never rejects. */
	async owner(): Promise<void> {
		const at = Date.now();
		const told = this.#listing();
		if (told === undefined) return;
		try {
			await ownerDirectory(this.#env, told.owner).update({ ...told.listing, as_of: at });
		} catch {
			this.#later();
		}
	}

	async alarm(): Promise<void> {
		this.#isDue = false;
		await this.owner();
	}

	#later(): void {
		if (this.#isDue) return;
		this.#isDue = true;
		void this.#ctx.storage.setAlarm(Date.now() + LISTING_LAG_MS);
	}

	get #watcher(): string | undefined {
		return this.#ctx.storage.kv.get<string>(WATCHED);
	}

	/** One notice under way; what happens meanwhile makes one more. */
	async #tellWatchers(): Promise<void> {
		this.#isTelling = true;
		while (this.#hasMore) {
			this.#hasMore = false;
			const token = this.#watcher;
			for (let attempt = 1; token !== undefined && attempt <= ATTEMPTS_MAX; attempt++) {
				if (await this.#notify(token, "read")) break;
				await systemClock.sleep(attempt * RETRY_MS);
			}
		}
		this.#isTelling = false;
	}

	/** False when they were not told. Where nobody is left who came before this `token`, forgets it. */
	async #notify(token: string, notice: Notice): Promise<boolean> {
		try {
			const heard = await this.#env.WATCH.getByName(nameOf(this.#ctx)).tell(notice);
			if (heard === 0 && this.#watcher === token) this.#ctx.storage.kv.delete(WATCHED);
			return true;
		} catch {
			return false;
		}
	}
}
