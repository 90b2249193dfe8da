import { setTimeout as delay } from "node:timers/promises";

/** Time as an argument, so that a test can own it. */
export interface Clock {
	/** Now, in epoch ms. */
	now(): number;
	/** Resolves after `ms`, or as soon as `signal` is aborted; never rejects. */
	sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

/** A number in [0, 1), as `Math.random`. */
export type Random = () => number;

/** setTimeout fires at once above this many ms (2^31 - 1). */
const TIMER_MS_MAX = 2_147_483_647;

export const systemClock: Clock = {
	now: () => Date.now(),
	async sleep(ms, signal) {
		const bounded = Math.min(Math.max(0, ms), TIMER_MS_MAX);
		await delay(bounded, undefined, signal ? { signal } : {}).catch(() => undefined);
	},
};
