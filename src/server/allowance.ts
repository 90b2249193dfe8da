import type { Clock } from "../model/clock.ts";
import { RETRY_AFTER_MS_MAX } from "../protocol/limits.ts";
import type { Rate, Rates } from "../protocol/rates.ts";
import { refusalOf, ShareRefusal } from "../protocol/refusal.ts";
import type { Eventual } from "./rules.ts";

/** Clients remembered per limit: some 2 MB each. A flood of addresses pushes out those whose window ends first. */
export const CLIENTS_MAX = 20_000;

/**
 * Counts in windows of a fixed length, each beginning with what is first counted in it.
 *
 * Answers at once, so that what a client calls in order is done in order; memory is bounded; time is an argument.
 */
export class Windows {
	readonly #rate: Rate;
	readonly #clock: Pick<Clock, "now">;
	/** In the order in which they end. */
	readonly #open = new Map<string, { readonly from: number; taken: number }>();

	constructor(rate: Rate, clock: Pick<Clock, "now">) {
		this.#rate = { ...rate, ms: Math.min(rate.ms, RETRY_AFTER_MS_MAX) };
		this.#clock = clock;
	}

	get size(): number {
		return this.#open.size;
	}

	/** How long until `name` may have `amount`, in ms; 0 when it may now. More than a whole window's fits one that is empty. */
	wait(name: string, amount: number): number {
		const now = this.#clock.now();
		const { from, taken } = this.#at(name, now);
		return taken === 0 || taken + amount <= this.#rate.amount ? 0 : from + this.#rate.ms - now;
	}

	take(name: string, amount: number): void {
		const now = this.#clock.now();
		const { from, taken } = this.#at(name, now);
		if (taken === 0) {
			this.#open.delete(name);
			this.#makeRoom(now);
		}
		this.#open.set(name, { from, taken: taken + amount });
	}

	#at(name: string, now: number): { readonly from: number; readonly taken: number } {
		const open = this.#open.get(name);
		return open === undefined || this.#isOver(open.from, now) ? { from: now, taken: 0 } : open;
	}

	/** Also when the clock was set back. */
	#isOver(from: number, now: number): boolean {
		return now < from || now - from >= this.#rate.ms;
	}

	#makeRoom(now: number): void {
		for (const [name, { from }] of this.#open) {
			if (this.#open.size < CLIENTS_MAX && !this.#isOver(from, now)) return;
			this.#open.delete(name);
		}
	}
}

/** Those of each rate; undefined where there is none. */
export type WindowsOf = { readonly [Name in keyof Rates]-?: Windows | undefined };

/** What one client may do of what costs. Every method throws a ShareRefusal `busy`, with when to come again. */
export class Allowance {
	readonly #windows: WindowsOf;
	readonly #address: string;

	constructor(windows: WindowsOf, address: string) {
		this.#windows = windows;
		this.#address = address;
	}

	/** To make a share, for the owner of a key. */
	create(owner: string): void {
		take(this.#windows.creates, [this.#address, owner], 1, "too many shares are made at once");
	}

	/** To append payloads of so many bytes to a share of an owner. */
	append(owner: string, bytes: number): void {
		take(this.#windows.appendBytes, [this.#address, owner], bytes, "too much is appended at once");
	}

	/** Makes a call that shows a key, a secret or a link. One that was wrong counts twice. */
	show<T>(call: () => Eventual<T>): Eventual<T> {
		const { redemptions, guesses } = this.#windows;
		// Looked at first, so that who has guessed too much is not told whether this one is right.
		refuse(guesses?.wait(this.#address, 1) ?? 0, "too many wrong keys, secrets or links");
		take(redemptions, [this.#address], 1, "too many keys, secrets or links are shown at once");
		const wrong = (error: unknown): never => {
			const code = refusalOf(error)?.code;
			if (code === "denied" || code === "not_found") guesses?.take(this.#address, 1);
			throw error;
		};
		try {
			const answer = call();
			return answer instanceof Promise ? answer.catch(wrong) : answer;
		} catch (error) {
			return wrong(error);
		}
	}
}

/** Whoever is not limited: this machine itself. */
export const UNLIMITED = new Allowance(
	{ creates: undefined, redemptions: undefined, guesses: undefined, appendBytes: undefined },
	"",
);

/** Takes from all or from none. */
function take(windows: Windows | undefined, names: readonly string[], amount: number, why: string): void {
	if (windows === undefined) return;
	refuse(Math.max(...names.map((name) => windows.wait(name, amount))), why);
	for (const name of names) windows.take(name, amount);
}

function refuse(waitMs: number, why: string): void {
	if (waitMs <= 0) return;
	const seconds = Math.ceil(waitMs / 1000);
	throw new ShareRefusal("busy", `Come again in ${seconds} s: ${why}.`, { retry_after_ms: Math.ceil(waitMs) });
}
