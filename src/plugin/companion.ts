import { laneAddress } from "../source/lane-address.ts";
import { LaneEnd } from "./lane-end.ts";
import type { News } from "./news.ts";
import type { PluginSettings } from "./settings.ts";
import { Starter } from "./starter.ts";

/** Between two looks for an agent, in ms: a failing connect to a socket, below 1 ms. */
const LOOK_MS = 5000;
/** The same while one is starting, which takes a second; and for how long. */
const STARTING_LOOK_MS = 200;
const STARTING_MS = 20_000;
/** An agent that was there for so long, in ms, has not failed when it goes. */
const PROVEN_MS = 30_000;
/** Before another is started in the place of one that went, in ms: an upgrade restarts its own. */
const GONE_MS = 1000;
/** How long a leaving OpenCode waits for a start that is under way, in ms. */
const LEAVE_MS = 1500;

/**
 * This process's companion of one agent, shared by all directories that OpenCode has open in it.
 *
 *     look --- an agent answers ---> on the lane --- it is lost ---+
 *      ^ |                                                        |
 *      | +- nobody, or a stranger: start one (if it may), wait ---+
 *      +----------------------------------------------------------+
 */
export class Companion {
	static readonly #all = new Map<string, Companion>();
	readonly #settings: PluginSettings;
	readonly #end: LaneEnd;
	readonly #starter: Starter;
	#users = 0;
	#left = false;
	#starting: ReturnType<Starter["start"]> | undefined;

	/** The companion of a data directory; `leave` it when done. */
	static of(settings: PluginSettings): Companion {
		const companion = Companion.#all.get(settings.dataDir) ?? new Companion(settings);
		if (companion.#users++ === 0) {
			Companion.#all.set(settings.dataDir, companion);
			// Later: OpenCode waits for its plugins to load.
			setTimeout(() => void companion.#accompany().catch(() => undefined), 0);
		}
		return companion;
	}

	private constructor(settings: PluginSettings) {
		this.#settings = settings;
		this.#end = new LaneEnd(laneAddress(settings.dataDir));
		this.#starter = new Starter(settings);
	}

	get connected(): boolean {
		return this.#end.connected;
	}

	/** O(1), throws nothing. */
	tell(news: News): void {
		if ("ring" in news) this.#end.ring(news.ring);
		else this.#end.live(news.live);
	}

	/** The last one who leaves closes the lane, once an agent that is being started is on its way. */
	async leave(): Promise<void> {
		if (--this.#users > 0) return;
		this.#left = true;
		Companion.#all.delete(this.#settings.dataDir);
		if (this.#starting !== undefined) await Promise.race([this.#starting, pause(LEAVE_MS)]);
		this.#end.close();
	}

	async #accompany(): Promise<void> {
		for (let startedAt = Number.NEGATIVE_INFINITY; !this.#left; ) {
			const lost = Promise.withResolvers<void>();
			const who = await this.#end.connect(lost.resolve);
			if (who === "agent") {
				const since = Date.now();
				this.#starter.answered();
				if (this.#left) this.#end.close();
				await lost.promise;
				if (Date.now() - since >= PROVEN_MS) this.#starter.succeeded();
				startedAt = Number.NEGATIVE_INFINITY;
				await pause(GONE_MS);
				continue;
			}
			if (this.#settings.start && !this.#left) {
				this.#starting = this.#starter.start();
				if ((await this.#starting) !== undefined) startedAt = Date.now();
				this.#starting = undefined;
			}
			await pause(Date.now() - startedAt < STARTING_MS ? STARTING_LOOK_MS : LOOK_MS);
		}
	}
}

/** Keeps no process. */
function pause(ms: number): Promise<void> {
	return new Promise((resolve) => void setTimeout(resolve, ms).unref());
}
