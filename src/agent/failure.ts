import { messageOf } from "../model/errors.ts";
import { refusalOf } from "../protocol/refusal.ts";
import type { Action, Outcome, Step } from "./decide.ts";

/** What a session is parked with whose share another machine has taken over. */
export const CLAIMED = "claimed";

/** What a session is parked with whose share the server has let go of, as nothing had changed for long. */
export const EXPIRED = "expired";

/** A call that did not succeed, with what is known of its outcome. */
export class Failure extends Error {
	readonly step: Step;
	readonly outcome: Outcome;
	/** What to do where the table cannot know; `code` is what `status` shows. */
	readonly override: { readonly action: Action; readonly code: string } | undefined;
	readonly retryAfterMs: number;

	constructor(
		step: Step,
		outcome: Outcome,
		message: string,
		more: { override?: Failure["override"]; retryAfterMs?: number | undefined } = {},
	) {
		super(message);
		this.step = step;
		this.outcome = outcome;
		this.override = more.override;
		this.retryAfterMs = more.retryAfterMs ?? 0;
	}
}

/** Reads a rejected call: a refusal is definitive, everything else is unknown. */
export function failureOf(step: Step, thrown: unknown): Failure {
	const refusal = refusalOf(thrown);
	if (refusal === undefined) return new Failure(step, "unknown", messageOf(thrown));
	const { claimed_at, expired_at } = refusal.details;
	if (expired_at !== undefined) {
		const message = `the server has let the share go at ${timeOf(expired_at)}, as nothing had changed in it for long`;
		return new Failure(step, refusal.code, message, { override: { action: "park", code: EXPIRED } });
	}
	if (claimed_at !== undefined) {
		const message = `the share was taken over by another machine at ${timeOf(claimed_at)}`;
		return new Failure(step, refusal.code, message, { override: { action: "park", code: CLAIMED } });
	}
	return new Failure(step, refusal.code, refusal.message, { retryAfterMs: refusal.retry_after_ms });
}

/** Makes a call; what it throws comes out as a Failure of `step`. */
export async function attempt<T>(step: Step, call: () => Promise<T>): Promise<T> {
	try {
		return await call();
	} catch (error) {
		throw failureOf(step, error);
	}
}

/** A time that a server tells, which may be no time at all. */
function timeOf(at: number): string {
	const date = new Date(at);
	return Number.isNaN(date.getTime()) ? "an unknown time" : date.toISOString();
}
