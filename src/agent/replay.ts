import { randomBytes } from "node:crypto";
import { monotonicFactory } from "ulid";
import type { Clock, Random } from "../model/clock.ts";
import { OutboxError } from "../model/errors.ts";
import type { Logger } from "../model/logger.ts";
import type { Watermark } from "../model/op.ts";
import { type GrantedShare, isGranted } from "../outbox/grant.ts";
import type { Outbox } from "../outbox/outbox.ts";
import type { ReservedBatch } from "../outbox/reserve.ts";
import type { Connection, RedeemedShare } from "../transport/transport.ts";
import { compare, type EntityState, EVENTLESS } from "./compare.ts";
import { decide, type Outcome } from "./decide.ts";
import { attempt, Failure, failureOf } from "./failure.ts";
import { type Flight, launch } from "./flight.ts";
import { reconcile } from "./reconcile.ts";
import { verdictOf } from "./verdict.ts";
import { shareDigests } from "./verify.ts";

/** Batches of one session under way at once. Over HTTP the order of arrival is not kept, so there it is one. */
const WINDOW = { websocket: 4, "http-batch": 1 } as const;
/** Payload bytes of one session under way at once; capnweb has no backpressure of its own. */
const WINDOW_BYTES = 4 * 1024 * 1024;
/**
 * How long a batch is ours, in ms: longer than any call lasts, even of a full window over the slowest link that is served.
 * A crash does not wait for it, since the next owner of the outbox recovers all leases.
 */
const LEASE_MS = 600_000;

export interface ShareServer {
	/** What tells servers apart: `embedded`, or the base url. A grant is never shown to another server. */
	readonly id: string;
	/** Read for every use, so that a mended key file is seen. */
	readonly key: () => string;
}

export interface ReplayOptions {
	readonly outbox: Outbox;
	readonly connection: Connection;
	readonly server: ShareServer;
	/** Whom leases are given to; one per process. */
	readonly owner: string;
	/** The session as OpenCode has it now; undefined when OpenCode does not have it. */
	readonly truth: (sessionId: string) => { entities: readonly EntityState[]; watermark: Watermark | null } | undefined;
	readonly clock: Clock;
	readonly random: Random;
	readonly log: Logger;
}

/**
 * Replays sessions over one connection: redeem, reconcile, seal, send, acknowledge.
 *
 *     no grant -> createShare -> redeem -> reconcile -> send <-> ack ... -> nothing left
 *                                  ^           |          |
 *                                  |        compare     refused or unknown
 *                                  +--- fence -+----------+
 *
 * One call of `flush` per session at a time.
 */
export class Replay {
	readonly #options: ReplayOptions;
	readonly #handles = new Map<string, RedeemedShare>();
	readonly #ulid = monotonicFactory();

	constructor(options: ReplayOptions) {
		this.#options = options;
	}

	/**
	 * Brings a session's pending ops to the server, or notes in the outbox why not and when to try again.
	 *
	 * @returns "refused" when the server lets no session in; else undefined.
	 * @throws OutboxError what the local disk threw; nothing is lost.
	 */
	async flush(sessionId: string, signal: AbortSignal): Promise<"refused" | undefined> {
		const { outbox } = this.#options;
		try {
			if (outbox.session(sessionId)?.wanted === "unshare") return await this.#unshare(sessionId);
			const share = await this.#grant(sessionId);
			// A seal undone by a rejection or a comparison starts this over.
			while (!signal.aborted) {
				const handle = this.#handles.get(sessionId) ?? (await this.#redeem(share));
				if ((await this.#send(sessionId, handle, signal)) === "done") break;
				this.#handles.delete(sessionId);
			}
			if ((outbox.session(sessionId)?.attempts ?? 0) > 0) outbox.settle(sessionId);
			return undefined;
		} catch (error) {
			if (!(error instanceof Failure)) throw error;
			return this.#fail(sessionId, error);
		}
	}

	async #grant(sessionId: string): Promise<GrantedShare> {
		const { outbox, server, connection, clock } = this.#options;
		const asked = outbox.share(sessionId);
		if (asked && asked.server_url !== server.id) {
			const message = `the share is on ${asked.server_url}, this agent talks to ${server.id}`;
			throw new Failure("redeem", "unknown", message, { override: { action: "park", code: "other_server" } });
		}
		const share = asked ?? outbox.ask(sessionId, server.id, randomBytes(32).toString("base64url"), clock.now());
		if (isGranted(share)) return share;
		outbox.attempt(sessionId);
		const request = { session_id: sessionId, create_key: share.create_key };
		const grant = await attempt("create", () => connection.createShare(server.key(), request));
		outbox.granted(sessionId, grant);
		this.#options.log.info({ session: sessionId, share: grant.share_id, url: grant.url }, "share made");
		return { ...share, ...grant };
	}

	/** Redeems, and brings this side in step with where the share stands. */
	async #redeem(share: GrantedShare): Promise<RedeemedShare> {
		const { outbox, connection, clock, log } = this.#options;
		const sessionId = share.session_id;
		outbox.attempt(sessionId);
		const handle = await attempt("redeem", () => connection.redeem(share.share_id, share.secret));
		const { redemption } = handle;
		if (redemption.session_id !== sessionId) {
			const message = `the share ${share.share_id} is said to be of session ${redemption.session_id}`;
			throw new Failure("redeem", "unknown", message);
		}
		if (redemption.capability_epoch !== share.capability_epoch) outbox.epoch(sessionId, redemption.capability_epoch);

		const local = outbox.session(sessionId);
		if (local === undefined) throw new Error(`session ${sessionId} is not in the outbox`);
		const position = { ...local, opIdBelow: (cursor: number) => outbox.lastBelow(sessionId, cursor)?.op_id };
		const next = local.compare_reason
			? ({ do: "compare", reason: local.compare_reason } as const)
			: reconcile(position, redemption);
		if (next.do === "compare") return this.#compare(share, handle, next.reason);
		if (next.do === "ack") {
			const ops = outbox.ack(sessionId, next.cursor, clock.now());
			log.info({ session: sessionId, ops, cursor: next.cursor }, "a lost reply was reconciled");
		}
		this.#handles.set(sessionId, handle);
		return handle;
	}

