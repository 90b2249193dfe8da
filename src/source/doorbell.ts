/** What woke us up. It carries no truth: whoever hears it reads from a Source. */
export interface Ring {
	/** The session that something happened to; absent when it may be any, as after a reconnect. */
	readonly session_id?: string;
	/** Where OpenCode works on it; absent when the doorbell does not know. */
	readonly directory?: string;
	/** True when a turn or an undo has just ended: what OpenCode tells only by its API may have changed. */
	readonly settled: boolean;
}

/** A piece of text as OpenCode streams it: for those who watch, best effort, never stored as it is. */
export interface LiveText {
	readonly session_id: string;
	readonly message_id: string;
	readonly part_id: string;
	/** Member of the part that grows: "text". */
	readonly field: string;
	/** UTF-16 length of the member before `delta`; source/live-ear.ts tells it. */
	readonly offset: number;
	/** Id of the event that told the state of the part that the text continues, where events have ids. */
	readonly since?: string | undefined;
	/** What is to be put behind what the member holds. */
	readonly delta: string;
}

/** A wake-up that may be late, doubled or lost; nothing depends on it but how soon we look. */
export interface Doorbell {
	/** True while a ring would be heard. Where it is false, the poll alone finds what is new. */
	readonly connected: boolean;
	/** For a person: why it is not connected; undefined while it is, or before the first attempt. */
	readonly problem: string | undefined;
	/**
	 * The rings from now on until `signal` is aborted; then it ends. Never throws: a doorbell that is cut off connects
	 * again by itself, and rings once when it has, since what happened meanwhile was not heard.
	 *
	 * Rings that wait for a slow caller are merged, so memory is bounded by the number of sessions. One caller at a time.
	 *
	 * @param onLive called with each piece of text that streams, where the doorbell hears of it; must not throw.
	 */
	rings(signal: AbortSignal, onLive?: (live: LiveText) => void): AsyncIterable<Ring>;
}

/** Sessions of which rings wait, at most: beyond, they are merged into one that names none. */
const WAITING_MAX = 1000;

/** Rings that wait to be heard, merged by session. */
export class RingBox {
	readonly #waiting = new Map<string, Ring>();
	#closed = false;
	#wake: () => void = () => undefined;

	add(ring: Ring): void {
		const id = ring.session_id ?? "";
		const settled = ring.settled || this.#waiting.get(id)?.settled === true;
		if (this.#waiting.size < WAITING_MAX || this.#waiting.has(id)) this.#waiting.set(id, { ...ring, settled });
		else this.#waiting.set("", { settled: false });
		this.#wake();
	}

	/** Ends `heard` once it has given what waits. */
	close(): void {
		this.#closed = true;
		this.#wake();
	}

	async *heard(): AsyncGenerator<Ring, void, void> {
		for (;;) {
			for (const [id, ring] of this.#waiting) {
				this.#waiting.delete(id);
				yield ring;
			}
			if (this.#waiting.size > 0) continue;
			if (this.#closed) return;
			await new Promise<void>((resolve) => {
				this.#wake = resolve;
			});
		}
	}
}
