import pRetry from "p-retry";
import { type Backoff, fullJitter } from "../model/backoff.ts";
import { messageOf, OutboxError } from "../model/errors.ts";
import type { Outbox } from "../outbox/outbox.ts";
import type { WorkRow } from "../outbox/session.ts";
import type { Connection, RedeemedShare, Transport } from "../transport/transport.ts";
import { SESSION_BACKOFF } from "./decide.ts";
import { Replay, type ReplayOptions } from "./replay.ts";
import type { ShareMode } from "./selection.ts";
import { Signal } from "./signal.ts";
import { Turns } from "./turns.ts";

/** How long a list of due sessions is worked through before it is looked up again, in ms. */
const LOOK_MS = 100;
/** Between attempts to connect: half a second at first, a minute at most, so that a dead server costs next to nothing. */
const CONNECT_BACKOFF: Backoff = { baseMs: 500, capMs: 60_000 };
/** How long HTTP batches are used before the WebSocket, which is cheaper, is tried again, in ms. */
const HTTP_AGE_MS_MAX = 600_000;
/** How long a session waits after the local disk would not take what was written, in ms. */
const DISK_WAIT_MS = 5000;
/** How long a server that refuses this agent's key is left alone, in ms. */
const REFUSED_WAIT_MS = 60_000;

export interface FlusherOptions extends Omit<ReplayOptions, "connection" | "failing"> {
	readonly transport: Transport;
	readonly mode: ShareMode;
}

/**
 * Keeps one connection to the share server while there is work, and flushes every session that is due over it.
 *
 *     idle -> connecting <-> waiting (due time in the outbox)
 *                 |  ^
 *                 v  | connection lost
 *              flushing -> idle
 */
export class Flusher {
	readonly #options: FlusherOptions;
	readonly #news = new Signal();
	/** Sessions being flushed. */
	readonly #active = new Map<string, Promise<void>>();
	readonly #turns = new Turns();
	#connection: Connection | undefined;
	#replay: Replay | undefined;
	/** True once a session got through on this connection. */
	#proven = false;
	readonly #failing = new Map<string, string>();
	/** Since when no connection is to be had, and why, as it was said; undefined while one is. */
	#away: { readonly since: number; readonly reason: string } | undefined;
	/** It was said that the server refuses the key. */
	#saidRefused = false;

	constructor(options: FlusherOptions) {
		this.#options = options;
	}

	/** There may be new work, or a due time was moved up. */
	wake(): void {
		this.#news.notify();
	}

