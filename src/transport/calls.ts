import type { Clock } from "../model/clock.ts";
import { SLOWEST_LINK_BYTES_PER_MS } from "../protocol/limits.ts";

/** The calls under way on one connection: each ends with its answer, at its deadline, or with the connection. */
export class Calls {
	readonly #clock: Clock;
	readonly #callMs: number;
	readonly #failures = new Set<(reason: Error) => void>();
	readonly #closed = new AbortController();
	#end: Error | undefined;
	#bytesUnderWay = 0;

	constructor(clock: Clock, callMs: number) {
		this.#clock = clock;
		this.#callMs = callMs;
	}

	/** Aborted one turn of the event loop after `end`, so that whoever waits for a call hears of its failure first. */
	get closed(): AbortSignal {
		return this.#closed.signal;
	}

	get ended(): boolean {
		return this.#end !== undefined;
	}

	/** How long what is under way may take on the slowest link, in ms. */
	get transferMs(): number {
		return this.#bytesUnderWay / SLOWEST_LINK_BYTES_PER_MS;
	}

	/**
	 * Runs one call to its end.
	 *
	 * @param bytes roughly what it sends and is answered; the deadline is longer by what these, and those sent before, may take.
	 * @param start makes the call; its signal is aborted as soon as nobody waits for the answer any more.
	 * @param onDeadline told when the deadline has passed, with what is to be said of it elsewhere.
	 */
	async run<T>(
		method: string,
		bytes: number,
		start: (signal: AbortSignal) => PromiseLike<T>,
		onDeadline?: (reason: Error) => void,
	): Promise<T> {
		if (this.#end) throw this.#end;
		const { promise: failure, reject } = Promise.withResolvers<never>();
		const settled = new AbortController();
		this.#failures.add(reject);
		this.#bytesUnderWay += bytes;
		const deadlineMs = Math.ceil(this.#callMs + this.transferMs);
		void this.#clock.sleep(deadlineMs, settled.signal).then(() => {
			if (settled.signal.aborted) return;
			reject(new Error(`no answer within ${deadlineMs} ms`));
			onDeadline?.(new Error(`no answer to ${method} within ${deadlineMs} ms`));
		});
		try {
			return await Promise.race([start(settled.signal), failure]);
		} finally {
			this.#bytesUnderWay -= bytes;
			this.#failures.delete(reject);
			settled.abort();
		}
	}

	/** Fails the calls under way and all later ones with `reason`. Only the first end counts; false for any other. */
	end(reason: Error): boolean {
		if (this.#end) return false;
		this.#end = reason;
		for (const fail of this.#failures) fail(reason);
		setImmediate(() => this.#closed.abort(reason));
		return true;
	}
}
