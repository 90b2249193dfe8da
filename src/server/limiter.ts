import { countedAddress } from "../model/address.ts";
import type { Clock } from "../model/clock.ts";
import type { Rate, Rates } from "../protocol/rates.ts";
import { Allowance, Windows, type WindowsOf } from "./allowance.ts";

/** What all clients of a server have taken lately; each has its Allowance. */
export class Limiter {
	readonly #windows: WindowsOf;

	constructor(rates: Rates, clock: Pick<Clock, "now">) {
		const of = (rate: Rate | undefined) => rate && new Windows(rate, clock);
		const { creates, redemptions, guesses, appendBytes } = rates;
		this.#windows = {
			creates: of(creates),
			redemptions: of(redemptions),
			guesses: of(guesses),
			appendBytes: of(appendBytes),
		};
	}

	/** What the client at an address may do. */
	of(address: string): Allowance {
		return new Allowance(this.#windows, countedAddress(address));
	}
}
