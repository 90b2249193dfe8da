import type { SecretKind, SecretRecord } from "./record.ts";

export interface Needle {
	readonly kind: SecretKind;
	/** How the secret was written where it was found. */
	readonly form: string;
}

/** Bytes by which a needle is found; no shorter one is looked for. */
const HEAD = 8;
const BITS = 22;

/** The forms of many secrets, looked for in one pass. Everything is latin1: one character is one byte. */
export class Needles {
	/** Which hashes of eight bytes begin a needle. */
	readonly #heads = new Uint8Array((1 << BITS) / 8);
	readonly #byHead = new Map<string, { lengths: Set<number>; needles: Map<string, Needle> }>();

	constructor(secrets: Iterable<SecretRecord>) {
		for (const { kind, value } of secrets)
			for (const [form, text] of formsOf(value))
				this.#add(Buffer.from(text, "utf8").toString("latin1"), { kind, form });
	}

	/** Each place where a needle begins. */
	*in(bytes: Buffer): Generator<{ at: number; needle: Needle }> {
		for (let at = 0; at + HEAD <= bytes.length; at++) {
			const hash = hashAt(bytes, at);
			if (((this.#heads[hash >>> 3] ?? 0) & (1 << (hash & 7))) === 0) continue;
			const group = this.#byHead.get(bytes.toString("latin1", at, at + HEAD));
			for (const length of group?.lengths ?? []) {
				const needle = group?.needles.get(bytes.toString("latin1", at, at + length));
				if (needle) yield { at, needle };
			}
		}
	}

	#add(text: string, needle: Needle): void {
		if (text.length < HEAD) return;
		const hash = hashAt(Buffer.from(text, "latin1"), 0);
		this.#heads[hash >>> 3] = (this.#heads[hash >>> 3] ?? 0) | (1 << (hash & 7));
		const head = text.slice(0, HEAD);
		const group = this.#byHead.get(head) ?? { lengths: new Set(), needles: new Map() };
		this.#byHead.set(head, group);
		group.lengths.add(text.length);
		if (!group.needles.has(text)) group.needles.set(text, needle);
	}
}

function hashAt(bytes: Buffer, at: number): number {
	const low =
		(bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16) | ((bytes[at + 3] ?? 0) << 24);
	const high =
		(bytes[at + 4] ?? 0) | ((bytes[at + 5] ?? 0) << 8) | ((bytes[at + 6] ?? 0) << 16) | ((bytes[at + 7] ?? 0) << 24);
	return Math.imul(Math.imul(low, 0x9e3779b1) ^ high, 0x85ebca6b) >>> (32 - BITS);
}

/** A secret as it is, and as it would be after the usual encodings; base64 at each of its three places in a longer text. */
function* formsOf(secret: string): Generator<[form: string, text: string]> {
	yield ["as it is", secret];
	yield ["URL-encoded", encodeURIComponent(secret)];
	let escaped = secret;
	for (const form of ["JSON-escaped", "JSON in JSON", "JSON in JSON in JSON"]) {
		escaped = JSON.stringify(escaped).slice(1, -1);
		yield [form, escaped];
	}
	const bytes = Buffer.from(secret);
	yield ["hexadecimal", bytes.toString("hex")];
	yield ["hexadecimal", bytes.toString("hex").toUpperCase()];
	for (const shift of [0, 1, 2])
		for (const encoding of ["base64", "base64url"] as const) {
			const text = Buffer.concat([Buffer.alloc(shift), bytes])
				.toString(encoding)
				.replace(/=+$/, "");
			// The first and the last character depend on what stands beside the secret.
			const end = ((shift + bytes.length) * 8) % 6 === 0 ? text.length : text.length - 1;
			yield [encoding, text.slice(Math.ceil((shift * 8) / 6), end)];
		}
}
