import { randomUUID } from "node:crypto";
import type { Clock, Random } from "../model/clock.ts";
import { messageOf, OutboxError } from "../model/errors.ts";
import type { CreateKey } from "../model/identity.ts";
import type { Logger } from "../model/logger.ts";
import { keys } from "../model/op.ts";
import type { Outbox } from "../outbox/outbox.ts";
import type { Doorbell } from "../source/doorbell.ts";
import type { ServerExtras } from "../source/extras.ts";
import { type Change, isPoison, type Source } from "../source/source.ts";
import { isFull } from "../sqlite/errors.ts";
import { acquireLock, type Lock } from "../sqlite/lock.ts";
import { Capture, type ShareMode } from "./capture.ts";
import { Flusher } from "./flusher.ts";
import type { Truth } from "./redeemer.ts";
import type { Room } from "./room.ts";
import type { ServerLink } from "./server-link.ts";
import { Watcher } from "./watcher.ts";

/** How often a drain looks whether it is done, in ms. */
const DRAIN_POLL_MS = 25;
/** After the flusher met a disk error, in ms. */
const RESTART_WAIT_MS = 5000;

/** OpenCode's own server: wakes us up, and tells what no table holds (diffs, models). */
export interface OpencodeLink {
	readonly url: string;
	readonly doorbell: Doorbell;
	readonly extras: ServerExtras;
}

export interface AgentOptions {
	readonly lockPath: string;
	/** Called once the lock is held. */
	readonly openOutbox: () => Promise<Outbox>;
	/** @param identity the database's `identity` when it was last captured from. */
	readonly openSource: (identity: string | undefined) => Promise<Source>;
	/** For `status`. */
	readonly opencodeDb: string;
	readonly opencode: OpencodeLink | undefined;
	/** Touched by the plugin, from inside an OpenCode that opens no port. */
	readonly fileDoorbell: Doorbell;
	/** Called once the outbox is ours, so that no second embedded server is ever started beside a running agent. */
	readonly link: () => Promise<ServerLink>;
	/** The room that the outbox may take; undefined: as much as there is. */
	readonly room?: (outbox: Outbox) => Room;
	readonly createKey: CreateKey;
	readonly mode: ShareMode;
	readonly pollMs: number;
	/** A person waits: what earlier failures put off is tried at once. */
	readonly hurry?: boolean;
	readonly clock: Clock;
	readonly random: Random;
	readonly log: Logger;
}

/**
 * The sidecar of one machine: owns the outbox, keeps it level with OpenCode, and flushes it.
 *
 *     start -> running -> drain (first SIGTERM) -> stop
 *                 +------------------------------> stop (second SIGTERM, kill -9)
 *
 * Whatever ends it, at whatever point, the next start goes on from the outbox.
 */
