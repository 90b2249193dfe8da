import { chmodSync, lstatSync, mkdirSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { dirname } from "node:path";
import * as z from "zod";
import type { Clock } from "../model/clock.ts";
import { messageOf } from "../model/errors.ts";
import { type Doorbell, type LiveText, type Ring, RingBox } from "./doorbell.ts";
import {
	type Hello,
	helloLine,
	LANE_BEAT_MS,
	LINE_BYTES_MAX,
	Lines,
	laneAddress,
	laneDistrust,
} from "./lane-address.ts";
import { isAnswered } from "./lane-probe.ts";

/** OpenCode processes of one person on one machine; more of them is a mistake, or nobody's friend. */
const PEERS_MAX = 256;
/** Of an id that OpenCode makes, in characters: some 30. */
const ID_CHARS_MAX = 128;
/** Between two attempts to open a lane that something stands in the way of, in ms. */
const REOPEN_MS = 5000;
/** How often the socket is looked for where it was put, in ms: who tidies a folder may have taken it for rubbish. */
const LOOK_MS = 10_000;

const Id = z.string().min(1).max(ID_CHARS_MAX);
const Line = z.object({
	ring: z
		.object({
			session_id: Id.optional(),
			directory: z.string().max(4096).optional(),
			settled: z.boolean().default(false),
		})
		.optional(),
	live: z
		.object({
			...{ session_id: Id, message_id: Id, part_id: Id, field: Id },
			offset: z.number().int().nonnegative(),
			since: Id.optional(),
			delta: z.string().max(LINE_BYTES_MAX),
		})
		.optional(),
});

export interface LaneOptions {
	readonly dataDir: string;
	readonly hello: Hello;
	readonly clock: Clock;
	/** Called once with each thing that keeps it from being open. */
	readonly onProblem?: (problem: string) => void;
	/** How long an end may be silent, in ms. */
	readonly silenceMsMax?: number;
}

/**
 * The agent's end of the lane: hears the plugins of every OpenCode process that runs beside it (see lane-address.ts).
 *
 *     closed -> open (somebody waits for rings) -> closed
 *       ^         | its socket was taken away, or it failed
 *       +---------+ and again, every 5 s while something stands in the way
 *
 * Only the holder of the outbox's lock waits for rings, so that who answers here is the agent. Best effort: carries no
 * truth, and where it cannot be opened the poll finds everything.
 */
export class Lane implements Doorbell {
	readonly #options: LaneOptions;
	readonly #address: string;
	readonly #peers = new Set<Socket>();
	#problem: string | undefined;
	#open = false;

	constructor(options: LaneOptions) {
		this.#options = options;
		this.#address = laneAddress(options.dataDir);
	}

	/** True while OpenCode processes would be heard. */
	get connected(): boolean {
		return this.#open;
	}

	get problem(): string | undefined {
		return this.#problem;
	}

	/** How many OpenCode processes are there now. */
	get peers(): number {
		return this.#peers.size;
	}

	async *rings(signal: AbortSignal, onLive?: (live: LiveText) => void): AsyncGenerator<Ring, void, void> {
		const box = new RingBox();
		const close = () => box.close();
		signal.addEventListener("abort", close, { once: true });
		const keeping = this.#keepOpen(box, onLive, signal).finally(close);
		try {
			yield* box.heard();
		} finally {
			signal.removeEventListener("abort", close);
			await keeping;
		}
	}

	/** Has it open until `signal` is aborted, and leaves no socket behind. */
	async #keepOpen(box: RingBox, onLive: LaneListener, signal: AbortSignal): Promise<void> {
		const { clock } = this.#options;
		while (!signal.aborted) {
			let server: Server | undefined;
			try {
				server = await this.#listen(box, onLive);
				this.#problem = undefined;
				this.#open = true;
				// What happened before was not heard.
				box.add({ settled: false });
				await this.#untilGone(server, signal);
			} catch (error) {
				this.#complain(messageOf(error));
			}
			this.#open = false;
			await this.#close(server);
			if (!signal.aborted) await clock.sleep(REOPEN_MS, signal);
		}
	}

	#complain(problem: string): void {
		if (problem !== this.#problem) this.#options.onProblem?.(problem);
		this.#problem = problem;
	}

	/** @throws Error what stands in the way: something that is no socket, or somebody who answers. */
	async #listen(box: RingBox, onLive: LaneListener): Promise<Server> {
		const address = this.#address;
		if (process.platform !== "win32") {
			mkdirSync(dirname(address), { recursive: true, mode: 0o700 });
			const distrust = await laneDistrust(address);
			if (distrust !== undefined) throw new Error(distrust);
			const there = lstatSync(address, { throwIfNoEntry: false });
			if (there !== undefined && !there.isSocket()) throw new Error(`${address} is no socket`);
			if (there !== undefined && (await isAnswered(address))) throw new Error(`somebody else listens on ${address}`);
			// The lock is ours: whoever left it there is gone.
			if (there !== undefined) rmSync(address, { force: true });
		}
		const server = createServer((peer) => this.#welcome(peer, box, onLive));
		server.maxConnections = PEERS_MAX;
		await new Promise<void>((resolve, reject) => {
			server.once("error", reject);
			server.listen(address, () => {
				server.off("error", reject);
				resolve();
			});
		});
		// One that fails later is found gone by the next look; an error that nobody hears would end the process.
		server.on("error", (error) => this.#complain(messageOf(error)));
		if (process.platform !== "win32") chmodSync(address, 0o600);
		return server;
	}

	#welcome(peer: Socket, box: RingBox, onLive: LaneListener): void {
		const lines = new Lines();
		const peers = this.#peers.size;
		this.#peers.add(peer);
		peer.on("close", () => void this.#peers.delete(peer));
		peer.on("error", () => peer.destroy());
		peer.setTimeout(this.#options.silenceMsMax ?? 5 * LANE_BEAT_MS, () => peer.destroy());
		peer.on("data", (chunk) => {
			const told = lines.push(Buffer.from(chunk));
			if (told === undefined) peer.destroy();
			else for (const line of told) hear(line, box, onLive);
		});
		peer.write(helloLine({ ...this.#options.hello, peers }));
	}

	/** Until `signal` is aborted, or the socket is not where it was put. */
	async #untilGone(server: Server, signal: AbortSignal): Promise<void> {
		const inode = inodeOf(this.#address);
		while (!signal.aborted && server.listening && inodeOf(this.#address) === inode)
			await this.#options.clock.sleep(LOOK_MS, signal);
	}

	/** The socket's file goes with its server: on Node and on Bun alike. */
	async #close(server: Server | undefined): Promise<void> {
		if (server === undefined) return;
		const closed = new Promise<void>((resolve) => server.close(() => resolve()));
		for (const peer of this.#peers) peer.destroy();
		await closed;
	}
}

type LaneListener = ((live: LiveText) => void) | undefined;

/** What is no line of ours is passed over. */
function hear(line: string, box: RingBox, onLive: LaneListener): void {
	let value: unknown;
	try {
		value = JSON.parse(line);
	} catch {
		return;
	}
	const { ring, live } = Line.safeParse(value).data ?? {};
	if (ring) {
		const { session_id, directory, settled } = ring;
		box.add({
			settled,
			...(session_id === undefined ? {} : { session_id }),
			...(directory === undefined ? {} : { directory }),
		});
	}
	if (live) onLive?.(live);
}

/** Undefined for a named pipe, and when nothing is there. */
function inodeOf(path: string): number | undefined {
	return process.platform === "win32" ? undefined : lstatSync(path, { throwIfNoEntry: false })?.ino;
}
