import { type Clock, systemClock } from "../model/clock.ts";
import type { Delta } from "../protocol/schema.ts";
import type { Watcher } from "./watcher.ts";

/** Shares of which it is remembered when they changed last. */
const REMEMBERED_MAX = 10_000;

/** Who watches what, in this process. Wakes them; what they then deliver they read from the share themselves. */
export class Hub {
	readonly #watchers = new Map<string, Set<Watcher>>();
	/** When each share changed last; the one that changed longest ago first. */
	readonly #changedAt = new Map<string, number>();
	readonly #clock: Pick<Clock, "now">;

	constructor(clock: Pick<Clock, "now"> = systemClock) {
		this.#clock = clock;
	}

	/** Until the watcher ends, whichever way. */
	add(shareId: string, watcher: Watcher): void {
		const ofShare = this.#watchers.get(shareId) ?? new Set();
		this.#watchers.set(shareId, ofShare.add(watcher));
		void watcher.done.then(() => {
			ofShare.delete(watcher);
			if (ofShare.size === 0 && this.#watchers.get(shareId) === ofShare) this.#watchers.delete(shareId);
		});
	}

	/** The share has new ops. */
	changed(shareId: string): void {
		this.#remember(shareId);
		for (const watcher of this.#watchers.get(shareId) ?? []) watcher.wake();
	}

	delta(shareId: string, delta: Delta): void {
		this.#remember(shareId);
		for (const watcher of this.#watchers.get(shareId) ?? []) watcher.delta(delta);
	}

	/** The share was revoked or deleted. */
	ended(shareId: string): void {
		for (const watcher of this.#watchers.get(shareId) ?? []) watcher.end();
	}

	/** When a share changed, or was written at, since this process began; epoch ms. */
	changedAt(shareId: string): number | undefined {
		return this.#changedAt.get(shareId);
	}

	#remember(shareId: string): void {
		this.#changedAt.delete(shareId);
		this.#changedAt.set(shareId, this.#clock.now());
		const [oldest] = this.#changedAt.keys();
		if (this.#changedAt.size > REMEMBERED_MAX && oldest !== undefined) this.#changedAt.delete(oldest);
	}

	/** How many watch, over all shares. */
	get size(): number {
		return [...this.#watchers.values()].reduce((sum, ofShare) => sum + ofShare.size, 0);
	}

	/** Ends all watching, without a word to the watchers: from now on none reads. */
	close(): void {
		for (const ofShare of this.#watchers.values()) for (const watcher of ofShare) watcher.cancel();
	}
}
