import type { WebSocket as WorkerSocket } from "@cloudflare/workers-types";
import type { Clock } from "../../model/clock.ts";
import { notFound } from "../refusals.ts";
import type { Notices } from "../rules.ts";
import type { Watcher } from "../watcher.ts";
import type { Env } from "./env.ts";
import type { Notice } from "./told.ts";

/** Between two attempts to listen again, in ms: doubled up to the second. */
const AGAIN_MS = 500;
const AGAIN_MS_MAX = 30_000;

/** How the watchers of one connection hear of changes: over a socket to the share's WatchObject each. */
export class Ears implements Notices {
	readonly #env: Env;
	readonly #clock: Clock;

	constructor(env: Env, clock: Clock) {
		this.#env = env;
		this.#clock = clock;
	}

	async add(shareId: string, watcher: Watcher): Promise<void> {
		const first = await this.#listen(shareId, watcher);
		void this.#keepListening(first, shareId, watcher);
	}

	/** The shares' objects tell it themselves, each after its commit. */
	changed(): void {}
	delta(): void {}
	ended(): void {}

	/** Until the watcher ends: listens again when the object was reset, and has the watcher read what was not heard. */
	async #keepListening(first: Ear, shareId: string, watcher: Watcher): Promise<void> {
		const over = new AbortController();
		let ear: Ear | undefined = first;
		void watcher.done.then(() => {
			over.abort();
			ear?.socket.close();
		});
		for (let waitMs = AGAIN_MS; !over.signal.aborted; waitMs = Math.min(2 * waitMs, AGAIN_MS_MAX)) {
			if (ear) {
				await ear.closed;
				waitMs = AGAIN_MS;
			}
			await this.#clock.sleep(waitMs, over.signal);
			if (over.signal.aborted) return;
			ear = await this.#listen(shareId, watcher).catch(() => undefined);
			if (over.signal.aborted) ear?.socket.close();
			else if (ear) watcher.wake();
		}
	}

	async #listen(shareId: string, watcher: Watcher): Promise<Ear> {
		const answer = await this.#env.WATCH.getByName(shareId).fetch("https://watch/", {
			headers: { upgrade: "websocket" },
		});
		if (answer.status === 404) throw notFound();
		const socket = answer.webSocket;
		if (!socket) throw new Error("the share's watchers cannot be reached");
		const closed = new Promise<void>((resolve) => {
			for (const end of ["close", "error"] as const) socket.addEventListener(end, () => resolve());
		});
		socket.accept();
		socket.addEventListener("message", ({ data }) => {
			const notice = JSON.parse(String(data)) as Notice;
			if (notice === "read") watcher.wake();
			else watcher.delta(notice.delta);
		});
		return { socket, closed };
	}
}

interface Ear {
	readonly socket: WorkerSocket;
	readonly closed: Promise<void>;
}