	/** Runs until `signal` is aborted; then ends calls under way. Rejects only with what the local disk threw. */
	async run(signal: AbortSignal): Promise<void> {
		const { outbox } = this.#options;
		const stop = () => this.#connection?.close();
		signal.addEventListener("abort", stop);
		try {
			outbox.doubtLatest();
			while (!signal.aborted) {
				const [next] = this.work();
				const now = this.#options.clock.now();
				if (next === undefined) await this.#news.wait(signal);
				else if (isDue(next.next_retry_at, now, SESSION_BACKOFF)) await this.#serve(signal);
				else await this.#news.wait(signal, next.next_retry_at - now, this.#options.clock);
			}
		} finally {
			signal.removeEventListener("abort", stop);
			this.#connection?.close();
			await Promise.allSettled(this.#active.values());
			outbox.recover();
		}
	}

	/** True when nothing is left that can be sent: what remains is parked. */
	idle(): boolean {
		return this.#active.size === 0 && isDrained(this.#options.outbox, this.#options.mode);
	}

	/** The session's share, where it is redeemed on a connection that stays: over HTTP every call would be a request. */
	held(sessionId: string): RedeemedShare | undefined {
		return this.#connection?.kind === "websocket" ? this.#replay?.held(sessionId) : undefined;
	}

	work(): WorkRow[] {
		return sendable(this.#options.outbox, this.#options.mode);
	}

	/** Connects, and flushes until the connection ends or nothing is left to do for a while. */
	async #serve(signal: AbortSignal): Promise<void> {
		const { outbox, clock, log } = this.#options;
		const connection = await this.#connect(signal);
		if (connection === undefined) return;
		this.#connection = connection;
		const connectedAt = clock.now();
		const replay = new Replay({ ...this.#options, connection, failing: this.#failing });
		this.#replay = replay;
		const over = AbortSignal.any([signal, connection.closed]);
		over.addEventListener("abort", () => this.#news.notify(), { once: true });
		// Looking costs O(sessions): while many are due, once for all of them.
		this.#turns.clear();
		let nextAt = Number.POSITIVE_INFINITY;
		let lookedAt = Number.NEGATIVE_INFINITY;
		try {
			while (!over.aborted) {
				const now = clock.now();
				const isOld = connection.kind === "http-batch" && now - connectedAt > HTTP_AGE_MS_MAX;
				if (isOld && this.#active.size === 0) return;
				if (!this.#turns.isKnown || now - lookedAt >= LOOK_MS) {
					const work = this.work();
					const isReady = (row: { next_retry_at: number }) => isDue(row.next_retry_at, now, SESSION_BACKOFF);
					this.#turns.due(work.filter(isReady).map((row) => row.session_id));
					const isLater = (row: (typeof work)[number]) => !isReady(row) && !this.#active.has(row.session_id);
					nextAt = work.find(isLater)?.next_retry_at ?? Number.POSITIVE_INFINITY;
					lookedAt = now;
				}
				for (let next = this.#turns.take(); next !== undefined; next = this.#turns.take())
					this.#start(replay, next, over);
				const dueIn = this.#turns.isFull || nextAt === Number.POSITIVE_INFINITY ? undefined : nextAt - now;
				// Once it is old, only the end of a flush is waited for, which notifies.
				const ages = connection.kind === "http-batch" && !isOld;
				const oldIn = ages ? HTTP_AGE_MS_MAX - (now - connectedAt) + 1 : undefined;
				await this.#news.wait(over, dueIn ?? oldIn, clock);
			}
		} finally {
			connection.close();
			await Promise.allSettled(this.#active.values());
			this.#connection = undefined;
			this.#replay = undefined;
			if (!signal.aborted) {
				log.info({ transport: connection.kind, reason: messageOf(connection.closed.reason) }, "connection ended");
				const refused = outbox.agent()?.server_state === "refused";
				outbox.say({ server_state: refused ? "refused" : "unknown", transport: null }, clock.now());
				if (!this.#proven && !refused) this.#countFailure();
				// What was on the other side may have been put back to an earlier state meanwhile.
				outbox.doubtLatest();
			}
		}
	}

	#start(replay: Replay, sessionId: string, signal: AbortSignal): void {
		const { outbox, clock, log } = this.#options;
		let isDone = true;
		const flush = replay
			.flush(sessionId, signal, () => this.#turns.mustEnd(sessionId))
			.then((end) => {
				isDone = end !== "turn_over";
				if (end === "done" || end === "turn_over") this.#proveConnection();
				if (end !== "refused") return;
				const until = clock.now() + REFUSED_WAIT_MS;
				const last_error = "the server does not accept this agent's key";
				outbox.say({ server_state: "refused", next_connect_at: until, last_error }, clock.now());
				log[this.#saidRefused ? "debug" : "error"]({ next_connect_at: until }, `${last_error}; check the key file`);
				this.#saidRefused = true;
				this.#connection?.close();
			})
			.catch((error: unknown) => {
				// The local disk would not take it. The op is still where it was; try again when it may have room.
				log.error({ session: sessionId, err: messageOf(error) }, "the outbox could not be written");
				return clock.sleep(DISK_WAIT_MS, signal);
			})
			.finally(() => {
				this.#active.delete(sessionId);
				this.#turns.end(sessionId, isDone);
				// A turn of the event loop later, so that whatever goes wrong here never starves timers and signals.
				setImmediate(() => this.#news.notify());
			});
		this.#active.set(sessionId, flush);
	}

	/** A connection, or undefined when aborted. Waits out what is due first; never gives up. */
	async #connect(signal: AbortSignal): Promise<Connection | undefined> {
		const { outbox, transport, clock, log } = this.#options;
		await this.#untilDue(signal);
		if (signal.aborted) return undefined;
		try {
			const connection = await pRetry(() => transport.connect(signal), {
				retries: Number.POSITIVE_INFINITY,
				// The wait is ours, since its due time must survive a restart.
				minTimeout: 0,
				signal,
				onFailedAttempt: async ({ error }) => {
					if (signal.aborted) return;
					const wait = this.#countFailure();
					const isUntrusted = error instanceof OutboxError && error.code === "untrusted";
					const server_state = isUntrusted ? "untrusted" : "unreachable";
					outbox.say({ server_state, transport: null, last_error: error.message }, clock.now());
					const facts = { ...wait, err: error.message };
					// An outage is said once, however long it lasts; again when its reason changes.
					const isNews = this.#away?.reason !== error.message;
					this.#away = { since: this.#away?.since ?? clock.now(), reason: error.message };
					if (!isNews) log.debug(facts, "the share server is still away");
					else if (isUntrusted) log.error(facts, `the share server is not trusted; ${error.hint}`);
					else log.warn(facts, "the share server is not reachable");
					await this.#untilDue(signal);
				},
			});
			// The count of failed attempts is only forgotten once a session got through: a server that accepts and hangs up
			// must not be asked again at once.
			this.#proven = false;
			outbox.say({ server_state: "connected", last_error: null, transport: connection.kind }, clock.now());
			const { connect_attempts: attempts } = outbox.agent() ?? {};
			const away = this.#away && { after_ms: clock.now() - this.#away.since, attempts };
			this.#away = undefined;
			log.info({ transport: connection.kind, ...away }, "connected");
			return connection;
		} catch (error) {
			if (signal.aborted) return undefined;
			throw error;
		}
	}

	/** A session got through: the connection is as good as it looks. */
	#proveConnection(): void {
		if (this.#proven) return;
		this.#proven = true;
		this.#saidRefused = false;
		this.#options.outbox.say({ connect_attempts: 0, next_connect_at: 0 }, this.#options.clock.now());
	}

	/** Counts an attempt to connect that came to nothing, and says when the next is due. */
	#countFailure(): { attempts: number; next_connect_at: number } {
		const { outbox, meter, clock, random } = this.#options;
		meter?.retried("connect", "unreachable");
		const attempts = (outbox.agent()?.connect_attempts ?? 0) + 1;
		const next_connect_at = clock.now() + fullJitter(attempts, CONNECT_BACKOFF, random);
		outbox.say({ connect_attempts: attempts, next_connect_at }, clock.now());
		return { attempts, next_connect_at };
	}

	async #untilDue(signal: AbortSignal): Promise<void> {
		const { outbox, clock } = this.#options;
		for (;;) {
			const due = outbox.agent()?.next_connect_at ?? 0;
			const now = clock.now();
			if (isDue(due, now, CONNECT_BACKOFF) || signal.aborted) return;
			await this.#news.wait(signal, due - now, clock);
		}
	}
}

/** Sessions that have something to send and may be sent, soonest due first. */
export function sendable(outbox: Outbox, mode: ShareMode): WorkRow[] {
	return outbox.work().filter((row) => mode === "auto" || row.wanted !== "auto" || row.shared || row.follows);
}

/**
 * True when nothing is left that can be sent, and the server was asked whether it still has what it acknowledged last. A
 * server that is not to be had is not waited for where that question alone is left.
 */
export function isDrained(outbox: Outbox, mode: ShareMode): boolean {
	const work = sendable(outbox, mode);
	if (work.some((row) => row.pending && !row.halted)) return false;
	const state = outbox.agent()?.server_state;
	return work.every((row) => row.halted) || state === "unreachable" || state === "untrusted" || state === "refused";
}

/** A person asks: what earlier failures put off is due now; where nobody is connected, the server is found out anew. */
export function hurry(outbox: Outbox, now: number): void {
	outbox.hurry();
	const isConnected = outbox.agent()?.server_state === "connected";
	outbox.say({ next_connect_at: 0, ...(isConnected ? {} : { server_state: "unknown" }) }, now);
}

/** Due, or due so much later than any wait that is ever asked for that the clock must have been set back. */
function isDue(at: number, now: number, backoff: Backoff): boolean {
	return at <= now || at - now > 2 * backoff.capMs;
}
