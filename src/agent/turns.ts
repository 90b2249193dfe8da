/** Sessions flushed at once over one connection. More gains nothing: the server has one writer. */
const PLACES = 8;
/** Those of them that sessions with much to send may have, so that there is room at once for one that has little. */
const PLACES_OF_LONG = 4;

/**
 * Whose turn it is to be flushed (G5). A turn is a few batches (agent/replay.ts); who is not done after it is *long*.
 *
 *     due -> waiting -> active -> done
 *               ^          | its turn is over
 *               +-- long <-+
 *
 * Who has little to send goes first and always finds places that no long session has; the long ones take turns on theirs
 * and are left one at least. Within each kind: first come, first served.
 */
export class Turns {
	readonly #active = new Set<string>();
	readonly #long = new Set<string>();
	#waiting: string[] = [];

	get isFull(): boolean {
		return this.#active.size >= PLACES;
	}

	/** True while a session waits that is not long: as soon as a place is free, it is known whose it is. */
	get isKnown(): boolean {
		return this.#waiting.some((sessionId) => !this.#long.has(sessionId));
	}

	/** These sessions are due, and no others. Those that wait already keep their order. */
	due(sessionIds: readonly string[]): void {
		const due = new Set(sessionIds);
		for (const sessionId of this.#long)
			if (!due.has(sessionId) && !this.#active.has(sessionId)) this.#long.delete(sessionId);
		for (const sessionId of this.#active) due.delete(sessionId);
		const before = this.#waiting.filter((sessionId) => due.delete(sessionId));
		this.#waiting = [...before, ...due];
	}

	/** Takes the next session that may be flushed now; undefined when none may. */
	take(): string | undefined {
		if (this.isFull) return undefined;
		const active = [...this.#active].filter((sessionId) => this.#long.has(sessionId)).length;
		const long = active < PLACES_OF_LONG ? this.#waiting.find((sessionId) => this.#long.has(sessionId)) : undefined;
		const small = this.#waiting.find((sessionId) => !this.#long.has(sessionId));
		const next = active === 0 ? (long ?? small) : (small ?? long);
		if (next === undefined) return undefined;
		this.#waiting.splice(this.#waiting.indexOf(next), 1);
		this.#active.add(next);
		return next;
	}

	/** Whether a session that has had its turn must end it: always the first time, which shows that it is long. */
	mustEnd(sessionId: string): boolean {
		return !this.#long.has(sessionId) || this.#waiting.length > 0;
	}

	/** A session taken before is not being flushed any more. */
	end(sessionId: string, isDone: boolean): void {
		this.#active.delete(sessionId);
		if (isDone) this.#long.delete(sessionId);
		else this.#long.add(sessionId);
	}

	/** The connection is gone: whatever waited is looked up anew. */
	clear(): void {
		this.#waiting = [];
	}
}
