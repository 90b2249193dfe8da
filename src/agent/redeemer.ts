import { monotonicFactory } from "ulid";
import type { Clock } from "../model/clock.ts";
import type { CreateKey } from "../model/identity.ts";
import type { Logger } from "../model/logger.ts";
import { type GrantedShare, isGranted } from "../outbox/grant.ts";
import type { Outbox } from "../outbox/outbox.ts";
import type { Connection, RedeemedShare } from "../transport/transport.ts";
import { aimOf, type Truth } from "./aim.ts";
import { compare } from "./compare.ts";
import { attempt, Failure } from "./failure.ts";
import { type AgentMeter, caseOf } from "./meter.ts";
import { reconcile } from "./reconcile.ts";
import { RULES_CHANGED } from "./rules.ts";
import { shareDigests } from "./verify.ts";

export interface ShareServer {
	/** What tells servers apart: `embedded`, or the base url. A grant is never shown to another server. */
	readonly id: string;
	/** Read for every use, so that a mended key file is seen. */
	readonly key: () => string;
}

export interface RedeemerOptions {
	readonly outbox: Outbox;
	readonly connection: Connection;
	readonly server: ShareServer;
	readonly createKey: CreateKey;
	/** The session as OpenCode has it now; undefined when OpenCode does not have it. */
	readonly truth: (sessionId: string) => Promise<Truth | undefined>;
	/** Called when a session was forgotten: what OpenCode has of it by now may be wanted. */
	readonly onForgotten?: (() => void) | undefined;
	readonly meter?: AgentMeter | undefined;
	readonly clock: Clock;
	readonly log: Logger;
}

/**
 * Holds the redeemed shares of one connection, each in step with this outbox.
 *
 *     no grant -> createShare -> redeem -> reconcile -> redeemed
 *                                  ^           |
 *                                  +- fence - compare
 *
 * Every method throws a Failure for a call that did not succeed. One call per session at a time.
 */
export class Redeemer {
	readonly #options: RedeemerOptions;
	readonly #handles = new Map<string, RedeemedShare>();
	readonly #ulid = monotonicFactory();
	/** Sessions whose share was looked at since all were doubted; undefined when they never were. */
	#checked: Set<string> | undefined;

	constructor(options: RedeemerOptions) {
		this.#options = options;
	}

	/** The session's share with append scope, made, redeemed and reconciled if need be. */
	async redeemed(sessionId: string): Promise<RedeemedShare> {
		const held = this.#handles.get(sessionId);
		if (held) return held;
		const handle = await this.#redeem(await this.#grant(sessionId));
		this.#checked?.add(sessionId);
		return handle;
	}

	/** The session's share, where it is redeemed on this connection. */
	held(sessionId: string): RedeemedShare | undefined {
		return this.#handles.get(sessionId);
	}

	/** The next `redeemed` redeems anew. */
	drop(sessionId: string): void {
		this.#handles.delete(sessionId);
	}

	/**
	 * A share is not as it was left: a restored server or another copy of this outbox concerns them all, so every share is
	 * redeemed once more. Once per event: what a share tells that was not looked at since belongs to the same one.
	 */
	doubt(sessionId: string): void {
		if (this.#checked?.has(sessionId) === false) return;
		this.#checked = new Set();
		this.#options.outbox.doubtAll();
	}

	/**
	 * Makes every copy of a batch that may still be under way worthless, before anything sealed is set aside.
	 *
	 * Without it a delayed copy could find its position free again and apply an old state on top of a newer one (G2, G3):
	 * positions of re-sealed ops differ from those in the copy. Bumping the epoch is the only fence the server knows.
	 */
	async fence(sessionId: string, handle: RedeemedShare): Promise<void> {
		this.#handles.delete(sessionId);
		const grant = await attempt("use", () => handle.revokeCapability({ rotate_secret: false, rotate_slug: false }));
		// All of it: the note of the link may be what is damaged here.
		this.#options.outbox.granted(sessionId, grant);
	}

	/** Deletes the session's share and forgets what was captured; see Outbox.forget for what is wanted of it then. */
	async unshare(sessionId: string): Promise<void> {
		const { outbox, connection, onForgotten, log } = this.#options;
		const share = outbox.share(sessionId);
		if (share !== undefined) {
			try {
				const granted = await this.#grant(sessionId);
				outbox.attempt(sessionId);
				const handle = await attempt("redeem", () => connection.redeem(granted.share_id, granted.secret));
				await attempt("use", () => handle.deleteShare());
			} catch (error) {
				// Gone already, perhaps by an attempt whose reply was lost.
				const gone = error instanceof Failure && (error.outcome === "not_found" || error.outcome === "revoked");
				if (!gone) throw error;
			}
		}
		this.#handles.delete(sessionId);
		outbox.forget(sessionId);
		log.info({ session: sessionId, share: share?.share_id ?? null }, "unshared");
		onForgotten?.();
	}

	async #grant(sessionId: string): Promise<GrantedShare> {
		const { outbox, server, connection, createKey, clock } = this.#options;
		const asked = outbox.share(sessionId);
		if (asked && asked.server_url !== server.id) {
			const message = `the share is on ${asked.server_url}, this agent talks to ${server.id}`;
			throw new Failure("redeem", "unknown", message, { override: { action: "park", code: "other_server" } });
		}
		const share =
			asked ??
			outbox.ask(sessionId, server.id, createKey(server.id, sessionId, outbox.generation(sessionId)), clock.now());
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
		const { outbox, meter, clock, log } = this.#options;
		const sessionId = share.session_id;
		outbox.attempt(sessionId);
		const handle = await this.#open(share);
		const { redemption } = handle;
		if (redemption.session_id !== sessionId) {
			const message = `the share ${share.share_id} is said to be of session ${redemption.session_id}`;
			throw new Failure("redeem", "unknown", message);
		}
		if (redemption.capability_epoch !== share.capability_epoch) outbox.epoch(sessionId, redemption.capability_epoch);

		const local = outbox.session(sessionId);
		if (local === undefined) throw new Error(`session ${sessionId} is not in the outbox`);
		const position = {
			...local,
			opIdBelow: (cursor: number) => outbox.lastBelow(sessionId, cursor)?.op_id,
			batchIdBelow: (cursor: number) => outbox.batchBelow(sessionId, cursor),
		};
		const next = reconcile(position, redemption);
		meter?.reconciled(caseOf(next, local, redemption));
		if (next.do === "compare") this.doubt(sessionId);
		const reason = local.compare_reason ?? (next.do === "compare" ? next.reason : undefined);
		const isRulesOnly = next.do !== "compare" && reason === RULES_CHANGED;
		if (reason !== undefined) return this.#compare(share, handle, reason, isRulesOnly);
		if (redemption.cursor > local.acked_cursor) {
			const ops = next.do === "ack" ? outbox.ack(sessionId, next.cursor, clock.now()) : 0;
			const facts = { session: sessionId, share: share.share_id, ops, cursor: redemption.cursor };
			log.info(facts, "a lost reply was reconciled");
		}
		this.#handles.set(sessionId, handle);
		return handle;
	}

