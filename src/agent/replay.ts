import type { Random } from "../model/clock.ts";
import { OutboxError } from "../model/errors.ts";
import type { ReservedBatch } from "../outbox/reserve.ts";
import type { SealLimits } from "../outbox/seal.ts";
import type { RedeemedShare } from "../transport/transport.ts";
import { decide, type Outcome } from "./decide.ts";
import { Failure, failureOf } from "./failure.ts";
import { type Flight, launch } from "./flight.ts";
import { Redeemer, type RedeemerOptions } from "./redeemer.ts";
import { Setbacks } from "./setbacks.ts";
import { isFromEarlier, type Verdict, verdictOf } from "./verdict.ts";

/**
 * Batches under way at once on a connection before a session may add a second one of its own: whatever is sent next has
 * to wait behind them (G5). Over HTTP the order of arrival is not kept, so there it is one.
 */
const WINDOW = { websocket: 4, "http-batch": 1 } as const;
/** The same for their payload bytes; capnweb has no backpressure of its own. */
const WINDOW_BYTES = 4 * 1024 * 1024;
/** Batches that a session may send before its turn can be over: a full window. */
const BATCHES_PER_TURN = 4;
/**
 * How long a batch is ours, in ms: longer than any call lasts, even of a full window over the slowest link that is served.
 * A crash does not wait for it, since the next owner of the outbox recovers all leases.
 */
const LEASE_MS = 1_800_000;

/** How long sealing and acks wait for what was sent to leave, in ms: compressing is a matter of a few, a slow link of minutes. */
const LEAVING_MS = 100;

export type FlushEnd = "done" | "turn_over" | "failed" | "refused";

/**
 * Ops in a batch, and their payload bytes, while several sessions share the connection: a full batch is work for tens of
 * milliseconds on either side, and nobody else is served meanwhile (G5). From 100 ops on the cost per op is flat.
 */
const SHARED_BATCH = { ops: 100, bytes: 256 * 1024 };
/** How long the connection counts as shared after another session has sent, in ms. */
const SHARED_MS = 2000;

/** What a line of the log is about. */
interface About {
	readonly session: string;
	readonly share: string;
	readonly batch: string;
}

/** An ack that is not written down yet: everything below the cursor is at the server. */
interface Answered {
	readonly about: About;
	readonly cursor: number;
}

/** What a session has sent since its turn began, and whether it must end once it has had it. */
interface Turn {
	batches: number;
	readonly mustEnd: () => boolean;
}

export interface ReplayOptions extends RedeemerOptions {
	/** Whom leases are given to; one per process. */
	readonly owner: string;
	/** Sessions whose last attempt failed, and how: what is the same again is said once. Outlives the connection. */
	readonly failing: Map<string, string>;
	readonly random: Random;
}

/**
 * Replays sessions over one connection: redeem (agent/redeemer.ts), seal, send, acknowledge.
 *
 *     redeemed -> send <-> ack ... -> nothing left
 *        ^          |
 *        +- fence - + an op refused
 *        |          | unknown: noted in the outbox, with when to try again
 *     next flush <- +
 *
 * One call of `flush` per session at a time.
 */
export class Replay {
	readonly #options: ReplayOptions;
	readonly #redeemer: Redeemer;
	readonly #setbacks: Setbacks;
	/** Of all sessions; one Replay per connection. */
	readonly #underWay = { batches: 0, bytes: 0 };
	/** Who sent last, and until when the connection counts as shared. */
	#last: { sessionId: string; sharedUntil: number } | undefined;

	constructor(options: ReplayOptions) {
		this.#options = options;
		this.#redeemer = new Redeemer(options);
		this.#setbacks = new Setbacks(options, this.#redeemer);
	}

	/** The session's share, where it is redeemed on this connection. */
	held(sessionId: string): RedeemedShare | undefined {
		return this.#redeemer.held(sessionId);
	}

