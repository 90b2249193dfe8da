import { createHmac } from "node:crypto";
import { newSlug, type RandomBytes } from "../credential.ts";

/**
 * Where things lie, so that nothing has to be looked up: a share's object is named by its id, its id follows from the
 * create key that makes it, and its slug begins with what is random in its id.
 *
 *     create key --HMAC--> shr_<24> --names--> the object        slug = <the same 24><24 random>
 *
 * An id follows from a key of 256 bits, so it is as good as random; who has a link knows the share's id, which is worth
 * nothing without its secret, and which a redemption of the link tells anyway.
 */
const SHARE_ID = /^shr_[A-Za-z0-9_-]{24}$/;
const SLUG = /^[A-Za-z0-9_-]{48}$/;
const LOCATOR_CHARS = 24;

export function shareIdOf(createKey: string): string {
	const locator = createHmac("sha256", createKey).update("share id").digest("base64url").slice(0, LOCATOR_CHARS);
	return `shr_${locator}`;
}

export function isShareId(id: string): boolean {
	return SHARE_ID.test(id);
}

export function slugOf(shareId: string, random: RandomBytes): string {
	return `${shareId.slice(-LOCATOR_CHARS)}${newSlug(random)}`;
}

/** The id of the share that a slug leads to, or undefined for what is no slug of this host. */
export function shareIdIn(slug: string): string | undefined {
	return SLUG.test(slug) ? `shr_${slug.slice(0, LOCATOR_CHARS)}` : undefined;
}
