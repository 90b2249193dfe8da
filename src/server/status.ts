import type { Context } from "hono";
import type { Refusal } from "../protocol/codes.ts";
import type { ShareRefusal } from "../protocol/refusal.ts";

/** How a refusal is told over plain HTTP. */
const STATUS = {
	not_found: 404,
	denied: 403,
	revoked: 410,
	stale_epoch: 409,
	invalid_request: 400,
	busy: 429,
	over_quota: 507,
} as const satisfies Record<Refusal, number>;

/** Answers a request with why it was refused, and with when to come again where the refusal tells it. */
export function refused(
	c: Context,
	{ code, message, retry_after_ms }: ShareRefusal,
	body: object = { error: code, message },
): Response {
	if (retry_after_ms !== undefined) c.header("retry-after", String(Math.ceil(retry_after_ms / 1000)));
	return c.json(body, STATUS[code]);
}
