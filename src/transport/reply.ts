import type { z } from "zod";
import { messageOf } from "../model/errors.ts";
import { DIGESTS_PER_PAGE, LIMITS, type ShareLimits } from "../protocol/limits.ts";
import { refusalOf, ShareRefusal } from "../protocol/refusal.ts";
import {
	type AppendBatch,
	type ClaimRequest,
	DigestPage,
	ListingPage,
	OpAck,
	type RevokeRequest,
	ShareGrant,
	ShareRedemption,
} from "../protocol/schema.ts";

/** Characters of a server's text that are passed on: enough for a sentence, too few to flood a log. */
const TEXT_CHARS_MAX = 500;

/**
 * What a rejected call means: the server's refusal, or an error that leaves the outcome unknown.
 *
 * Only a code of the closed set makes a refusal; the text never does, and an unknown outcome bears no code.
 */
export function failureOf(method: string, thrown: unknown): Error {
	const refusal = refusalOf(thrown);
	if (!refusal) return new Error(short(`${method}: ${describe(thrown)}`));
	const { code, message, details, retry_after_ms } = refusal;
	return new ShareRefusal(code, short(message), {
		details,
		...(retry_after_ms === undefined ? {} : { retry_after_ms }),
	});
}

/** What was thrown, with the system's code if there is one, since fetch hides it in the cause. */
export function describe(thrown: unknown): string {
	// The error of several addresses that were tried has a code and no message.
	const message = messageOf(thrown) || codeOf(thrown) || "no reason given";
	const code = thrown instanceof Error ? codeOf(thrown.cause) : undefined;
	return code === undefined ? message : `${message} (${code})`;
}

/** The `code` of a system's error. */
export function codeOf(thrown: unknown): string | undefined {
	const code = thrown instanceof Error ? (thrown as Error & { code?: unknown }).code : undefined;
	return typeof code === "string" ? code : undefined;
}

/**
 * The grant of a share.
 *
 * @param shareId the share it must be of; undefined when it is new.
 */
export function checkGrant(method: string, answer: unknown, shareId?: string): ShareGrant {
	const grant = parse(method, ShareGrant, answer);
	if (shareId !== undefined && grant.share_id !== shareId) throw malformed(method, "it is of another share");
	return grant;
}

/** The grant that a revocation ends with; a secret that was rotated is the one that was asked for. */
export function checkRevocation(answer: unknown, shareId: string, request: RevokeRequest): ShareGrant {
	const grant = checkGrant("revokeCapability", answer, shareId);
	if (request.rotate_secret && grant.secret !== request.next_secret)
		throw malformed("revokeCapability", "its secret is not the one that was asked for");
	return grant;
}

/** The grant that a claim ends with: of the share and with the secret that were asked for. */
export function checkClaim(answer: unknown, { share_id, next_secret }: ClaimRequest): ShareGrant {
	const grant = checkGrant("claimShare", answer, share_id);
	if (grant.secret !== next_secret) throw malformed("claimShare", "its secret is not the one that was asked for");
	return grant;
}

/** The redemption of exactly `shareId`, for appending, its limits not above our own. */
export function checkRedemption(answer: unknown, shareId: string): ShareRedemption {
	const redemption = parse("redemption", ShareRedemption, answer);
	if (redemption.share_id !== shareId) throw malformed("redemption", "it is of another share");
	if (redemption.scope !== "append") throw malformed("redemption", `its scope is ${redemption.scope}`);
	return { ...redemption, limits: clamp(redemption.limits) };
}

/**
 * An ack that can be true: it names every op that was sent, once, and no other; nothing is applied behind a rejected op;
 * the cursor stands behind what was applied.
 *
 * A duplicate tells nothing about the cursor: a rebuilt outbox may send an op at another position than it was applied.
 */
export function checkAck(answer: unknown, batch: AppendBatch): OpAck {
	const ack = parse("appendOps", OpAck, answer);
	const applied = new Set(ack.applied);
	const rejected = new Set(ack.rejected.map((rejection) => rejection.op_id));
	const named = new Set([...ack.applied, ...ack.duplicates, ...rejected]);
	const namings = ack.applied.length + ack.duplicates.length + ack.rejected.length;
	if (namings !== batch.ops.length || named.size !== namings || !batch.ops.every((op) => named.has(op.op_id)))
		throw malformed("appendOps", "it does not name each op of the batch once");
	const firstRejected = batch.ops.findIndex((op) => rejected.has(op.op_id));
	const lastApplied = batch.ops.findLastIndex((op) => applied.has(op.op_id));
	if (firstRejected !== -1 && lastApplied > firstRejected)
		throw malformed("appendOps", "it applied an op behind a rejected one");
	if (ack.cursor <= (batch.ops[lastApplied]?.expected_cursor ?? -1))
		throw malformed("appendOps", "its cursor lies before what it applied");
	return ack;
}

/** A page of digests whose `next` leads on, so that paging ends. */
export function checkDigests(answer: unknown, after: string | undefined): DigestPage {
	return leadingOn("entityDigests", parse("entityDigests", DigestPage, answer), after);
}

/** A page of shares whose `next` leads on. */
export function checkListing(answer: unknown, after: string | undefined): ListingPage {
	return leadingOn("listShares", parse("listShares", ListingPage, answer), after);
}

function leadingOn<Page extends { next: string | null }>(method: string, page: Page, after: string | undefined): Page {
	if (page.next !== null && after !== undefined && Buffer.compare(Buffer.from(page.next), Buffer.from(after)) <= 0)
		throw malformed(method, "its next page is not after this one");
	return page;
}

function parse<Schema extends z.ZodType>(method: string, schema: Schema, answer: unknown): z.infer<Schema> {
	// zod looks at every member of a list that is too long, and remembers what is wrong with each.
	if (typeof answer === "object" && answer !== null)
		for (const [name, member] of Object.entries(answer))
			if (Array.isArray(member) && member.length > DIGESTS_PER_PAGE) throw malformed(method, `${name} is too long`);
	const parsed = schema.safeParse(answer);
	if (parsed.success) return parsed.data;
	const [issue] = parsed.error.issues;
	throw malformed(method, [issue?.path.join("."), issue?.message].filter(Boolean).join(": "));
}

function malformed(method: string, what: string): Error {
	return new Error(short(`the server's answer to ${method} is malformed: ${what}`));
}

function clamp(told: ShareLimits): ShareLimits {
	return {
		ops_per_batch: Math.min(told.ops_per_batch, LIMITS.ops_per_batch),
		batch_bytes: Math.min(told.batch_bytes, LIMITS.batch_bytes),
		op_bytes: Math.min(told.op_bytes, LIMITS.op_bytes),
		payload_depth: Math.min(told.payload_depth, LIMITS.payload_depth),
		sealed_ops: Math.min(told.sealed_ops, LIMITS.sealed_ops),
	};
}

function short(text: string): string {
	return text.length <= TEXT_CHARS_MAX ? text : `${text.slice(0, TEXT_CHARS_MAX)}…`;
}
