import { monotonicFactory } from "ulid";
import type { Clock } from "../model/clock.ts";
import { messageOf } from "../model/errors.ts";
import { canonicalJson } from "../model/json.ts";
import type { Logger } from "../model/logger.ts";
import type { CheckpointBase } from "../outbox/checkpoint.ts";
import type { Outbox } from "../outbox/outbox.ts";
import { DELTA_CHARS_MAX, LIMITS } from "../protocol/limits.ts";
import { grown, isFinal } from "../protocol/live.ts";
import { refusalOf } from "../protocol/refusal.ts";
import type { LiveText } from "../source/doorbell.ts";
import type { RedeemedShare } from "../transport/transport.ts";
import { type LivePart, LiveParts } from "./live-parts.ts";
import { Signal } from "./signal.ts";

/** Between two deltas of one part, in ms: below what anybody notices, and a fraction of what a model streams. */
const COALESCE_MS = 50;
/** Deltas that wait for their answer at once, over all sessions: what is flushed waits behind them (G5). */
const IN_FLIGHT_MAX = 4;
/** Characters of one delta. */
const DELTA_CHARS = Math.min(16 * 1024, DELTA_CHARS_MAX);
/** Of a part that the connection is further behind with, in characters, the rest is left out; the next checkpoint has it. */
const LAG_CHARS_MAX = 64 * 1024;
/**
 * What checkpoints of one part may cost, in bytes per ms: each holds the whole text, so that of a large one fewer are made.
 * Up to 256 KiB of text, some eight hours of what a model streams, the interval is the one that was set.
 */
const CHECKPOINT_BYTES_PER_MS = 128;

/** How long a part is tried again that is not captured yet, after it was heard of last, in ms. */
const CAPTURE_MS_MAX = 30_000;

/** What is done with text that streams. */
export interface LiveOptions {
	/** Text is in the outbox at most this long after it was heard, and each part at most once in this time, in ms. 0: never. */
	readonly checkpointMs: number;
}

export interface LiveLaneOptions extends LiveOptions {
	readonly outbox: Outbox;
	/** The session's share, where it is redeemed at present; nothing is redeemed or made for live text. */
	readonly held: (sessionId: string) => RedeemedShare | undefined;
	/** Asked before something is written; throws while there is no room. */
	readonly admit: (bytes: number) => void;
	/** Called when there is work for the flusher. */
	readonly onNews: () => void;
	readonly clock: Clock;
	readonly log: Logger;
}

/**
 * Brings text that streams to those who watch, and what has been shown into the outbox.
 *
 *     heard -+- every 50 ms --> publishDelta (never stored, dropped where the connection is slow)
 *            +- within checkpointMs --> an op over what OpenCode has committed of the part (outbox/checkpoint.ts)
 *
 * Several doorbells may hear the same text: each piece says where it belongs, and what is there already is not told again.
 */
export class LiveLane {
	readonly #options: LiveLaneOptions;
	readonly #parts = new LiveParts();
	readonly #news = new Signal();
	readonly #due = new Signal();
	readonly #ulid = monotonicFactory();
	/** Shares whose server does not take deltas. */
	readonly #mute = new WeakSet<RedeemedShare>();
	#inFlight = 0;

	constructor(options: LiveLaneOptions) {
		this.#options = options;
	}

	/** A piece of text, from any doorbell. O(1); never throws. */
	hear(live: LiveText): void {
		const { checkpointMs, clock } = this.#options;
		if (live.delta === "") return;
		const now = clock.now();
		const part = this.#parts.hear(live, now);
		if (part === undefined) return;
		this.#news.notify();
		if (checkpointMs === 0 || part.dueAt !== undefined) return;
		part.dueAt = this.#nextAt(part, now);
		this.#due.notify();
	}