	/** Puts fresh ops on top of the share, from what OpenCode has now (agent/compare.ts). */
	async #compare(share: GrantedShare, handle: RedeemedShare, reason: string): Promise<RedeemedShare> {
		const { outbox, connection, clock, log } = this.#options;
		const sessionId = share.session_id;
		log.warn({ session: sessionId, share: share.share_id, reason }, "comparing the share with OpenCode");
		outbox.mustCompare(sessionId, reason);
		await this.#fence(sessionId, handle);
		const fenced = await attempt("redeem", () => connection.redeem(share.share_id, share.secret));
		const digests = await attempt("use", () => shareDigests(fenced));

		// From here on without a pause, so that what is read and what is written are of one moment.
		const truth = await attempt("use", async () => this.#options.truth(sessionId));
		const own = outbox.retained(sessionId);
		const known = new Set(truth?.entities.map((entity) => entity.key));
		const extras = own.filter(({ key }) => !known.has(key) && EVENTLESS.has(key));
		const entities = truth ? [...truth.entities, ...extras] : own;
		const { fresh, same } = compare(digests, entities, outbox.pendingRemovals(sessionId), this.#newId);
		const { cursor, last_op_id } = fenced.redemption;
		const watermark = truth ? truth.watermark : (outbox.session(sessionId)?.watermark ?? null);
		outbox.rebase(sessionId, { cursor, last_op_id, fresh, same, watermark }, clock.now());
		outbox.epoch(sessionId, fenced.redemption.capability_epoch);
		log.info({ session: sessionId, fresh: fresh.length, same: same.size, cursor }, "compared");
		this.#handles.set(sessionId, fenced);
		return fenced;
	}

	/**
	 * Makes every copy of a batch that may still be under way worthless, before anything sealed is set aside.
	 *
	 * Without it a delayed copy could find its position free again and apply an old state on top of a newer one (G2, G3):
	 * positions of re-sealed ops differ from those in the copy. Bumping the epoch is the only fence the server knows.
	 */
	async #fence(sessionId: string, handle: RedeemedShare): Promise<void> {
		this.#handles.delete(sessionId);
		const grant = await attempt("use", () => handle.revokeCapability({ rotate_secret: false, rotate_slug: false }));
		this.#options.outbox.epoch(sessionId, grant.capability_epoch);
	}