	/** Redeems; where the server denies it, asks whether it is only our note of the secret that is damaged. */
	async #open(share: GrantedShare): Promise<RedeemedShare> {
		const { outbox, server, connection, log } = this.#options;
		const { session_id, create_key } = share;
		try {
			return await attempt("redeem", () => connection.redeem(share.share_id, share.secret));
		} catch (denial) {
			if (!(denial instanceof Failure) || denial.outcome !== "denied" || denial.override) throw denial;
			const request = { session_id, create_key };
			const grant = await attempt("create", () => connection.createShare(server.key(), request)).catch((error) => {
				throw error instanceof Failure && error.outcome === "unknown" ? error : denial;
			});
			if (grant.share_id !== share.share_id || grant.secret === share.secret) throw denial;
			outbox.granted(session_id, grant);
			log.warn({ session: session_id, share: grant.share_id }, "the secret kept here was damaged; asked for it again");
			return attempt("redeem", () => connection.redeem(grant.share_id, grant.secret));
		}
	}

	/**
	 * Puts fresh ops on top of the share, from what OpenCode has now (agent/compare.ts).
	 *
	 * @param isRulesOnly the share is as it was left, and only what is stored here has changed.
	 */
	async #compare(
		share: GrantedShare,
		handle: RedeemedShare,
		reason: string,
		isRulesOnly: boolean,
	): Promise<RedeemedShare> {
		const { outbox, clock, log } = this.#options;
		const sessionId = share.session_id;
		log.warn({ session: sessionId, share: share.share_id, reason }, "comparing the share with OpenCode");
		outbox.mustCompare(sessionId, reason);
		await this.fence(sessionId, handle);
		const fenced = await this.#open(share);
		const digests = await attempt("use", () => shareDigests(fenced, fenced.redemption.cursor));

		const truth = await this.#truthNow(sessionId);
		const target = { outbox, sessionId, truth, redemption: fenced.redemption, share: digests, isRulesOnly };
		const { entities, adopted, committed, gone, lost } = aimOf(target, this.#newId);
		const { fresh, same: equal } = compare(digests, entities, gone, this.#newId);
		const same = new Map([...adopted, ...equal]);
		const { cursor, last_op_id } = fenced.redemption;
		const known = truth ? truth.watermark : (outbox.session(sessionId)?.watermark ?? null);
		const watermark = lost.length > 0 ? null : known;
		const rebased = { cursor, last_op_id, fresh: [...fresh, ...lost], same, committed, watermark };
		outbox.rebase(sessionId, rebased, clock.now());
		outbox.epoch(sessionId, fenced.redemption.capability_epoch);
		const facts = { session: sessionId, share: share.share_id, fresh: fresh.length, same: same.size, cursor };
		if (lost.length > 0) log.error({ ...facts, lost: lost.length }, "compared; something is to be had from nowhere");
		else log.info(facts, "compared");
		this.#handles.set(sessionId, fenced);
		return fenced;
	}

	/**
	 * The session as OpenCode has it, read while nothing was captured of it: what is pending is older, so that setting it
	 * aside for the truth loses nothing. From its return on the caller must not pause.
	 */
	async #truthNow(sessionId: string): Promise<Truth | undefined> {
		const { outbox, truth } = this.#options;
		for (;;) {
			const before = outbox.capturedDigests(sessionId);
			const found = await attempt("use", () => truth(sessionId));
			const after = outbox.capturedDigests(sessionId);
			const isSame = after.size === before.size && [...after].every(([key, digest]) => before.get(key) === digest);
			if (isSame) return found;
		}
	}

	readonly #newId = (): string => this.#ulid(this.#options.clock.now());
}
