import type { Clock } from "../model/clock.ts";
import { asOutboxError, messageOf } from "../model/errors.ts";
import type { Logger } from "../model/logger.ts";
import type { Outbox } from "../outbox/outbox.ts";
import type { Source } from "../source/source.ts";
import { asStorageError } from "../sqlite/errors.ts";
import type { Capture } from "./capture.ts";
import type { AgentMeter } from "./meter.ts";
import type { Room } from "./room.ts";
import { Signal } from "./signal.ts";

/**
 * Between two looks that a doorbell asks for, in ms. The first ring is answered at once; a turn rings some twenty times
 * within a tenth of a second, and a look for each would take the processor and the disk from OpenCode (G7).
 */
const RING_GAP_MS = 100;
/** After a failed pass: a full disk or a locked database does not mend within a poll, in ms. */
const TROUBLE_WAIT_MS = 5000;
/** How soon another process that asks for something is heard, in ms, however seldom OpenCode is looked at. */
const ASKED_MS = 500;
/** How often acknowledged ops are looked through for what may go, in ms. */
const RETENTION_EVERY_MS = 60_000;

export interface WatcherOptions {
	readonly outbox: Outbox;
	readonly capture: Capture;
	readonly room?: Room | undefined;
	/** Opens the way into OpenCode; called again after trouble. Throws no_source while there is none. */
	readonly openSource: () => Promise<Source>;
	/** How long nothing is looked at without a doorbell, in ms. */
	readonly pollMs: number;
	/** Whether OpenCode's own server is heard; for `status`. */
	readonly isConnected: () => boolean;
	/** Called when there may be work for the flusher. */
	readonly onNews: () => void;
	readonly meter?: AgentMeter | undefined;
	readonly clock: Clock;
	readonly log: Logger;
}

/** Keeps the outbox level with OpenCode: looks when a doorbell rings, and every `pollMs` in case none does (G1). */
export class Watcher {
	readonly #options: WatcherOptions;
	readonly #doorbell = new Signal();
	#source: Source | undefined;
	#pass: Promise<void> = Promise.resolve();
	#due = true;
	#rung = false;
	#trouble = "";
	#notice: string | undefined;
	#seenVersion = -1;
	#retainedAt = 0;

	constructor(options: WatcherOptions) {
		this.#options = options;
	}

	/** Something may have changed: look now. */
	ring(): void {
		this.#due = true;
		this.#rung = true;
		this.#doorbell.notify();
	}

	/** The open source, for looking at OpenCode's present state; undefined while there is none. */
	get source(): Source | undefined {
		return this.#source;
	}

