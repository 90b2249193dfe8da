import { type Backoff, fullJitter } from "../model/backoff.ts";
import type { Random } from "../model/clock.ts";
import type { Refusal, Rejection } from "../protocol/codes.ts";

/** What was tried when the outcome came. */
export type Step = "create" | "redeem" | "use";

/** How a call ended that did not simply succeed. `unknown`: nobody decided (timeout, broken connection, nonsense). */
export type Outcome = Refusal | Rejection | "unknown";

/**
 * - `reconcile`: redeem again and let the positions tell.
 * - `reconnect`: the same on a new connection.
 * - `compare`: positions cannot be trusted; another writer has been here.
 * - `bury`: set this op aside, re-seal the rest.
 * - `make_anew`: there is no such share; make one and compare.
 * - `park`: stop until a person acts.
 * - `halt`: nothing is wrong with it, but a person has to make room on the server; looked at again at a slow pace.
 * - `refused`: the server does not let this agent in at all; all sessions wait.
 */
export type Action = "reconcile" | "reconnect" | "compare" | "bury" | "make_anew" | "park" | "halt" | "refused";

/** A rejection answers an op; from a server that answers anything else with one, only the positions can be believed. */
const NOT_ASKED: Readonly<Record<Rejection, Action>> = {
	cursor_conflict: "reconcile",
	cursor_gap: "reconcile",
	invalid_payload: "reconcile",
	too_large: "reconcile",
	missing_dependency: "reconcile",
};

/**
 * What to do about every outcome at every step. A missing case does not compile.
 *
 * Only a structured `not_found` to a redemption makes a share anew; `use` never trusts one, since the redemption that
 * follows asks the same question properly.
 */
const TABLE: Readonly<Record<Step, Readonly<Record<Outcome, Action>>>> = {
	create: {
		not_found: "refused",
		denied: "refused",
		revoked: "park",
		stale_epoch: "reconcile",
		invalid_request: "park",
		busy: "reconcile",
		over_quota: "halt",
		unknown: "reconnect",
		...NOT_ASKED,
	},
	redeem: {
		not_found: "make_anew",
		denied: "park",
		revoked: "park",
		stale_epoch: "reconcile",
		invalid_request: "park",
		busy: "reconcile",
		over_quota: "halt",
		unknown: "reconnect",
		...NOT_ASKED,
	},
	use: {
		not_found: "reconcile",
		denied: "reconcile",
		revoked: "reconcile",
		stale_epoch: "reconcile",
		invalid_request: "park",
		busy: "reconcile",
		over_quota: "halt",
		unknown: "reconnect",
		cursor_conflict: "compare",
		cursor_gap: "reconcile",
		invalid_payload: "bury",
		too_large: "bury",
		// What depends on a buried op is set aside with it, so only a foreign op in its place leaves one without.
		missing_dependency: "compare",
	},
};

/** Between attempts of one session: half a second at first, five minutes at most. */
export const SESSION_BACKOFF: Backoff = { baseMs: 500, capMs: 300_000 };

export interface Decision {
	readonly action: Action;
	/** How long to wait before it, in ms. The first failure of a definitive kind costs no wait. */
	readonly waitMs: number;
}

/**
 * Decides what follows an outcome. Pure.
 *
 * @param attempts how many attempts in a row did not succeed, this one included; from 1.
 * @param retryAfterMs what the server asked for; never undercut.
 */
export function decide(step: Step, outcome: Outcome, attempts: number, random: Random, retryAfterMs = 0): Decision {
	const action = TABLE[step][outcome];
	const free = attempts <= 1 && outcome !== "unknown" && outcome !== "busy" && outcome !== "over_quota";
	return { action, waitMs: free ? retryAfterMs : fullJitter(attempts, SESSION_BACKOFF, random, retryAfterMs) };
}
