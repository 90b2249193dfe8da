import { sha256 } from "./digest.ts";
import { messageOf } from "./errors.ts";

/**
 * JSON text with sorted keys, so that equal values have equal bytes.
 *
 * OpenCode writes one entity in different key orders (its log and its tables disagree); a digest must not see that.
 * `undefined` members are left out, as JSON.stringify does.
 */
export function canonicalJson(value: unknown): string {
	return JSON.stringify(sorted(value));
}

/** The digest by which two sides compare an entity: hex sha256 of its payload text, 64 characters. */
export function digestOf(payload: string): string {
	return sha256("", payload);
}

/** Why a JSON text could not be read. What the runtimes say of one that is none quotes it, and it may hold a secret. */
export function faultOf(error: unknown): string {
	return error instanceof SyntaxError ? "it is not JSON" : messageOf(error);
}

function sorted(value: unknown): unknown {
	if (Array.isArray(value)) return value.map(sorted);
	if (typeof value !== "object" || value === null) return value;
	// By UTF-16 code units.
	const names = Object.keys(value).sort();
	const result: Record<string, unknown> = {};
	for (const name of names) {
		const member = sorted((value as Record<string, unknown>)[name]);
		if (name === "__proto__") Object.defineProperty(result, name, { value: member, ...OWN });
		else result[name] = member;
	}
	return result;
}

/** A member called __proto__ stays data. */
const OWN = { enumerable: true, writable: true, configurable: true };
