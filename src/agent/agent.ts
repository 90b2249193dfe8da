import type { Clock, Random } from "../model/clock.ts";
import { messageOf, OutboxError } from "../model/errors.ts";
import type { CreateKey } from "../model/identity.ts";
import type { Logger } from "../model/logger.ts";
import type { Outbox } from "../outbox/outbox.ts";
import type { Doorbell } from "../source/doorbell.ts";
import type { ServerExtras } from "../source/extras.ts";
import type { Source } from "../source/source.ts";
import { isDamage } from "../sqlite/errors.ts";
import { acquireLock, type Lock } from "../sqlite/lock.ts";
import type { OnDelete } from "./capture.ts";
import type { LiveOptions } from "./live.ts";
import type { AgentMeter } from "./meter.ts";
import type { Room } from "./room.ts";
import type { Rules } from "./rules.ts";
import type { ShareMode } from "./selection.ts";
import type { ServerLink } from "./server-link.ts";
import { Works } from "./works.ts";

/** How often a drain looks whether it is done, in ms. */
const DRAIN_POLL_MS = 25;
/** Between two attempts to open an outbox that was damaged, in ms. */
const REOPEN_WAIT_MS = 5000;

/** OpenCode's own server: wakes us up, and tells what no table holds (diffs, models); where it is the source, all else. */
export interface OpencodeLink {
	readonly url: string;
	readonly doorbell: Doorbell;
	readonly extras: ServerExtras;
}

export interface AgentOptions {
	readonly lockPath: string;
	/**
	 * Called once the lock is held, and again when the outbox turns out to be damaged.
	 *
	 * @param found what the open outbox threw; it has been closed.
	 */
	readonly openOutbox: (found?: unknown) => Promise<Outbox>;
	/** @param identity the database's `identity` when it was last captured from. */
	readonly openSource: (identity: string | undefined) => Promise<Source>;
	/** For `status`; null where OpenCode's server is the source. */
	readonly opencodeDb: string | null;
	readonly opencode: OpencodeLink | undefined;
	/** Heard from the plugin, inside an OpenCode that opens no port. Open only while this agent has the outbox. */
	readonly lane: Doorbell;
	/** Called once the outbox is ours, so that no second embedded server is ever started beside a running agent. */
	readonly link: () => Promise<ServerLink>;
	/** The room that the outbox may take; undefined: as much as there is. */
	readonly room?: (outbox: Outbox) => Room;
	readonly createKey: CreateKey;
	readonly mode: ShareMode;
	/** keep unless set. */
	readonly onDelete?: OnDelete | undefined;
	/** Which sessions are synced, beside `mode`, and what is taken out before anything is stored; undefined: all, nothing. */
	readonly rules?: Rules;
	/** Where there are none, those that the last agent went by: the options are those of a command, not of `run`. */
	readonly keepsRules?: boolean;
	readonly pollMs: number;
	/** What is done with text that streams; undefined: nothing. */
	readonly live?: LiveOptions;
	/** A person waits: what earlier failures put off is tried at once. */
	readonly hurry?: boolean;
	/** Told what is done, while it is done; undefined: nobody counts. */
	readonly meter?: AgentMeter | undefined;
	readonly clock: Clock;
	readonly random: Random;
	readonly log: Logger;
}

/**
 * The sidecar of one machine: owns the outbox, keeps it level with OpenCode, and flushes it.
 *
 *     start -> running -> drain (first SIGTERM) -> stop
 *                 | ^  +-------------------------> stop (second SIGTERM, kill -9)
 *                 v |
 *                heal (the outbox is damaged)
 *
 * Whatever ends it, at whatever point, the next start goes on from the outbox.
 */
export class Agent {
	readonly link: ServerLink;
	readonly #options: AgentOptions;
	readonly #lock: Lock;
	readonly #stopping = new AbortController();
	#works: Works;
	#healing: Promise<void> | undefined;
	#stopped: Promise<void> | undefined;

