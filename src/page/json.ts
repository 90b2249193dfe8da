/** Payloads are other people's JSON: each member is looked at as what it should be, and is missing where it is not. */
export type Json = Readonly<Record<string, unknown>>;

const EMPTY: Json = {};

export function record(value: unknown): Json {
	return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Json) : EMPTY;
}

export function list(value: unknown): readonly unknown[] {
	return Array.isArray(value) ? value : [];
}

/** Undefined for what is no text, or an empty one. */
export function text(value: unknown): string | undefined {
	return typeof value === "string" && value !== "" ? value : undefined;
}

/** Undefined for what is no number, or none that can be shown. */
export function number(value: unknown): number | undefined {
	return typeof value === "number" && Number.isFinite(value) ? value : undefined;
}

/** Undefined for what is no JSON. */
export function parsed(payload: string): unknown {
	try {
		return JSON.parse(payload);
	} catch {
		return undefined;
	}
}