export class Agent {
	readonly outbox: Outbox;
	readonly link: ServerLink;
	readonly #options: AgentOptions;
	readonly #lock: Lock;
	readonly #watcher: Watcher;
	readonly #flusher: Flusher;
	readonly #capturing = new AbortController();
	readonly #flushing = new AbortController();
	readonly #loops: Promise<unknown>[] = [];
	#stopped: Promise<void> | undefined;
	#doorbellProblem: string | undefined;

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
			return new Agent(options, lock, outbox, link);
		} catch (error) {
			outbox?.close();
			lock.release();
			throw error;
		}
	}

	private constructor(options: AgentOptions, lock: Lock, outbox: Outbox, link: ServerLink) {
		this.#options = options;
		this.#lock = lock;
		this.outbox = outbox;
		this.link = link;
		const { mode, clock, random, log, pollMs, opencode } = options;
		const room = options.room?.(outbox);
		const capture = new Capture({ outbox, mode, room, clock, log });
		this.#watcher = new Watcher({
			...{ outbox, capture, room, pollMs, clock, log },
			openSource: () => options.openSource(outbox.agent()?.opencode_identity ?? undefined),
			isConnected: () => this.#isConnected(),
			onNews: () => this.#flusher.wake(),
		});
		this.#flusher = new Flusher({
			...{ outbox, mode, clock, random, log, transport: link.transport, server: link.server, owner: randomUUID() },
			createKey: options.createKey,
			truth: (sessionId) => this.#truth(sessionId),
		});
		insist(() => this.#introduce());
		this.#loops.push(this.#watcher.run(this.#capturing.signal), this.#flush());
		this.#loops.push(this.#hear(options.fileDoorbell, undefined, capture));
		if (opencode) this.#loops.push(this.#hear(opencode.doorbell, opencode.extras, capture));
	}

	/** Takes the outbox over from whoever had it, and says so. */
	#introduce(): void {
		const { outbox, link } = this;
		const { mode, clock, opencode } = this.#options;
		outbox.recover();
		// What another server or version mends is tried once with each start.
		for (const code of ["other_server", "invalid_request"]) outbox.unpark(code);
		outbox.parkForeign(link.server.id);
		const now = clock.now();
		if (this.#options.hurry) outbox.hurry();
		// Who starts an agent that was not let in has probably mended the key.
		const isDue = this.#options.hurry || outbox.agent()?.server_state === "refused";
		if (isDue) outbox.say({ next_connect_at: 0 }, now);
		const looksAt = { opencode_db: this.#options.opencodeDb, opencode_url: opencode?.url ?? null };
		outbox.say({ pid: process.pid, state: "starting", since: now, ...looksAt }, now);
		outbox.say(
			{
				server_url: link.url,
				server_id: link.server.id,
				share_mode: mode,
				server_state: "unknown",
				transport: null,
				opencode_connected: false,
			},
			now,
		);
	}

	/** Captures all there is now. Throws OutboxError what stands in the way; what is pending is flushed all the same. */
	async capture(signal: AbortSignal): Promise<void> {
		await this.#watcher.pass(signal);
	}

	/** True when nothing is left that can be sent; parked sessions and dead letters wait for a person. */
	idle(): boolean {
		return this.#flusher.idle();
	}

	/** Captures what is there and flushes until idle, or until `signal` is aborted. Returns whether it is idle. */
	async drain(signal: AbortSignal): Promise<boolean> {
		const { clock, log } = this.#options;
		this.#say({ state: "draining" });
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
		this.#capturing.abort();
		this.#flushing.abort();
		await Promise.allSettled(this.#loops);
		this.#watcher.close();
		await this.link.close();
		this.#say({ state: "stopped", transport: null, opencode_connected: false });
		this.outbox.close();
		this.#lock.release();
	}

	/** The flusher, started again when the disk would not take what it wrote. */
	async #flush(): Promise<void> {
		const { signal } = this.#flushing;
		const { clock, log } = this.#options;
		while (!signal.aborted) {
			try {
				await this.#flusher.run(signal);
			} catch (error) {
				log.error({ err: messageOf(error) }, "flushing is stopped for a moment");
				await clock.sleep(RESTART_WAIT_MS, signal);
			}
		}
	}

	/** Whether OpenCode's own server is heard; why not is said once. */
	#isConnected(): boolean {
		const { doorbell, url } = this.#options.opencode ?? {};
		if (doorbell === undefined || doorbell.problem === this.#doorbellProblem) return doorbell?.connected ?? false;
		this.#doorbellProblem = doorbell.problem;
		if (doorbell.problem !== undefined)
			this.#options.log.warn({ url, err: doorbell.problem }, "OpenCode's server is not heard; its database is polled");
		return doorbell.connected;
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

	/** Looks when OpenCode rings; what only its API tells is asked for once a turn or an undo has ended. */
	async #hear(doorbell: Doorbell, extras: ServerExtras | undefined, capture: Capture): Promise<void> {
		const { signal } = this.#capturing;
		const { log } = this.#options;
		for await (const { session_id, directory, settled } of doorbell.rings(signal)) {
			try {
				this.#watcher.ring();
				if (!extras || !settled || session_id === undefined || directory === undefined) continue;
				// A turn's end comes long after its session was captured, but for a session that has only just been made.
				if (!this.outbox.isCaptured(session_id, keys.session)) await this.#watcher.pass(signal);
				if (!this.outbox.isCaptured(session_id, keys.session)) continue;
				const models = this.#watcher.source?.models(session_id) ?? [];
				const states = await extras.extras(session_id, directory, { models, signal });
				if (!signal.aborted && capture.appendState(session_id, states)) this.#flusher.wake();
			} catch (error) {
				log.debug({ session: session_id, err: messageOf(error) }, "a doorbell led to nothing; the poll goes on");
			}
		}
	}

	#truth(sessionId: string): Truth | undefined {
		const { source } = this.#watcher;
		if (source === undefined) throw new OutboxError("no_source", "OpenCode's database is not open.");
		const snapshot = source.snapshot(sessionId);
		if (snapshot === undefined) return undefined;
		const entities = snapshot.entities.filter((entity): entity is Change => !isPoison(entity));
		const unreadable = new Set(snapshot.entities.filter(isPoison).map((entity) => entity.key));
		return { entities, unreadable, watermark: snapshot.to };
	}
}

/** Writes; once more when the disk was full, since the room has given its ballast up by then. */
function insist(write: () => void): void {
	try {
		write();
	} catch (error) {
		if (!isFull(error)) throw error;
		write();
	}
}
