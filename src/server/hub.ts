import type { Delta } from "../protocol/schema.ts";
import type { Watcher } from "./watcher.ts";

/** Who watches what, in this process. Wakes them; what they then deliver they read from the share themselves. */
export class Hub {
	readonly #watchers = new Map<string, Set<Watcher>>();

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
		for (const watcher of this.#watchers.get(shareId) ?? []) watcher.wake();
	}

	delta(shareId: string, delta: Delta): void {
		for (const watcher of this.#watchers.get(shareId) ?? []) watcher.delta(delta);
	}

	/** The share was revoked or deleted. */
	ended(shareId: string): void {
		for (const watcher of this.#watchers.get(shareId) ?? []) watcher.end();
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
