import { createParser } from "eventsource-parser";
import { type Backoff, fullJitter } from "../model/backoff.ts";
import { type Clock, type Random, systemClock } from "../model/clock.ts";
import { FRAME_CHARS_MAX } from "./frame.ts";
import { endpoint, get, isDenial, PASSWORD_HINT, problemOf, RefusedRequest, type ServerAddress } from "./http.ts";

/** A server that says nothing for this long is gone: it heartbeats every 10 s. In ms. */
const SILENCE_MS_MAX = 30_000;
const RECONNECT: Backoff = { baseMs: 500, capMs: 30_000 };
/** A frame is one line; what comes in more of them without an end is not OpenCode's. In characters. */
const BUFFER_CHARS_MAX = 4 * FRAME_CHARS_MAX;

export interface StreamOptions {
	readonly clock?: Clock;
	readonly random?: Random;
	readonly silenceMsMax?: number;
	readonly backoff?: Backoff;
}

/** Who listens to a stream. None of these may throw. */
export interface StreamListener {
	/** From now on everything is heard, until `closed`. */
	opened(): void;
	/** One frame, cut off above FRAME_CHARS_MAX characters. */
	frame(data: string): void;
	closed(): void;
}

/**
 * The event stream of an OpenCode server, `GET /global/event`: it hears every directory of that one process.
 *
 *     connecting --200--> connected --end, error, 30 s of silence--> waiting --full jitter--> connecting
 *
 * OpenCode repeats nothing after a reconnect (it ignores Last-Event-ID): what happened meanwhile was not heard.
 */
export class EventStream {
	readonly #address: ServerAddress;
	readonly #clock: Clock;
	readonly #random: Random;
	readonly #silenceMsMax: number;
	readonly #backoff: Backoff;
	#connected = false;
	#problem: string | undefined;

	constructor(address: ServerAddress, options: StreamOptions = {}) {
		this.#address = address;
		this.#clock = options.clock ?? systemClock;
		this.#random = options.random ?? Math.random;
		this.#silenceMsMax = options.silenceMsMax ?? SILENCE_MS_MAX;
		this.#backoff = options.backoff ?? RECONNECT;
	}

	get connected(): boolean {
		return this.#connected;
	}

	/** For a person: why it is not connected; undefined while it is, or before the first attempt. */
	get problem(): string | undefined {
		return this.#problem;
	}

	/** Connects, again and again, until `signal` is aborted. Never throws. */
	async run(listener: StreamListener, signal: AbortSignal): Promise<void> {
		for (let failures = 0; !signal.aborted; ) {
			try {
				await this.#connection(listener, signal, () => {
					failures = 0;
				});
				this.#problem = "OpenCode's server ended the event stream";
			} catch (error) {
				this.#problem = streamProblem(error);
			}
			if (this.#connected) {
				this.#connected = false;
				listener.closed();
			}
			if (signal.aborted) return;
			failures++;
			await this.#clock.sleep(fullJitter(failures, this.#backoff, this.#random), signal);
		}
	}

	/** One connection, until it ends. */
	async #connection(listener: StreamListener, signal: AbortSignal, onConnected: () => void): Promise<void> {
		const silence = new AbortController();
		let heardAt = this.#clock.now();
		const watchdog = this.#watch(() => heardAt, silence, signal);
		try {
			const either = AbortSignal.any([signal, silence.signal]);
			const url = endpoint(this.#address, "/global/event");
			const response = await get(url, this.#address, either, { accept: "text/event-stream" });
			let broken: Error | undefined;
			const parser = createParser({
				onEvent: (event) => listener.frame(event.data),
				onError: (error) => {
					if (error.type === "max-buffer-size-exceeded") broken = error;
				},
				maxBufferSize: BUFFER_CHARS_MAX,
			});
			const decoder = new TextDecoder();
			const clip = new LineClip();
			onConnected();
			this.#connected = true;
			this.#problem = undefined;
			listener.opened();
			for await (const chunk of response.body) {
				heardAt = this.#clock.now();
				parser.feed(clip.feed(decoder.decode(chunk, { stream: true })));
				if (broken) throw broken;
			}
		} finally {
			silence.abort();
			await watchdog;
		}
	}

	async #watch(heardAt: () => number, silence: AbortController, signal: AbortSignal): Promise<void> {
		const over = AbortSignal.any([signal, silence.signal]);
		while (!over.aborted) {
			const leftMs = heardAt() + this.#silenceMsMax - this.#clock.now();
			if (leftMs <= 0) silence.abort(new Error(`OpenCode's server was silent for ${this.#silenceMsMax} ms`));
			else await this.#clock.sleep(leftMs, over);
		}
	}
}

function streamProblem(error: unknown): string {
	if (!(error instanceof RefusedRequest)) return problemOf(error);
	const answered = `OpenCode's server answered ${error.status}`;
	return isDenial(error.status) ? `${answered}: it does not let us in. ${PASSWORD_HINT}` : answered;
}

/** Cuts lines off that are longer than any frame that is read, so that none is ever held whole. */
export class LineClip {
	#length = 0;

	feed(text: string): string {
		let clipped = "";
		for (let from = 0; from < text.length; ) {
			const end = text.indexOf("\n", from);
			const to = end < 0 ? text.length : end;
			clipped += text.slice(from, Math.min(to, from + Math.max(0, LINE_CHARS_MAX - this.#length)));
			if (end >= 0) clipped += "\n";
			this.#length = end < 0 ? this.#length + to - from : 0;
			from = to + 1;
		}
		return clipped;
	}
}

/** A frame that is cut off here still counts as too large. */
const LINE_CHARS_MAX = FRAME_CHARS_MAX + 100;
