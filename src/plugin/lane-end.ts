import { connect, type Socket } from "node:net";
import type { LiveText, Ring } from "../source/doorbell.ts";
import { helloIn, LANE_BEAT_MS, LINE_BYTES_MAX, Lines, laneDistrust } from "../source/lane-address.ts";

/** How long an agent may take to say who it is, in ms: it may be busy with a disk. */
const HELLO_MS_MAX = 5000;
/** What is told within this time goes as one, in ms: a streaming tool makes hundreds of events a second. */
const GATHER_MS = 25;
/** Sessions that are rung for by name in that time; beyond, one ring stands for all. */
const RINGS_MAX = 64;
/** What may wait for an agent that does not read, in bytes; live text beyond it is not told. */
const WAITING_BYTES_MAX = 256 * 1024;

/**
 * OpenCode's end of the lane: one connection to the agent of a data directory.
 *
 * Runs inside OpenCode: every call does O(1) work and throws nothing, memory is bounded, no timer or socket keeps the
 * process. While there is no connection, what is told is forgotten: the agent reads the truth from OpenCode's database.
 */
export class LaneEnd {
	readonly #address: string;
	#socket: Socket | undefined;
	#ready = false;
	readonly #rings = new Map<string, Ring>();
	#texts: string[] = [];
	#textBytes = 0;
	#flushing: NodeJS.Timeout | undefined;

	constructor(address: string) {
		this.#address = address;
	}

	get connected(): boolean {
		return this.#ready;
	}

	/** What waits for an agent that does not read. */
	get waitingBytes(): number {
		return this.#textBytes + (this.#socket?.writableLength ?? 0);
	}

	/**
	 * Connects, unless it is connected. Never throws.
	 *
	 * @param onLost called once, when a connection ends that was `agent`.
	 * @returns `agent` when one of ours answers; `stranger` when somebody else does, or does not say who it is.
	 */
	async connect(onLost: () => void): Promise<"agent" | "nobody" | "stranger"> {
		if ((await laneDistrust(this.#address)) !== undefined) return "nobody";
		return new Promise((resolve) => {
			const socket = connect(this.#address);
			const late = setTimeout(() => over("stranger"), HELLO_MS_MAX);
			late.unref();
			const lines = new Lines();
			let isThere = false;
			const over = (who: "agent" | "nobody" | "stranger") => {
				clearTimeout(late);
				if (who !== "agent") socket.destroy();
				resolve(who);
			};
			socket.unref();
			socket.on("connect", () => {
				isThere = true;
			});
			socket.on("data", (chunk) => {
				const told = this.#ready ? [] : lines.push(Buffer.from(chunk));
				if (this.#ready || told?.length === 0) return;
				if (told === undefined || helloIn(told[0] ?? "") === undefined) return over("stranger");
				this.#socket = socket;
				this.#ready = true;
				socket.setTimeout(LANE_BEAT_MS, () => void socket.write("{}\n"));
				over("agent");
			});
			socket.on("error", () => socket.destroy());
			socket.on("close", () => {
				const wasReady = this.#socket === socket;
				if (wasReady) {
					this.#socket = undefined;
					this.#ready = false;
					onLost();
				}
				over(isThere ? "stranger" : "nobody");
			});
		});
	}

	ring(ring: Ring): void {
		if (!this.#ready) return;
		const id = ring.session_id ?? "";
		const waiting = this.#rings.get(id);
		if (waiting !== undefined) {
			if (ring.settled && !waiting.settled) this.#rings.set(id, ring);
		} else if (this.#rings.size < RINGS_MAX) this.#rings.set(id, ring);
		else this.#rings.set("", { settled: false });
		this.#gather();
	}

	live(live: LiveText): void {
		if (!this.#ready) return;
		// Three bytes are the most that a character takes, six what JSON makes of one; a line that is too long is no line.
		if (live.delta.length * 6 > LINE_BYTES_MAX / 2) return;
		if (this.waitingBytes > WAITING_BYTES_MAX) return;
		const line = `${JSON.stringify({ live })}\n`;
		this.#texts.push(line);
		this.#textBytes += line.length;
		this.#gather();
	}

	/** Tells what waits, and ends the connection. */
	close(): void {
		this.#flush();
		this.#socket?.end();
		this.#ready = false;
	}

	#gather(): void {
		if (this.#flushing !== undefined) return;
		this.#flushing = setTimeout(() => this.#flush(), GATHER_MS);
		this.#flushing.unref();
	}

	#flush(): void {
		clearTimeout(this.#flushing);
		this.#flushing = undefined;
		const rings = [...this.#rings.values()].map((ring) => `${JSON.stringify({ ring })}\n`);
		const text = this.#texts.join("") + rings.join("");
		this.#rings.clear();
		this.#texts = [];
		this.#textBytes = 0;
		const socket = this.#socket;
		if (text === "" || !this.#ready || socket === undefined || socket.writableLength > 2 * WAITING_BYTES_MAX) return;
		socket.write(text);
	}
}
