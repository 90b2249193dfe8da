/**
 * What a server can refuse a call with. Closed: a client takes only these for an answer; every other rejection leaves
 * the outcome unknown.
 */
export const REFUSALS = [
	/** No such share. The only answer that may lead to making a share anew. */
	"not_found",
	/** The key, secret or scope does not allow it. */
	"denied",
	/** The share was deleted; or, to a link or a repeated createShare, what it names was rotated away. */
	"revoked",
	/** The capability is of an earlier epoch; `details.capability_epoch` is the current one. Nothing was applied. */
	"stale_epoch",
	/** The call is malformed or beyond the limits as a whole. Nothing was applied. */
	"invalid_request",
	/** Too much at once; `retry_after_ms` tells when to come again. Nothing was applied. */
	"busy",
	/**
	 * The share, or its owner, would hold more than the server lets it; `retry_after_ms` tells when to look again whether
	 * there is room. Nothing was applied, and nothing is wrong with what was sent.
	 */
	"over_quota",
] as const;
export type Refusal = (typeof REFUSALS)[number];

/** Why one op of a batch was not applied. The ops before it were; the ops after it were not. */
export const REJECTIONS = [
	"cursor_conflict",
	"cursor_gap",
	"invalid_payload",
	"too_large",
	"missing_dependency",
] as const;
export type Rejection = (typeof REJECTIONS)[number];

export function isRefusal(code: unknown): code is Refusal {
	return REFUSALS.includes(code as Refusal);
}
