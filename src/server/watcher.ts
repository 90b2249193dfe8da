import type { Clock } from "../model/clock.ts";
import { refusalOf } from "../protocol/refusal.ts";
import type { Delta, WatchedOp } from "../protocol/schema.ts";
import type { Eventual } from "./rules.ts";

/** The far end of a subscription: a duplicated stub of the client's WatchSink, ours to dispose. */
export interface Sink extends Disposable {
	ops(ops: readonly WatchedOp[], cursor: number): PromiseLike<void>;
	delta(delta: Delta): PromiseLike<void>;
	ended(code: "revoked"): PromiseLike<void>;
}

export interface Page {
	readonly ops: readonly WatchedOp[];
	readonly cursor: number;
}

/** A viewer that takes longer for one delivery is dropped, in ms: it holds a page of memory here meanwhile. */
const DELIVERY_MS = 60_000;

/** Deltas on their way to one viewer. Further ones are dropped: the part's text follows as an op anyway. */
const DELTAS_IN_FLIGHT = 32;

/**
 * Brings one share's changes to one viewer, from a cursor on: no gap, none twice.
 *
 *  -> reading --page--> delivering --answered--> reading
 *        |  ^                |
 *     empty |wake            | late, or broken
 *        v  |                v
 *       waiting           cancelled        cancel(), any time --> cancelled
 *                                          end(), any time    --> ended (the viewer is told)
 *
 * A slow viewer costs one page of memory and no append any time: while it is at one page, wake-ups fold into one, and
 * the next page is read from its cursor.
 */
export class Watcher {
	/** Resolves when the watcher has ended and let go of its sink; never rejects. */
	readonly done: Promise<void>;
	readonly #sink: Sink;
	readonly #read: (from: number) => Eventual<Page>;
	readonly #clock: Clock;
	readonly #stop = new AbortController();
	readonly #first = Promise.withResolvers<Page | undefined>();
	#ended = false;
	#woken = Promise.withResolvers<void>();
	#deltas = 0;

	constructor(sink: Sink, read: (from: number) => Eventual<Page>, clock: Clock) {
		this.#sink = sink;
		this.#read = read;
		this.#clock = clock;
		this.done = this.#run();
	}

	/**
	 * Reads the first page, at the viewer's cursor; to be called once. What either throws, and then the watcher is cancelled.
	 *
	 * @param subscribe done before anything is read, so that no change falls in between.
	 */
	async begin(from: number, subscribe: () => Eventual<void>): Promise<void> {
		try {
			await subscribe();
			this.#first.resolve(await this.#read(from));
		} catch (error) {
			this.cancel();
			throw error;
		}
	}

	/** There may be more to read. */
	wake(): void {
		this.#woken.resolve();
	}

	delta(delta: Delta): void {
		if (this.#stop.signal.aborted || this.#deltas >= DELTAS_IN_FLIGHT) return;
		this.#deltas++;
		const landed = () => void this.#deltas--;
		this.#sink.delta(delta).then(landed, landed);
	}

	/** Tells the viewer that the share is gone, and lets go of it. */
	end(): void {
		this.#ended = true;
		this.cancel();
	}

	cancel(): void {
		this.#stop.abort();
		this.#first.resolve(undefined);
		this.wake();
	}

	async #run(): Promise<void> {
		try {
			const first = await this.#first.promise;
			if (first) await this.#deliver(first);
		} catch (error) {
			if (refusalOf(error)) this.#ended = true;
		}
		this.#stop.abort();
		if (this.#ended) await this.#answered(() => this.#sink.ended("revoked")).catch(() => undefined);
		this.#sink[Symbol.dispose]();
	}

	async #deliver(first: Page): Promise<void> {
		let page = first;
		while (!this.#stop.signal.aborted) {
			if (page.ops.length > 0) await this.#answered(() => this.#sink.ops(page.ops, page.cursor), this.#stop.signal);
			else await this.#woken.promise;
			if (this.#stop.signal.aborted) return;
			this.#woken = Promise.withResolvers();
			page = await this.#read(page.cursor);
		}
	}

	/** Waits for the viewer's answer, until the deadline or `stop`; then it throws. */
	async #answered(call: () => PromiseLike<void>, stop?: AbortSignal): Promise<void> {
		const answer = new AbortController();
		const enough = AbortSignal.any(stop ? [answer.signal, stop] : [answer.signal]);
		const late = this.#clock.sleep(DELIVERY_MS, enough).then(() => {
			throw new Error("The viewer did not answer in time.");
		});
		await Promise.race([call(), late]).finally(() => answer.abort());
	}
}
