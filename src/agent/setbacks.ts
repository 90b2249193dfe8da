import { decide } from "./decide.ts";
import { EXPIRED, type Failure } from "./failure.ts";
import type { Redeemer } from "./redeemer.ts";
import type { ReplayOptions } from "./replay.ts";

/** What becomes of sessions whose attempts fail, and of those that get through after all. */
export class Setbacks {
	readonly #options: ReplayOptions;
	readonly #redeemer: Redeemer;

	constructor(options: ReplayOptions, redeemer: Redeemer) {
		this.#options = options;
		this.#redeemer = redeemer;
	}

	/** Notes in the outbox what came of an attempt, and when to try again. */
	note(sessionId: string, failure: Failure): "failed" | "refused" {
		const { outbox, connection, failing, meter, clock, random, log } = this.#options;
		meter?.retried(failure.step, failure.outcome);
		this.#redeemer.drop(sessionId);
		const attempts = Math.max(1, outbox.line(sessionId)?.attempts ?? 1);
		const decision = decide(failure.step, failure.outcome, attempts, random, failure.retryAfterMs);
		const action = failure.override?.action ?? decision.action;
		const { step, outcome } = failure;
		const facts = { ...this.#about(sessionId), step, outcome, err: failure.message, action };
		outbox.nack(sessionId, clock.now() + decision.waitMs, failure.message);
		if (action === "park" || action === "halt")
			outbox.park(sessionId, failure.override?.code ?? failure.outcome, failure.message);
		// Others that were left alone for as long have gone with it.
		if (failure.override?.code === EXPIRED) this.#redeemer.doubt(sessionId);
		if (action === "compare") outbox.mustCompare(sessionId, `its positions are not what they were: ${failure.message}`);
		if (action === "make_anew") {
			this.#redeemer.doubt(sessionId);
			outbox.giveUp(sessionId);
			outbox.mustCompare(sessionId, "the server has no such share; a new one is made");
		}
		if (action === "park" || action === "halt" || action === "make_anew") log.warn(facts, "a share needs attention");
		else {
			const isNews = failing.get(sessionId) !== `${step} ${outcome}`;
			log[isNews ? "info" : "debug"]({ ...facts, attempts, wait_ms: decision.waitMs }, "an attempt failed");
		}
		failing.set(sessionId, `${step} ${outcome}`);
		// Over HTTP nothing else tells that the server is gone; a socket does so itself.
		if (action === "reconnect" && connection.kind === "http-batch") connection.close();
		return action === "refused" ? "refused" : "failed";
	}

	/** A session got through whose last attempt had failed. */
	recovered(sessionId: string): void {
		const { failing, log } = this.#options;
		const was = failing.get(sessionId);
		if (failing.delete(sessionId))
			log.info({ ...this.#about(sessionId), was }, "the session goes on after failed attempts");
	}

	#about(sessionId: string): { session: string; share: string | null } {
		return { session: sessionId, share: this.#options.outbox.share(sessionId)?.share_id ?? null };
	}
}
