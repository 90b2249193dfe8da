import type { Clock } from "../model/clock.ts";
import { MESSAGE_BYTES_MAX, SLOWEST_LINK_BYTES_PER_MS } from "../protocol/limits.ts";

/** Bytes of all bodies held at once: four of the largest. Beyond it the largest one goes, so that small ones get through. */
export const HELD_BYTES_MAX = 4 * MESSAGE_BYTES_MAX;

/** How long a body may take before its pace counts, in ms. */
const GRACE_MS = 20_000;
/** Between two looks at the pace, in ms. */
const LOOK_MS = 5000;

export type BodyRefusal = "too_large" | "busy" | "too_slow" | "cut";

interface Held {
	bytes: number;
	readonly letGo: (why: BodyRefusal) => void;
}

/** The bodies of the POSTs under way: how much they hold together, and how slowly they may come. */
export class Bodies {
	readonly #clock: Clock;
	readonly #held = new Set<Held>();
	#bytes = 0;

	constructor(clock: Clock) {
		this.#clock = clock;
	}

	/**
	 * Reads a body and hands it to `use`; it counts as held until `use` is done.
	 *
	 * @returns what `use` made of it, or why it was let go of: larger than MESSAGE_BYTES_MAX, slower than
	 * SLOWEST_LINK_BYTES_PER_MS, the largest when all together became too many, or cut off by its client.
	 */
	async read<T>(request: Request, use: (text: string) => Promise<T>): Promise<T | BodyRefusal> {
		if (Number(request.headers.get("content-length")) > MESSAGE_BYTES_MAX) return "too_large";
		const gone = Promise.withResolvers<BodyRefusal>();
		const held: Held = { bytes: 0, letGo: gone.resolve };
		const isRead = new AbortController();
		this.#held.add(held);
		void this.#watchPace(held, isRead.signal);
		try {
			const reading = this.#readAll(request, held, gone.promise).catch(() => held.letGo("cut"));
			const text = await reading.finally(() => isRead.abort());
			return await Promise.race(typeof text !== "string" ? [gone.promise] : [use(text), gone.promise]);
		} finally {
			this.#held.delete(held);
			this.#bytes -= held.bytes;
		}
	}

	/** The whole text, or undefined as soon as it was let go of. */
	async #readAll(request: Request, held: Held, gone: Promise<BodyRefusal>): Promise<string | undefined> {
		const reader = request.body?.getReader();
		if (reader === undefined) return "";
		const decoder = new TextDecoder();
		let text = "";
		for (;;) {
			const next = await Promise.race([reader.read(), gone]);
			if (typeof next === "string") {
				// The rest is not waited for.
				reader.cancel().catch(() => undefined);
				return undefined;
			}
			if (next.done) return text + decoder.decode();
			this.#count(held, next.value.byteLength);
			text += decoder.decode(next.value, { stream: true });
		}
	}

	#count(held: Held, bytes: number): void {
		held.bytes += bytes;
		this.#bytes += bytes;
		if (held.bytes > MESSAGE_BYTES_MAX) held.letGo("too_large");
		else if (this.#bytes > HELD_BYTES_MAX)
			[...this.#held].reduce((largest, other) => (other.bytes > largest.bytes ? other : largest)).letGo("busy");
	}

	async #watchPace(held: Held, isRead: AbortSignal): Promise<void> {
		const startedAt = this.#clock.now();
		await this.#clock.sleep(GRACE_MS, isRead);
		while (!isRead.aborted) {
			// Half the pace, so that none is taken for slower than it is.
			const due = ((this.#clock.now() - startedAt - GRACE_MS) * SLOWEST_LINK_BYTES_PER_MS) / 2;
			if (held.bytes < due) held.letGo("too_slow");
			await this.#clock.sleep(LOOK_MS, isRead);
		}
	}
}
