import { z } from "zod";
import { refusalOf } from "../../protocol/refusal.ts";
import { ShareId } from "../../protocol/schema.ts";
import { credentialHash, sameHash } from "../credential.ts";
import type { Env } from "./env.ts";
import { isShareId } from "./place.ts";

const KEY_CHARS_MIN = 32;
const BODY_CHARS_MAX = 4096;

/** `to`: a time in epoch ms, or a bookmark of the platform's; without it the share is fenced, and its content left alone. */
const Restore = z.strictObject({
	share_id: ShareId,
	to: z.union([z.number().int().positive(), z.string().min(1).max(500)]).optional(),
});

/**
 * What only the operator may do, with `authorization: Bearer <OPERATOR_KEY>`:
 *
 *     POST /operator/restore {share_id, to}     puts a share back to how it was, and bumps its epoch
 *     POST /operator/restore {share_id}         bumps its epoch, as after anything else that has put it back
 *
 * Safe to repeat. Until it has answered 200 with the new epoch, it may not have been done.
 */
export async function operate(request: Request, path: string, env: Env): Promise<Response> {
	const key = env.OPERATOR_KEY ?? "";
	if (path !== "/operator/restore" || key.length < KEY_CHARS_MIN) return json({ error: "not_found" }, 404);
	if (request.method !== "POST") return json({ error: "method_not_allowed" }, 405);
	const shown = request.headers.get("authorization")?.replace(/^Bearer /, "") ?? "";
	if (!sameHash(credentialHash(shown), credentialHash(key))) return json({ error: "denied" }, 403);
	const parsed = Restore.safeParse(await bodyOf(request));
	if (!parsed.success || !isShareId(parsed.data.share_id)) return json({ error: "invalid_request" }, 400);
	const { share_id, to } = parsed.data;
	try {
		if (to !== undefined) await restored(env, share_id, to);
		return json({ share_id, capability_epoch: await env.SHARE.getByName(share_id).fence(share_id) }, 200);
	} catch (error) {
		const refusal = refusalOf(error);
		if (refusal)
			return json({ error: refusal.code, message: refusal.message }, refusal.code === "not_found" ? 404 : 400);
		return json({ error: "unknown", message: "Nobody knows what was done. Ask again, with the same request." }, 503);
	}
}

/** The object ends this call by starting anew, so that only a refusal is an answer. */
async function restored(env: Env, shareId: string, to: number | string): Promise<void> {
	try {
		await env.SHARE.getByName(shareId).restore(to);
	} catch (error) {
		if (refusalOf(error)) throw error;
	}
}

async function bodyOf(request: Request): Promise<unknown> {
	try {
		const text = await request.text();
		return text.length > BODY_CHARS_MAX ? undefined : JSON.parse(text);
	} catch {
		return undefined;
	}
}

function json(body: object, status: number): Response {
	return Response.json(body, { status, headers: { "cache-control": "no-store" } });
}
