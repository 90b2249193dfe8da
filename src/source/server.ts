import { createParser } from "eventsource-parser";
import { type Backoff, fullJitter } from "../model/backoff.ts";
import { type Clock, type Random, systemClock } from "../model/clock.ts";
import { messageOf } from "../model/errors.ts";
import { type Doorbell, type LiveText, type Ring, RingBox } from "./doorbell.ts";
import { endpoint, type ServerAddress } from "./http.ts";
import { LiveEar, type OpencodeEvent } from "./live-ear.ts";

/** A server that says nothing for this long is gone: it heartbeats every 10 s. In ms. */
const SILENCE_MS_MAX = 30_000;
const RECONNECT: Backoff = { baseMs: 500, capMs: 30_000 };
/** Frames above this many characters are not parsed: whatever happened, the sessions are looked at. */
const FRAME_CHARS_MAX = 1024 * 1024;

export interface OpencodeServerOptions {
	readonly clock?: Clock;
	readonly random?: Random;
	readonly silenceMsMax?: number;
	readonly backoff?: Backoff;
}

/**
 * The doorbell of a local OpenCode server: `GET /global/event`, which hears every directory of that one process.
 *
 *     connecting --200--> connected --end, error, 30 s of silence--> waiting --full jitter--> connecting
 */
export class OpencodeServer implements Doorbell {
	readonly #address: ServerAddress;
	readonly #clock: Clock;
	readonly #random: Random;
	readonly #silenceMsMax: number;
	readonly #backoff: Backoff;
	#connected = false;
	#problem: string | undefined;

	constructor(address: ServerAddress, options: OpencodeServerOptions = {}) {
		this.#address = address;
		this.#clock = options.clock ?? systemClock;
		this.#random = options.random ?? Math.random;
		this.#silenceMsMax = options.silenceMsMax ?? SILENCE_MS_MAX;
		this.#backoff = options.backoff ?? RECONNECT;
	}

	get connected(): boolean {
		return this.#connected;
	}

	get problem(): string | undefined {
		return this.#problem;
	}

	async *rings(signal: AbortSignal, onLive?: (live: LiveText) => void): AsyncGenerator<Ring, void, void> {
		const left = new AbortController();
		const box = new RingBox();
		const over = AbortSignal.any([signal, left.signal]);
		const listening = this.#listen(box, onLive, over).finally(() => box.close());
		try {
			yield* box.heard();
		} finally {
			left.abort();
			await listening;
		}
	}

	async #listen(box: RingBox, onLive: ((live: LiveText) => void) | undefined, signal: AbortSignal): Promise<void> {
		for (let failures = 0; !signal.aborted; ) {
			// What was streamed while nobody listened is not known to a new connection.
			const ear = new LiveEar();
			const hear = (data: string) => {
				const live = onLive && liveEventOf(data);
				const text = live && ear.hear(live);
				if (text) onLive(text);
				this.#hear(data, box);
			};
			try {
				await this.#connection(box, hear, signal, () => {
					failures = 0;
				});
				this.#problem = "OpenCode's server ended the event stream";
			} catch (error) {
				this.#problem = problemOf(error);
			}
			this.#connected = false;
			if (signal.aborted) return;
			failures++;
			await this.#clock.sleep(fullJitter(failures, this.#backoff, this.#random), signal);
		}
	}

	/** One connection, until it ends. */
	async #connection(
		box: RingBox,
		hear: (data: string) => void,
		signal: AbortSignal,
		onConnected: () => void,
	): Promise<void> {
		const silence = new AbortController();
		let heardAt = this.#clock.now();
		const watchdog = this.#watch(() => heardAt, silence, signal);
		try {
			const response = await fetch(endpoint(this.#address, "/global/event"), {
				headers: { ...this.#address.headers, accept: "text/event-stream" },
				signal: AbortSignal.any([signal, silence.signal]),
			});
			if (!response.ok || response.body === null) {
				await response.body?.cancel();
				throw new Error(`OpenCode's server answered ${response.status}`);
			}
			const parser = createParser({ onEvent: (event) => hear(event.data) });
			const decoder = new TextDecoder();
			onConnected();
			this.#connected = true;
			this.#problem = undefined;
			box.add({ settled: false });
			for await (const chunk of response.body) {
				heardAt = this.#clock.now();
				parser.feed(decoder.decode(chunk, { stream: true }));
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

	#hear(data: string, box: RingBox): void {
		const ring = ringOf(data);
		if (ring !== undefined) box.add(ring);
	}
}

/** What tells a frame that a LiveEar wants from the others, without parsing it. */
const LIVE = /"type":"message\.part\.(delta|updated|removed)"/;

/** The event of a frame that has to do with text that streams; undefined for any other. */
function liveEventOf(data: string): OpencodeEvent | undefined {
	if (data.length > FRAME_CHARS_MAX || !LIVE.test(data.slice(0, 1000))) return undefined;
	try {
		return (JSON.parse(data) as { payload?: OpencodeEvent }).payload;
	} catch {
		return undefined;
	}
}

/** Live-only, and nothing that any Source could read yet. */
const SILENT = /^(server\.|message\.part\.delta$|session\.status$)/;
const SETTLED: ReadonlySet<string> = new Set(["session.idle", "session.diff", "session.compacted"]);

/**
 * What one frame of `/global/event` rings for; undefined when nothing a session holds has changed.
 *
 * `sync` frames repeat a plain one with the same id and are passed over; the ids in them are not looked at either: what
 * happened is read from a Source.
 */
export function ringOf(data: string): Ring | undefined {
	if (data.length > FRAME_CHARS_MAX) return { settled: false };
	let frame: { directory?: unknown; payload?: { type?: unknown; properties?: Record<string, unknown> } } | null;
	try {
		frame = JSON.parse(data);
	} catch {
		return { settled: false };
	}
	const type = frame?.payload?.type;
	if (typeof type !== "string" || SILENT.test(type)) return undefined;
	const sessionId = frame?.payload?.properties?.sessionID;
	if (typeof sessionId !== "string") return undefined;
	const directory = frame?.directory;
	return {
		session_id: sessionId,
		...(typeof directory === "string" ? { directory } : {}),
		settled: SETTLED.has(type),
	};
}

function problemOf(error: unknown): string {
	const cause = error instanceof Error && error.cause instanceof Error ? `: ${error.cause.message}` : "";
	return `${messageOf(error)}${cause}`;
}
