import * as z from "zod";

const UNIT_BYTES = { KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3, TiB: 1024 ** 4 } as const;
const FORM = /^(\d{1,9}(?:\.\d{1,3})?)(KiB|MiB|GiB|TiB)$/;

export const SIZE_FORM = `a size with its unit, like "512MiB" or "2GiB"`;

/** A size as people write it, in bytes; undefined when it is none. */
export function parseSize(text: string): number | undefined {
	const [, amount, unit] = FORM.exec(text.trim()) ?? [];
	if (amount === undefined || unit === undefined) return undefined;
	return Math.round(Number(amount) * UNIT_BYTES[unit as keyof typeof UNIT_BYTES]);
}

/** zod's form of `parseSize`, within bounds in bytes. */
export function sizeSchema(minBytes: number, maxBytes: number) {
	return z.string().transform((text, context) => {
		const bytes = parseSize(text);
		if (bytes !== undefined && bytes >= minBytes && bytes <= maxBytes) return bytes;
		context.addIssue({ code: "custom", message: "no size within the bounds" });
		return z.NEVER;
	});
}
