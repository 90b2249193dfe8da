import type { DurableObjectState } from "@cloudflare/workers-types";
import { ShareRefusal } from "../../protocol/refusal.ts";

/**
 * Puts an object back to how it was at a time (epoch ms) or a bookmark, with the platform's point-in-time recovery: the
 * object starts anew from there, so this call of it ends without an answer.
 *
 * The cursor moves back, and with it the epoch, which may then be one that old copies of batches bear. So the epoch is to be
 * bumped (`fence`) before anybody else is let in; where that was missed, it is done by the same call once more. A client
 * finds the cursor behind what it has acknowledged, compares the entities and sends what is missing.
 *
 * @throws ShareRefusal invalid_request where the platform has no such recovery (it has none locally), or not for that time.
 */
export async function restoreTo(ctx: DurableObjectState, to: number | string): Promise<void> {
	try {
		const bookmark = typeof to === "string" ? to : await ctx.storage.getBookmarkForTime(to);
		await ctx.storage.onNextSessionRestoreBookmark(bookmark);
	} catch (error) {
		throw new ShareRefusal("invalid_request", `The platform does not restore this: ${String(error)}`);
	}
	ctx.abort("the object is being restored");
}
