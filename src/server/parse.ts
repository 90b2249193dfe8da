import type { z } from "zod";
import { ShareRefusal } from "../protocol/refusal.ts";

/** Longest message of a refused argument, in characters: it may name what the client sent. */
const COMPLAINT_CHARS_MAX = 300;

/** Code invalid_request: names the argument and what is wrong with it, never its value. A stub is no data. */
export function parse<T>(schema: z.ZodType<T>, value: unknown, name: string): T {
	const result = schema.safeParse(value);
	if (result.success) return result.data;
	const [issue] = result.error.issues;
	const complaint = `${[name, ...(issue?.path ?? [])].join(".")}: ${issue?.message}`;
	throw new ShareRefusal("invalid_request", complaint.slice(0, COMPLAINT_CHARS_MAX));
}
