import { type Doorbell, type LiveText, type Ring, RingBox } from "./doorbell.ts";
import { type Frame, frameOf, ringOf } from "./frame.ts";
import type { ServerAddress } from "./http.ts";
import { LiveEar } from "./live-ear.ts";
import { EventStream, type StreamOptions } from "./stream.ts";

/** Who must hear all that the doorbell's connection hears, before anybody is woken by it. None of these may throw. */
export interface Ear {
	opened(): void;
	heard(frame: Frame): void;
	closed(): void;
}

export interface OpencodeServerOptions extends StreamOptions {
	readonly ear?: Ear;
}

/** The doorbell of an OpenCode server; its one connection also serves the `ear`, where the server is the source. */
export class OpencodeServer implements Doorbell {
	readonly #stream: EventStream;
	readonly #ear: Ear | undefined;
	#box: RingBox | undefined;

	constructor(address: ServerAddress, options: OpencodeServerOptions = {}) {
		this.#stream = new EventStream(address, options);
		this.#ear = options.ear;
	}

	get connected(): boolean {
		return this.#stream.connected;
	}

	get problem(): string | undefined {
		return this.#stream.problem;
	}

	/** True from when `rings` is called until it ends. */
	get listening(): boolean {
		return this.#box !== undefined;
	}

	/** Rings for any session, as something else than the stream has something to say. */
	ring(): void {
		this.#box?.add({ settled: false });
	}

	async *rings(signal: AbortSignal, onLive?: (live: LiveText) => void): AsyncGenerator<Ring, void, void> {
		const left = new AbortController();
		const box = new RingBox();
		this.#box = box;
		const ear = this.#ear;
		let liveEar = new LiveEar();
		const listener = {
			opened: () => {
				// What was streamed while nobody listened is not known to a new connection.
				liveEar = new LiveEar();
				ear?.opened();
				box.add({ settled: false });
			},
			frame: (data: string) => {
				const frame = frameOf(data);
				if (frame?.kind === "live" || frame?.kind === "plain") {
					const live = liveEar.hear(frame.event);
					if (live) onLive?.(live);
				}
				if (frame && frame.kind !== "live") ear?.heard(frame);
				const ring = ringOf(frame);
				if (ring) box.add(ring);
			},
			closed: () => ear?.closed(),
		};
		const listening = this.#stream.run(listener, AbortSignal.any([signal, left.signal])).finally(() => box.close());
		try {
			yield* box.heard();
		} finally {
			this.#box = undefined;
			left.abort();
			await listening;
		}
	}
}
