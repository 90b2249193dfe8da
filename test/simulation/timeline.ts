import type { Clock } from "../../src/model/clock.ts";

/** When a simulated world begins, in epoch ms: after the handmade OpenCode databases were made. */
const BEGINNING = Date.UTC(2026, 1, 1);

interface Event {
	readonly at: number;
	readonly order: number;
	run: (() => void) | undefined;
}

const turn = globalThis.setImmediate;
let waiting = 0;

/** From now on the timelines of this process see every setImmediate, so that they know when nothing more will happen. */
export function ownImmediates(): void {
	globalThis.setImmediate = ((run: (...values: unknown[]) => void, ...values: unknown[]) => {
		waiting++;
		return turn(() => {
			waiting--;
			run(...values);
		});
	}) as typeof globalThis.setImmediate;
}

/**
 * Virtual time: what is to happen and when. Between two events everything runs until nothing is left to run, so that one
 * seed is one history.
 */
export class Timeline {
	#now = 0;
	#order = 0;
	#busy = 0;
	readonly #heap: Event[] = [];

	/** Ms since the beginning. */
	get now(): number {
		return this.#now;
	}

	/** Events so far. */
	get events(): number {
		return this.#order;
	}

	/** Lets `run` happen in `ms`; the returned function takes it back. */
	in(ms: number, run: () => void): () => void {
		const event: Event = { at: this.#now + Math.max(0, ms), order: this.#order++, run };
		this.#push(event);
		return () => {
			event.run = undefined;
		};
	}

	/** Counts work that does not run on promises alone as under way until it has ended. */
	async during<T>(work: () => Promise<T>): Promise<T> {
		this.#busy++;
		try {
			return await work();
		} finally {
			this.#busy--;
		}
	}

	/** Lets `ms` pass, with all that happens meanwhile. */
	async advance(ms: number): Promise<void> {
		const end = this.#now + ms;
		await this.settle();
		for (let next = this.#heap[0]; next !== undefined && next.at <= end; next = this.#heap[0]) {
			this.#pop();
			this.#now = next.at;
			if (next.run === undefined) continue;
			next.run();
			await this.settle();
		}
		this.#now = end;
	}

	/** Resolves when nothing more happens without time passing. */
	async settle(): Promise<void> {
		do await new Promise<void>((resolve) => turn(resolve));
		while (waiting > 0 || this.#busy > 0);
	}

	#push(event: Event): void {
		const heap = this.#heap;
		let index = heap.push(event) - 1;
		while (index > 0) {
			const parent = (index - 1) >> 1;
			if (isBefore(heap[parent] as Event, event)) break;
			heap[index] = heap[parent] as Event;
			index = parent;
		}
		heap[index] = event;
	}

	#pop(): void {
		const heap = this.#heap;
		const last = heap.pop() as Event;
		if (heap.length === 0) return;
		let index = 0;
		for (;;) {
			let child = 2 * index + 1;
			if (child >= heap.length) break;
			if (child + 1 < heap.length && isBefore(heap[child + 1] as Event, heap[child] as Event)) child++;
			if (isBefore(last, heap[child] as Event)) break;
			heap[index] = heap[child] as Event;
			index = child;
		}
		heap[index] = last;
	}
}

/** One machine's clock on a timeline: it may be set wrong, and sleeps are right all the same. */
export class MachineClock implements Clock {
	readonly #timeline: Timeline;
	/** How far it is off, in ms. */
	offsetMs = 0;

	constructor(timeline: Timeline) {
		this.#timeline = timeline;
	}

	readonly now = (): number => BEGINNING + Math.floor(this.#timeline.now) + this.offsetMs;

	sleep(ms: number, signal?: AbortSignal): Promise<void> {
		if (signal?.aborted) return Promise.resolve();
		return new Promise((resolve) => {
			const wake = () => {
				signal?.removeEventListener("abort", wake);
				cancel();
				resolve();
			};
			const cancel = this.#timeline.in(ms, wake);
			signal?.addEventListener("abort", wake, { once: true });
		});
	}
}

function isBefore(a: Event, b: Event): boolean {
	return a.at === b.at ? a.order < b.order : a.at < b.at;
}
