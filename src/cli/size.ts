const UNIT_BYTES = { KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3, TiB: 1024 ** 4 } as const;
const FORM = /^(\d{1,9}(?:\.\d{1,3})?)(KiB|MiB|GiB|TiB)$/;

export const SIZE_FORM = `a size with its unit, like "512MiB" or "2GiB"`;

/** A size as people write it, in bytes; undefined when it is none. */
export function parseSize(text: string): number | undefined {
	const [, amount, unit] = FORM.exec(text.trim()) ?? [];
	if (amount === undefined || unit === undefined) return undefined;
	return Math.round(Number(amount) * UNIT_BYTES[unit as keyof typeof UNIT_BYTES]);
}