	/** @throws OutboxError `owned` when another agent has this outbox, and what the files and the port say. */
	static async start(options: AgentOptions): Promise<Agent> {
		const lock = await acquireLock(options.lockPath);
		if (!("release" in lock)) {
			const who = lock.pid === null ? "Another agent" : `The agent with pid ${lock.pid}`;
			throw new OutboxError("owned", `${who} flushes this outbox already.`);
		}
		let outbox: Outbox | undefined;
		try {
			outbox = await options.openOutbox();
			const link = await options.link();
			try {
				return new Agent(options, lock, outbox, link);
			} catch (error) {
				if (!isDamage(error)) throw error;
				outbox.close();
				outbox = await options.openOutbox(error);
				return new Agent(options, lock, outbox, link);
			}
		} catch (error) {
			outbox?.close();
			lock.release();
			throw error;
		}
	}

	private constructor(options: AgentOptions, lock: Lock, outbox: Outbox, link: ServerLink) {
		this.#options = options;
		this.#lock = lock;
		this.link = link;
		this.#works = this.#begin(outbox);
	}

	/** The outbox as it is open now: a damaged one is replaced while the agent runs. */
	get outbox(): Outbox {
		return this.#works.outbox;
	}

	#begin(outbox: Outbox): Works {
		return new Works(this.#options, this.link, outbox, (error) => this.#heal(error));
	}

	/** Ends what works on a damaged outbox, has it opened anew, and goes on. Nothing else of the agent stops. */
	#heal(found: unknown): void {
		if (this.#healing || this.#stopping.signal.aborted) return;
		this.#healing = this.#reopen(found).finally(() => {
			this.#healing = undefined;
		});
	}

	async #reopen(found: unknown): Promise<void> {
		const { clock, log, openOutbox } = this.#options;
		log.error({ err: messageOf(found) }, "the outbox is damaged; it is opened anew");
		await this.#works.end();
		this.outbox.close();
		for (const { signal } = this.#stopping; !signal.aborted; ) {
			try {
				const outbox = await openOutbox(found);
				try {
					this.#works = this.#begin(outbox);
					return;
				} catch (error) {
					outbox.close();
					throw error;
				}
			} catch (error) {
				if (isDamage(error)) found = error;
				log.error({ err: messageOf(error) }, "the outbox cannot be opened");
				await clock.sleep(REOPEN_WAIT_MS, signal);
			}
		}
	}

	/** Captures all there is now. Throws OutboxError what stands in the way; what is pending is flushed all the same. */
	async capture(signal: AbortSignal): Promise<void> {
		await this.#healing;
		await this.#works.watcher.pass(signal);
	}

	/** True when nothing is left that can be sent; parked sessions and dead letters wait for a person. */
	idle(): boolean {
		try {
			return this.#healing === undefined && this.#works.flusher.idle();
		} catch (error) {
			// It is being healed from now on.
			if (isDamage(error)) return false;
			throw error;
		}
	}

	/** Captures what is there and flushes until idle, or until `signal` is aborted. Returns whether it is idle. */
	async drain(signal: AbortSignal): Promise<boolean> {
		const { clock, log } = this.#options;
		this.#say({ state: "draining" });
		this.#works.settle();
		await this.capture(signal).catch((error: unknown) =>
			log.warn({ err: messageOf(error) }, "nothing more was captured"),
		);
		while (!this.idle() && !signal.aborted) await clock.sleep(DRAIN_POLL_MS, signal);
		return this.idle();
	}

	/** Stops at once: calls under way end as unknown and are reconciled by the next start. Safe to repeat. */
	stop(): Promise<void> {
		this.#stopped ??= this.#stop();
		return this.#stopped;
	}

	async #stop(): Promise<void> {
		this.#stopping.abort();
		await this.#healing;
		await this.#works.end();
		await this.link.close();
		this.#say({ state: "stopped", transport: null, opencode_connected: false });
		this.outbox.close();
		this.#lock.release();
	}

	/** Tells `status`; a disk that will not take it is no reason to stop otherwise than asked. */
	#say(fields: Parameters<Outbox["say"]>[0]): void {
		const { clock, log } = this.#options;
		try {
			this.outbox.say(fields, clock.now());
		} catch (error) {
			log.warn({ err: messageOf(error) }, "the outbox could not be written");
		}
	}
}
