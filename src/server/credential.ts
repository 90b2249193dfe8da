import { hash, timingSafeEqual } from "node:crypto";

/** Cryptographically strong random bytes, as an argument. */
export type RandomBytes = (size: number) => Uint8Array;

/** Bytes of an unguessable id: 144 random bits, 24 characters without padding. */
const ID_BYTES = 18;

export function newShareId(random: RandomBytes): string {
	return `shr_${base64url(random(ID_BYTES))}`;
}

/** What names a share in its link: 24 characters of [a-zA-Z0-9_-]. */
export function newSlug(random: RandomBytes): string {
	return base64url(random(ID_BYTES));
}

/** A create key that nobody has chosen or keeps: 256 random bits as base64url. */
export function newCreateKey(random: RandomBytes): string {
	return base64url(random(32));
}

/** Names an op or a batch that the server itself has made. */
export function newOpId(random: RandomBytes): string {
	return `srv_${base64url(random(ID_BYTES))}`;
}

/**
 * What is stored of a secret or key, and of a slug that was rotated away: hex sha256, 64 characters. Fast on purpose: the
 * input has at least 128 bits.
 */
export function credentialHash(credential: string): string {
	return hash("sha256", credential, "hex");
}

/** Compares two credentialHash values in constant time. */
export function sameHash(a: string, b: string): boolean {
	return timingSafeEqual(Buffer.from(a), Buffer.from(b));
}

function base64url(bytes: Uint8Array): string {
	return Buffer.from(bytes).toString("base64url");
}
