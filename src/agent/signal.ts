import type { Clock } from "../model/clock.ts";

/** A wake-up that is never lost: a notification before the wait ends the wait at once. */
export class Signal {
	#pending = false;
	#wake: (() => void) | undefined;

	notify(): void {
		this.#pending = true;
		this.#wake?.();
	}

	/** Resolves on a notification, when `signal` is aborted, or after `timeoutMs` of `clock`. One waiter at a time. */
	async wait(signal: AbortSignal, timeoutMs?: number, clock?: Clock): Promise<void> {
		if (!this.#pending && !signal.aborted) {
			const timer = new AbortController();
			const woken = new Promise<void>((resolve) => {
				this.#wake = resolve;
			});
			signal.addEventListener("abort", this.#onAbort, { once: true });
			const timeout = timeoutMs === undefined || clock === undefined ? [] : [clock.sleep(timeoutMs, timer.signal)];
			await Promise.race([woken, ...timeout]);
			timer.abort();
			signal.removeEventListener("abort", this.#onAbort);
			this.#wake = undefined;
		}
		this.#pending = false;
	}

	readonly #onAbort = (): void => this.#wake?.();
}
