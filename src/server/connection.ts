import { ShareRefusal } from "../protocol/refusal.ts";
import { type Allowance, UNLIMITED } from "./allowance.ts";
import type { Redactor } from "./redact.ts";
import type { Watcher } from "./watcher.ts";

/** Calls in one POST. Every redemption is a commit, and a POST holds up everybody while it runs. */
const CALLS_PER_POST = 1000;

/** Subscriptions on one WebSocket: each may hold a page of memory while its viewer is slow. */
const WATCHERS_PER_SOCKET = 32;

/** When to come again after too much at once, in ms. */
const RETRY_AFTER_MS = 1000;

/** What one client's connection may use, and uses. */
export class Connection {
	readonly #redactor: Redactor;
	readonly #onKnown: () => void;
	readonly #watchers = new Set<Watcher>();
	readonly #callsMax: number;
	readonly #watchersMax: number;
	/** What this client may do of what costs. */
	readonly allowance: Allowance;
	#calls = 0;

	/**
	 * A POST ends with its answer, so nobody can watch on it.
	 *
	 * @param onKnown called when the client has shown a key or a secret.
	 */
	constructor(kind: "post" | "socket", redactor: Redactor, onKnown: () => void, allowance = UNLIMITED) {
		this.allowance = allowance;
		this.#redactor = redactor;
		this.#onKnown = onKnown;
		this.#callsMax = kind === "post" ? CALLS_PER_POST : Number.POSITIVE_INFINITY;
		this.#watchersMax = kind === "post" ? 0 : WATCHERS_PER_SOCKET;
	}

	/** Runs one call of the client's. What it throws is fit to be sent. Code busy. */
	async run<T>(call: () => T | Promise<T>): Promise<T> {
		try {
			if (++this.#calls > this.#callsMax) throw busy(`One POST takes ${this.#callsMax} calls.`);
			return await call();
		} catch (error) {
			throw this.#redactor.ours(error);
		}
	}

	/** The client has shown a key or a secret. */
	known(): void {
		this.#onKnown();
	}

	/** Codes invalid_request, busy. */
	admitWatcher(): void {
		if (this.#watchersMax === 0) throw new ShareRefusal("invalid_request", "Watching needs a WebSocket.");
		if (this.#watchers.size >= this.#watchersMax)
			throw busy(`One connection takes ${this.#watchersMax} subscriptions.`);
	}

	/** Counts a watcher until it ends. */
	add(watcher: Watcher): void {
		this.#watchers.add(watcher);
		void watcher.done.then(() => this.#watchers.delete(watcher));
	}
}

function busy(message: string): ShareRefusal {
	return new ShareRefusal("busy", message, { retry_after_ms: RETRY_AFTER_MS });
}
