import { createHash, hash } from "node:crypto";

/** Longer texts are hashed in pieces of so many characters: at once, they are copied as a whole, and twice after a head. */
const PIECE_CHARS = 1024 * 1024;

/** Hex sha256 of two texts, one behind the other, in UTF-8: 64 characters. */
export function sha256(head: string, text: string): string {
	if (text.length <= PIECE_CHARS) return hash("sha256", head + text, "hex");
	const digest = createHash("sha256").update(head);
	for (let [from, to] = [0, 0]; from < text.length; from = to) {
		to = from + PIECE_CHARS;
		// The halves of a pair of surrogates stay together.
		if (isHigh(text.charCodeAt(to - 1))) to++;
		digest.update(text.slice(from, to));
	}
	return digest.digest("hex");
}

function isHigh(code: number): boolean {
	return code >= 0xd800 && code < 0xdc00;
}