	/** Sends until nothing is left ("done"), or until positions have changed and the share must be redeemed anew. */
	async #send(sessionId: string, handle: RedeemedShare, signal: AbortSignal): Promise<"done" | "redeem"> {
		const { outbox, connection, clock, log } = this.#options;
		const flights: Flight[] = [];
		let leasedAt = clock.now();
		try {
			for (;;) {
				const bytes = () => flights.reduce((sum, flight) => sum + flight.bytes, 0);
				while (!signal.aborted && flights.length < WINDOW[connection.kind] && bytes() < WINDOW_BYTES) {
					const reserved = this.#next(sessionId, handle);
					if (reserved === undefined) break;
					flights.push(launch(reserved, handle));
				}
				const flight = flights.shift();
				if (flight === undefined) return "done";
				const answer = await flight.answer;
				if ("error" in answer) throw failureOf("use", answer.error);
				const verdict = verdictOf(flight.batch, answer.ack);
				if (verdict === undefined) throw new Failure("use", "unknown", "the ack's cursor lies before its own ops");
				// A cursor beyond all that was sealed here is another writer's doing, and it may have overtaken us by more than
				// the server's ledger remembers: then even "duplicate" proves nothing. Nothing is acked on its word.
				if (answer.ack.cursor > (outbox.session(sessionId)?.sealed_cursor ?? 0))
					throw new Failure("use", "cursor_conflict", "another writer has appended to this share");
				const ops = outbox.ack(sessionId, verdict.cursor, clock.now());
				const { batch_id } = flight.batch;
				log.debug({ session: sessionId, batch: batch_id, ops, cursor: verdict.cursor }, "a batch was acknowledged");
				if (verdict.rejected) {
					await Promise.all(flights.map((other) => other.answer));
					await this.#reject(sessionId, handle, verdict.rejected);
					return "redeem";
				}
				if (flights.length > 0 && clock.now() - leasedAt > LEASE_MS / 2) {
					leasedAt = clock.now();
					outbox.extend(sessionId, this.#options.owner, LEASE_MS, leasedAt);
				}
			}
		} finally {
			await Promise.all(flights.map((flight) => flight.answer));
		}
	}

	async #reject(
		sessionId: string,
		handle: RedeemedShare,
		rejected: { position: number; code: Outcome; reason: string },
	): Promise<void> {
		const { outbox, clock, random, log } = this.#options;
		const { position, code, reason } = rejected;
		if (decide("use", code, 1, random).action !== "bury") throw new Failure("use", code, reason);
		await this.#fence(sessionId, handle);
		const letters = outbox.reject(sessionId, position, code, reason, clock.now());
		log.warn({ session: sessionId, code, reason, dead: letters }, "the server refuses an op; it was set aside");
	}

	/** The next batch to send, sealing one when none is waiting; counts the attempt in the same transaction. */
	#next(sessionId: string, handle: RedeemedShare): ReservedBatch | undefined {
		const { outbox, owner, clock, log } = this.#options;
		const now = clock.now();
		try {
			return outbox.transaction(() => {
				const waiting = outbox.reserve(sessionId, owner, LEASE_MS, now);
				if (waiting) return waiting;
				for (;;) {
					const { sealed, buried } = outbox.seal(sessionId, handle.redemption.limits, now);
					if (buried.length > 0)
						log.warn({ session: sessionId, dead: buried }, "ops over the server's limit were set aside");
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

	async #unshare(sessionId: string): Promise<undefined> {
		const { outbox, connection, log } = this.#options;
		const share = outbox.share(sessionId);
		if (share !== undefined) {
			const granted = await this.#grant(sessionId);
			outbox.attempt(sessionId);
			try {
				const handle = await attempt("redeem", () => connection.redeem(granted.share_id, granted.secret));
				await attempt("use", () => handle.deleteShare());
			} catch (error) {
				// Gone already, perhaps by an attempt whose reply was lost.
				const gone = error instanceof Failure && (error.outcome === "not_found" || error.outcome === "revoked");
				if (!gone) throw error;
			}
		}
		this.#handles.delete(sessionId);
		outbox.forget(sessionId, "never");
		log.info({ session: sessionId, share: share?.share_id ?? null }, "unshared");
		return undefined;
	}

	#fail(sessionId: string, failure: Failure): "refused" | undefined {
		const { outbox, connection, clock, random, log } = this.#options;
		this.#handles.delete(sessionId);
		const attempts = Math.max(1, outbox.session(sessionId)?.attempts ?? 1);
		const decision = decide(failure.step, failure.outcome, attempts, random, failure.retryAfterMs);
		const action = failure.override?.action ?? decision.action;
		const facts = { session: sessionId, step: failure.step, outcome: failure.outcome, err: failure.message, action };
		outbox.nack(sessionId, clock.now() + decision.waitMs, failure.message);
		if (action === "park") outbox.park(sessionId, failure.override?.code ?? failure.outcome, failure.message);
		if (action === "make_anew") {
			outbox.giveUp(sessionId);
			outbox.mustCompare(sessionId, "the server has no such share; a new one is made");
		}
		if (action === "park" || action === "make_anew") log.warn(facts, "a share needs attention");
		else log.info({ ...facts, wait_ms: decision.waitMs }, "an attempt failed");
		// Over HTTP nothing else tells that the server is gone; a socket does so itself.
		if (action === "reconnect" && connection.kind === "http-batch") connection.close();
		return action === "refused" ? "refused" : undefined;
	}

	readonly #newId = (): string => this.#ulid(this.#options.clock.now());
}
