import type { Random } from "./clock.ts";

export interface Backoff {
	/** Upper bound of the first wait, in ms. */
	readonly baseMs: number;
	/** Upper bound of every wait, in ms. */
	readonly capMs: number;
}

/**
 * How long to wait before attempt `attempt + 1`, in ms: uniform in [0, min(cap, base * 2^(attempt - 1))).
 *
 * Full jitter, because a server that comes back meets all its clients at once ("Exponential Backoff And Jitter", AWS
 * Architecture Blog, 2015). `floorMs` is what the server asked for; it is never undercut, and not capped.
 *
 * @param attempt how many attempts have failed, from 1.
 */
export function fullJitter(attempt: number, backoff: Backoff, random: Random, floorMs = 0): number {
	const bound = Math.min(backoff.capMs, backoff.baseMs * 2 ** Math.min(attempt - 1, 30));
	return Math.max(floorMs, Math.floor(random() * bound));
}
