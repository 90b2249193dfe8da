import { isRefusal, type Refusal } from "./codes.ts";
import { RETRY_AFTER_MS_MAX } from "./limits.ts";

export interface RefusalDetails {
	/** For `stale_epoch`: the share's current epoch. */
	readonly capability_epoch?: number;
	/** For `denied`: what was shown was good until then, in epoch ms, when another machine took the share over. */
	readonly claimed_at?: number;
	/** For `revoked`: the share itself was deleted, and not just what names it rotated away. */
	readonly deleted?: true;
	/** For `revoked`: the server itself has let the share go then, in epoch ms, as nothing had changed for long. */
	readonly expired_at?: number;
}

/**
 * A decision of the server, as an exception: the call was refused and had no effect.
 *
 * Its own properties cross capnweb, its class does not; `refusalOf` reads it back on the other side.
 */
export class ShareRefusal extends Error {
	readonly code: Refusal;
	readonly details: RefusalDetails;
	/** Lower bound of the wait before the next attempt, in ms. */
	readonly retry_after_ms: number | undefined;

	constructor(code: Refusal, message: string, options: { details?: RefusalDetails; retry_after_ms?: number } = {}) {
		super(message);
		this.name = "ShareRefusal";
		this.code = code;
		this.details = options.details ?? {};
		this.retry_after_ms = options.retry_after_ms;
	}
}

/** The refusal that a rejected call carries, or undefined when nobody decided: then the outcome is unknown. */
export function refusalOf(thrown: unknown): ShareRefusal | undefined {
	if (thrown instanceof ShareRefusal) return thrown;
	if (!(thrown instanceof Error)) return undefined;
	const { code, details, retry_after_ms } = thrown as Error & Record<"code" | "details" | "retry_after_ms", unknown>;
	if (!isRefusal(code)) return undefined;
	return new ShareRefusal(code, thrown.message, {
		details: detailsOf(details),
		...(typeof retry_after_ms === "number" && retry_after_ms > 0
			? { retry_after_ms: Math.min(retry_after_ms, RETRY_AFTER_MS_MAX) }
			: {}),
	});
}

/** The members that we know, where they are what they should be. */
function detailsOf(told: unknown): RefusalDetails {
	const { capability_epoch, claimed_at, deleted, expired_at } = (
		typeof told === "object" && told !== null ? told : {}
	) as Record<keyof RefusalDetails, unknown>;
	return {
		...(typeof capability_epoch === "number" ? { capability_epoch } : {}),
		...(Number.isSafeInteger(claimed_at) ? { claimed_at: claimed_at as number } : {}),
		...(deleted === true ? { deleted } : {}),
		...(Number.isSafeInteger(expired_at) ? { expired_at: expired_at as number } : {}),
	};
}