	/**
	 * Brings a session's pending ops to the server, or notes in the outbox why not and when to try again.
	 *
	 * @param mustEnd asked once the session has had its turn: true when there may be others whose turn it is.
	 * @returns "done", "turn_over" (there may be more), "failed" (it is in the outbox how), or "refused" when the server
	 * lets no session in.
	 * @throws OutboxError what the local disk threw; nothing is lost.
	 */
	async flush(sessionId: string, signal: AbortSignal, mustEnd = () => false): Promise<FlushEnd> {
		const { outbox } = this.#options;
		const turn = { batches: 0, mustEnd };
		try {
			// One flush per session at a time: a lease from before is of a flush that failed on its way to the disk.
			outbox.release(sessionId);
			const { wanted, held, unconfirmed } = outbox.line(sessionId) ?? {};
			if (held) return "done";
			if (wanted === "unshare" || wanted === "delete") {
				await this.#redeemer.unshare(sessionId);
				return "done";
			}
			if (unconfirmed) this.#redeemer.drop(sessionId);
			// A seal that a rejection has undone starts this over.
			while (!signal.aborted && !isOver(turn)) {
				const handle = await this.#redeemer.redeemed(sessionId);
				if ((await this.#send(sessionId, handle, turn, signal)) === "done") break;
			}
			if (unconfirmed && !signal.aborted) outbox.confirm(sessionId);
			if ((outbox.line(sessionId)?.attempts ?? 0) > 0) outbox.settle(sessionId);
			if (!signal.aborted) this.#setbacks.recovered(sessionId);
			return isOver(turn) ? "turn_over" : "done";
		} catch (error) {
			if (!(error instanceof Failure)) throw error;
			return this.#setbacks.note(sessionId, error);
		}
	}

	/**
	 * Sends until nothing is left or the turn is over ("done"), or until positions have changed ("redeem").
	 *
	 * Nothing waits for the disk while the window is not full: the next batch is sealed and leased while those before it are
	 * under way, leaves when one of them is answered, and only then is that ack written down. An ack that a crash keeps from
	 * being written is a lost reply like any other.
	 */
	async #send(sessionId: string, handle: RedeemedShare, turn: Turn, signal: AbortSignal): Promise<"done" | "redeem"> {
		const { outbox, owner, clock, connection } = this.#options;
		const flights: Flight[] = [];
		let ready: ReservedBatch | undefined;
		let answered: Answered | undefined;
		let leasedAt = clock.now();
		try {
			for (;;) {
				// Asked to unshare, or left out by the rules meanwhile: what is under way is the last that goes out.
				const { wanted, held } = outbox.line(sessionId) ?? {};
				const goesOn = () => wanted !== "unshare" && wanted !== "delete" && !held && !signal.aborted && !isOver(turn);
				while (goesOn() && (flights.length === 0 || this.#hasRoom())) {
					const reserved = ready ?? this.#next(sessionId, handle);
					ready = undefined;
					if (reserved === undefined) break;
					flights.push(this.#launch(reserved, handle));
					turn.batches++;
				}
				const isFull = !this.#hasRoom() && this.#underWay.bytes < WINDOW_BYTES;
				if (isFull && goesOn() && ready === undefined) {
					// Sealing holds up the event loop, which what has just been sent may need to leave.
					await Promise.race([connection.written(), clock.sleep(LEAVING_MS, signal)]);
					ready = this.#next(sessionId, handle, answered);
				} else if (answered) this.#ack(answered);
				answered = undefined;
				const flight = flights.shift();
				if (flight === undefined) {
					if (ready) outbox.release(sessionId);
					return "done";
				}
				const verdict = await this.#verdict(sessionId, flight);
				const about = { session: sessionId, share: handle.redemption.share_id, batch: flight.batch.batch_id };
				if (verdict.rejected) {
					this.#ack({ about, cursor: verdict.cursor });
					await Promise.all(flights.map((other) => other.answer));
					await this.#reject(about, handle, verdict.rejected);
					return "redeem";
				}
				answered = { about, cursor: verdict.cursor };
				if (flights.length > 0 && clock.now() - leasedAt > LEASE_MS / 2) {
					leasedAt = clock.now();
					outbox.extend(sessionId, owner, LEASE_MS, leasedAt);
				}
			}
		} finally {
			await Promise.all(flights.map((flight) => flight.answer));
		}
	}

	/** What the server has decided about a batch. */
	async #verdict(sessionId: string, { answer, batch }: Flight): Promise<Verdict> {
		const answered = await answer;
		if ("error" in answered) throw failureOf("use", answered.error);
		const { ack } = answered;
		if (isFromEarlier(batch, ack))
			throw new Failure("use", "cursor_conflict", "it has some of these ops already, at other positions");
		const verdict = verdictOf(batch, ack);
		if (verdict === undefined) throw new Failure("use", "unknown", "the ack's cursor lies before its own ops");
		// A cursor beyond all that was sealed here is another writer's doing, and it may have overtaken us by more than
		// the server's ledger remembers: then even "duplicate" proves nothing. Nothing is acked on its word.
		if (ack.cursor > (this.#options.outbox.line(sessionId)?.sealed_cursor ?? 0))
			throw new Failure("use", "cursor_conflict", "another writer has appended to this share");
		return verdict;
	}

	#ack({ about, cursor }: Answered): void {
		const { outbox, clock, log } = this.#options;
		const ops = outbox.ack(about.session, cursor, clock.now());
		log.debug({ ...about, ops, cursor }, "a batch was acknowledged");
	}

	#hasRoom(): boolean {
		const { batches, bytes } = this.#underWay;
		return batches < WINDOW[this.#options.connection.kind] && bytes < WINDOW_BYTES;
	}

	#limits({ redemption: { limits } }: RedeemedShare, now: number): SealLimits {
		if (this.#last === undefined || now > this.#last.sharedUntil) return limits;
		const ops_per_batch = Math.min(limits.ops_per_batch, SHARED_BATCH.ops);
		return { ...limits, ops_per_batch, batch_bytes: Math.min(limits.batch_bytes, SHARED_BATCH.bytes) };
	}

	#launch(reserved: ReservedBatch, handle: RedeemedShare): Flight {
		const { session_id: sessionId } = reserved;
		const isOther = this.#last !== undefined && this.#last.sessionId !== sessionId;
		const sharedUntil = isOther ? this.#options.clock.now() + SHARED_MS : (this.#last?.sharedUntil ?? 0);
		this.#last = { sessionId, sharedUntil };
		const flight = launch(reserved, handle);
		const { meter, log } = this.#options;
		const { batch_id, ops, attempts, first_position } = reserved;
		const facts = { session: sessionId, share: handle.redemption.share_id, batch: batch_id };
		log.debug({ ...facts, ops: ops.length, position: first_position, attempts }, "a batch is sent");
		meter?.sent(flight.bytes);
		const count = (batches: number) => {
			this.#underWay.batches += batches;
			this.#underWay.bytes += batches * flight.bytes;
		};
		count(1);
		void flight.answer.then((answer) => {
			count(-1);
			if ("ack" in answer) meter?.answered(answer.ms, answer.ack);
			else meter?.unanswered();
		});
		return flight;
	}

	/** @param about what the log says of the batch. */
	async #reject(
		about: About,
		handle: RedeemedShare,
		rejected: { position: number; code: Outcome; reason: string },
	): Promise<void> {
		const { outbox, clock, random, log } = this.#options;
		const { position, code, reason } = rejected;
		if (decide("use", code, 1, random).action !== "bury") throw new Failure("use", code, reason);
		const { session: sessionId } = about;
		await this.#redeemer.fence(sessionId, handle);
		const letters = outbox.reject(sessionId, position, code, reason, clock.now());
		log.warn({ ...about, code, reason, dead: letters }, "the server refuses an op; it was set aside");
	}

	/**
	 * The next batch to send, sealing one when none is waiting; counts the attempt in the same transaction, and writes down
	 * what was answered before.
	 */
	#next(sessionId: string, handle: RedeemedShare, answered?: Answered): ReservedBatch | undefined {
		const { outbox, owner, clock, log } = this.#options;
		const now = clock.now();
		try {
			return outbox.transaction(() => {
				if (answered) this.#ack(answered);
				const waiting = outbox.reserve(sessionId, owner, LEASE_MS, now);
				if (waiting) return waiting;
				for (;;) {
					const { sealed, buried } = outbox.seal(sessionId, this.#limits(handle, now), now);
					if (buried.length > 0)
						log.warn(
							{ session: sessionId, share: handle.redemption.share_id, dead: buried },
							"ops over the server's limit were set aside",
						);
					if (sealed > 0) return outbox.reserve(sessionId, owner, LEASE_MS, now);
					if (buried.length === 0) return undefined;
				}
			});
		} catch (error) {
			if (!(error instanceof OutboxError) || error.code !== "corrupt") throw error;
			log.error({ session: sessionId, err: error.message }, "stored ops are damaged; the session will be compared");
			outbox.mustCompare(sessionId, error.message);
			throw new Failure("use", "unknown", error.message, { override: { action: "reconcile", code: error.code } });
		}
	}
}

function isOver({ batches, mustEnd }: Turn): boolean {
	return batches >= BATCHES_PER_TURN && mustEnd();
}
