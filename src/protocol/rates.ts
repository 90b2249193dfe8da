/** So much, in units or bytes, in any window of so many ms. */
export interface Rate {
	readonly amount: number;
	/** At most RETRY_AFTER_MS_MAX, the longest wait that a client can be asked for. */
	readonly ms: number;
}

/** What costs, per client address and per server key; a member that is undefined is not limited. */
export interface Rates {
	/** Shares made, per key and per address: each is rows that stay for good. */
	readonly creates?: Rate | undefined;
	/** Keys, secrets and links shown, per address: each is a look-up, most are a commit. */
	readonly redemptions?: Rate | undefined;
	/** Of these, those that were wrong, per address. */
	readonly guesses?: Rate | undefined;
	/** Bytes of payloads appended, per key and per address. */
	readonly appendBytes?: Rate | undefined;
}

/** Beyond what an honest client of another machine does; see the README for the reasons. */
export const RATES = {
	creates: { amount: 6000, ms: 60_000 },
	redemptions: { amount: 12_000, ms: 60_000 },
	guesses: { amount: 600, ms: 60_000 },
	appendBytes: { amount: 64 * 1024 ** 2, ms: 1000 },
} as const satisfies Rates;