	/** Until `signal` is aborted. Never rejects. */
	async run(signal: AbortSignal): Promise<void> {
		await Promise.all([this.#publishing(signal), this.#checkpointing(signal)]);
	}

	/** Puts into the outbox what is not there yet. */
	settle(): void {
		for (const part of [...this.#parts.all()]) if (part.dueAt !== undefined) this.#checkpoint(part);
	}

	async #publishing(signal: AbortSignal): Promise<void> {
		const { clock } = this.#options;
		while (!signal.aborted) {
			await this.#news.wait(signal);
			for (const part of this.#parts.all()) this.#publish(part);
			await clock.sleep(COALESCE_MS, signal);
		}
	}

	#publish(part: LivePart): void {
		const { session_id, key, field, run } = part;
		const end = run.offset + run.text.length;
		if (part.published >= end) return;
		const share = this.#options.held(session_id);
		const isBehind = end - part.published > LAG_CHARS_MAX;
		if (share === undefined || this.#mute.has(share)) {
			// Whoever begins to watch now gets it from what is stored.
			if (isBehind) part.published = end;
			return;
		}
		while (part.published < end && this.#inFlight < IN_FLIGHT_MAX) {
			const at = part.published - run.offset;
			const delta = run.text.slice(at, at + DELTA_CHARS);
			this.#send(share, { key, field, offset: part.published, delta });
			part.published += delta.length;
		}
		if (isBehind && part.published < end) part.published = end;
	}

	#send(share: RedeemedShare, delta: Parameters<RedeemedShare["publishDelta"]>[0]): void {
		this.#inFlight++;
		share
			.publishDelta(delta)
			.catch((error: unknown) => {
				const refusal = refusalOf(error);
				if (refusal && refusal.code !== "busy") this.#mute.add(share);
				this.#options.log.debug({ key: delta.key, err: messageOf(error) }, "a delta was not published");
			})
			.finally(() => {
				this.#inFlight--;
				this.#news.notify();
			});
	}

	async #checkpointing(signal: AbortSignal): Promise<void> {
		const { clock } = this.#options;
		while (!signal.aborted) {
			const now = clock.now();
			let wait: number | undefined;
			for (const part of [...this.#parts.all()]) if ((part.dueAt ?? now + 1) <= now) this.#checkpoint(part);
			for (const part of this.#parts.all()) {
				if (part.dueAt === undefined) continue;
				// A clock that was set back must not put it off for as long.
				part.dueAt = Math.min(part.dueAt, now + this.#intervalMs(part));
				wait = Math.min(wait ?? Number.POSITIVE_INFINITY, Math.max(1, part.dueAt - now));
			}
			await this.#due.wait(signal, wait, clock);
		}
	}

	#checkpoint(part: LivePart): void {
		const { outbox, admit, onNews, clock, log } = this.#options;
		const now = clock.now();
		part.checkpointAt = now;
		try {
			let isEarly = false;
			const grow = (base: CheckpointBase) => {
				isEarly = part.since !== undefined && isEvent(base.op_id) && base.op_id < part.since;
				const text = isEarly ? undefined : this.#grow(part, base);
				// Only now that it is known what the text continues: by the time that there is room, OpenCode may have another state.
				if (text !== undefined) admit(3 * part.run.text.length);
				return text;
			};
			const result = outbox.checkpointText(part.session_id, part.key, this.#ulid(now), grow, now);
			if (result === "written") onNews();
			// What the text continues is not captured yet.
			const isTriedAgain = (result === "unfit" || isEarly) && now - part.heardAt < CAPTURE_MS_MAX;
			part.dueAt = isTriedAgain ? this.#nextAt(part, now) : undefined;
		} catch (error) {
			// Not even what it continues could be looked up; at the next try that may be another state, which it fits by chance.
			if (part.committed === undefined) this.#parts.drop(part);
			else part.dueAt = this.#nextAt(part, now);
			log.debug({ key: part.key, err: messageOf(error) }, "text that streams was not put into the outbox");
		}
	}

	/** The part with what was heard of it; undefined where that is nothing, of the past, or too large. */
	#grow(part: LivePart, { payload, committed, op_id }: CheckpointBase): string | undefined {
		const { session_id, run, field, since } = part;
		const known = JSON.parse(payload) as Record<string, unknown>;
		const stored = known[field];
		part.committed ??= committed;
		const isPast = part.committed !== committed || (since !== undefined && isEvent(op_id) && op_id > since);
		if (isFinal(known) || isPast || typeof stored !== "string") {
			this.#parts.drop(part);
			return undefined;
		}
		const text = grown(stored, run);
		if (text === stored) return undefined;
		const grownTo = canonicalJson({ ...known, [field]: text });
		const most = this.#options.held(session_id)?.redemption.limits.op_bytes ?? LIMITS.op_bytes;
		return Buffer.byteLength(grownTo) <= most ? grownTo : undefined;
	}

	#nextAt(part: LivePart, now: number): number {
		const since = Math.min(part.checkpointAt ?? now, now);
		return Math.max(now, since + this.#intervalMs(part));
	}

	#intervalMs(part: LivePart): number {
		return Math.max(this.#options.checkpointMs, part.run.text.length / CHECKPOINT_BYTES_PER_MS);
	}
}

/** True for the id of an op that was made from an event; those of snapshots and checkpoints tell nothing of its place. */
function isEvent(opId: string): boolean {
	return opId.startsWith("evt_");
}