	/** Runs until `signal` is aborted. Trouble is reported and outwaited; OpenCode keeps the events meanwhile. */
	async run(signal: AbortSignal): Promise<void> {
		const { pollMs, clock } = this.#options;
		while (!signal.aborted) {
			this.#rung = false;
			const lookedAt = clock.now();
			const waitMs = await this.#look(signal).then(
				() => pollMs,
				(error: unknown) => this.#report(error),
			);
			this.#tidy();
			await this.#untilCalled(signal, waitMs);
			const early = this.#rung ? lookedAt + RING_GAP_MS - clock.now() : 0;
			if (early > 0) await clock.sleep(Math.min(early, RING_GAP_MS), signal);
		}
		this.close();
	}

	/** Waits for the doorbell, for another process that asks for something, or for `waitMs`. */
	async #untilCalled(signal: AbortSignal, waitMs: number): Promise<void> {
		for (let left = waitMs; left > 0 && !this.#rung && !this.#isAsked() && !signal.aborted; left -= ASKED_MS)
			await this.#doorbell.wait(signal, Math.min(left, ASKED_MS), this.#options.clock);
	}

	/** True when another process has written to the outbox since the last look. */
	#isAsked(): boolean {
		try {
			return this.#options.outbox.version() !== this.#seenVersion;
		} catch {
			// The next look will tell what is wrong.
			return false;
		}
	}

	/** Captures all there is now, whether or not anything seems new. Throws what stands in the way. */
	async pass(signal: AbortSignal): Promise<void> {
		this.#due = true;
		await this.#look(signal);
	}

	close(): void {
		this.#source?.close();
		this.#source = undefined;
	}

	/** One pass at a time, in the order they were asked for. */
	#look(signal: AbortSignal): Promise<void> {
		const next = this.#pass.then(() => this.#lookNow(signal));
		this.#pass = next.catch(() => undefined);
		return next;
	}

	async #lookNow(signal: AbortSignal): Promise<void> {
		const { outbox, capture, openSource, onNews, meter, clock } = this.#options;
		const lookedAt = clock.now();
		const version = outbox.version();
		// Another process appended, or asked for something (share, unshare, flush).
		const asked = version !== this.#seenVersion;
		this.#seenVersion = version;
		// Even when OpenCode cannot be read: to unshare, and to send what is pending, takes no OpenCode.
		if (asked) onNews();
		this.#source ??= await openSource();
		if (this.#due || asked || this.#source.changed()) {
			this.#due = false;
			// What was captured before something stood in the way is sent all the same; it may be what makes room again.
			await capture.pass(this.#source, signal, onNews).finally(onNews);
			// Only now: a database that replaced another must not be believed about what it lacks before it was read whole.
			if (!signal.aborted) outbox.say({ opencode_identity: this.#source.identity }, clock.now());
			this.#tellNotice(this.#source.notice);
		}
		if (this.#trouble !== "") {
			this.#options.log.info({}, "capture goes on");
			outbox.say({ last_error: null }, clock.now());
		}
		this.#trouble = "";
		if (!signal.aborted) meter?.level(lookedAt);
		// Below whatever else is the matter.
		if (this.#notice !== undefined && outbox.agent()?.last_error == null)
			outbox.say({ last_error: this.#notice }, clock.now());
		outbox.say({ capture_paused: null }, clock.now());
		outbox.say({ opencode_connected: this.#options.isConnected() }, clock.now());
		if (outbox.agent()?.state !== "draining") outbox.say({ state: "running" }, clock.now());
	}

	/** Says once what the source leaves out. */
	#tellNotice(notice: string | undefined): void {
		const { outbox, log, clock } = this.#options;
		if (notice === this.#notice) return;
		if (outbox.agent()?.last_error === this.#notice) outbox.say({ last_error: null }, clock.now());
		this.#notice = notice;
		if (notice !== undefined) log.warn({}, notice);
	}

	/** Lets go of what is not needed any more, a step at a time; most of all while capture waits for the room. */
	#tidy(): void {
		const { outbox, room, clock, log } = this.#options;
		try {
			if (clock.now() - this.#retainedAt >= RETENTION_EVERY_MS) {
				const { more } = outbox.retain(clock.now());
				this.#retainedAt = more ? 0 : clock.now();
			}
			room?.tidy(clock.now());
		} catch (error) {
			log.debug({ err: messageOf(error) }, "nothing was tidied");
		}
	}

	/** Says what is wrong, once, and returns how long to wait before looking again. */
	#report(thrown: unknown): number {
		const { outbox, clock, log, pollMs } = this.#options;
		const error = asOutboxError(asStorageError(thrown, "The outbox"));
		this.#due = true;
		this.close();
		// What a message measures changes from look to look.
		const isRoom = error.code === "outbox_full" || error.code === "disk_full";
		const trouble = isRoom ? error.code : error.message;
		if (trouble !== this.#trouble) {
			this.#trouble = trouble;
			const facts = { code: error.code, err: error.message, hint: error.hint };
			if (error.code === "no_source") log.info(facts, "waiting for OpenCode");
			else if (isRoom) log.warn(facts, "capture is paused; OpenCode keeps the events");
			else log.error(facts, "capture is stopped");
			try {
				const state = error.code === "no_source" ? "waiting" : "running";
				const isOpencodes = state === "running" && error.message.includes(outbox.agent()?.opencode_db ?? "\0");
				const capture_paused = isRoom || isOpencodes || error.code === "denied" ? error.code : null;
				outbox.say({ state, last_error: error.message, capture_paused }, clock.now());
			} catch {
				// The disk that holds the outbox is the trouble; it was logged.
			}
		}
		return error.code === "no_source" ? Math.max(pollMs, 1000) : TROUBLE_WAIT_MS;
	}
}
