import { dirname } from "node:path";
import { messageOf, OutboxError } from "../model/errors.ts";
import type { Logger } from "../model/logger.ts";
import { type Ballast, type BallastState, disk } from "../outbox/ballast.ts";
import type { Outbox } from "../outbox/outbox.ts";

/** Below this share of the limit capture goes on, so that it does not start and stop with every ack. */
const GOES_ON_BELOW = 0.9;
/** What capture leaves free on the disk beside what a checkpoint may need, in bytes. */
const SPARE_BYTES = 512 * 1024;
/** A WAL of this size is moved into the file at the next look, in bytes, so that its room is known to be free. */
const WAL_BYTES = 1024 * 1024;
/** So much of the file may be free for good, in bytes. */
const FREE_BYTES = 1024 * 1024;
/** Retention steps in one look while capture waits for room. */
const STEPS_AT_ONCE = 10;

export interface RoomOptions {
	readonly outbox: Outbox;
	/** What the outbox's files may take before capture pauses, in bytes. */
	readonly maxBytes: number;
	/** Undefined beside an agent, whose ballast it is. */
	readonly ballast: Ballast | undefined;
	readonly log: Logger;
}

/**
 * Sees to it that there is room for acks and checkpoints: capture alone ever waits, since OpenCode keeps the events.
 *
 *     open --- limit reached, disk short, ballast given up ---> waiting
 *       ^                                                          |
 *       +------ below 90 % of the limit, ballast made again -------+
 */
export class Room {
	readonly #options: RoomOptions;
	#waits = false;
	#shrinks = false;
	#ballast: BallastState = "none";
	#told = false;

	constructor(options: RoomOptions) {
		this.#options = options;
		const { outbox, ballast } = options;
		outbox.onTrouble((trouble, _error, verb) => {
			// What capture cannot write stays in OpenCode; everything else is on the way to making room.
			if (trouble === "full" && verb !== "append" && ballast) this.#giveUp(ballast);
		});
		this.#ensure();
	}

	/**
	 * Lets capture write about `bytes` more.
	 *
	 * @throws OutboxError outbox_full, disk_full: nothing more is to be captured now.
	 */
	admit(bytes: number, now: number): void {
		const { outbox, maxBytes } = this.#options;
		const waited = this.#waits;
		if (waited) this.tidy(now);
		this.#waits = true;
		if (outbox.size().wal > WAL_BYTES) outbox.checkpoint();
		const { live, wal } = outbox.size();
		const used = live + wal;
		if (used >= (waited ? maxBytes * GOES_ON_BELOW : maxBytes))
			throw new OutboxError("outbox_full", `The outbox takes ${mib(used)} of the ${mib(maxBytes)} that it may.`);
		if (this.#ballast === "given_up") this.#ensure();
		if (this.#ballast === "given_up")
			throw new OutboxError("disk_full", "The disk that holds the outbox is full; what it has left is for acks.");
		// The ops go into the WAL first and then into the file, before the WAL's room is free again.
		const needed = wal + 2 * bytes + (waited ? 2 : 1) * SPARE_BYTES;
		const { free } = disk(dirname(outbox.path));
		if (free < needed)
			throw new OutboxError(
				"disk_full",
				`The disk that holds the outbox has ${mib(free)} free; capture needs ${mib(needed)}.`,
			);
		this.#waits = false;
	}

	/**
	 * Gives room back: a WAL that has grown, pages that are free, and, while capture waits, every op that is acknowledged,
	 * though a share could be rebuilt from it.
	 */
	tidy(now: number): void {
		const { outbox } = this.#options;
		if (this.#waits) for (let step = 0; step < STEPS_AT_ONCE && outbox.retain(now, 0).more; step++);
		const { live, free, wal } = outbox.size();
		// Pages that are free are used again: only many of them are worth moving others, and then all but a few are given back.
		this.#shrinks = free > (this.#shrinks ? FREE_BYTES : Math.max(live / 3, FREE_BYTES));
		if (this.#shrinks || (this.#waits && free > 0)) outbox.shrink();
		if (wal > WAL_BYTES || this.#waits) outbox.checkpoint();
	}

	#ensure(): void {
		const { ballast, log } = this.#options;
		if (ballast === undefined) return;
		try {
			this.#ballast = ballast.ensure(SPARE_BYTES);
		} catch (error) {
			this.#ballast = "none";
			this.#tell({ err: messageOf(error) });
			return;
		}
		if (this.#ballast === "none") this.#tell({ err: "the disk is too small for it" });
		else if (this.#ballast === "there") log.debug({ path: ballast.path }, "the ballast is there");
	}

	#tell(facts: object): void {
		if (this.#told) return;
		this.#told = true;
		this.#options.log.warn(facts, "there is no ballast: on a full disk acks may have to wait until space is freed");
	}

	#giveUp(ballast: Ballast): void {
		if (this.#ballast !== "there") return;
		this.#ballast = "given_up";
		this.#waits = true;
		const { log } = this.#options;
		try {
			ballast.giveUp();
			log.warn({ path: ballast.path }, "the disk is full; the ballast is given up so that acks can be written");
		} catch (error) {
			log.error({ path: ballast.path, err: messageOf(error) }, "the ballast could not be given up");
		}
	}
}

function mib(bytes: number): string {
	return `${(bytes / (1024 * 1024)).toFixed(1)} MiB`;
}
