import { OutboxError } from "../model/errors.ts";

const UNIT_MS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const FORM = /^(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h|d)$/;

export const DURATION_FORM = `a duration with its unit, like "500ms", "30s", "2m", "1h" or "30d"`;

/**
 * A duration as people write it, in ms; undefined when it is none.
 *
 * A number without a unit is none: half the world reads it as seconds, the other half as milliseconds.
 */
export function parseDuration(text: string): number | undefined {
	const [, amount, unit] = FORM.exec(text.trim()) ?? [];
	if (amount === undefined || unit === undefined) return undefined;
	return Math.round(Number(amount) * UNIT_MS[unit as keyof typeof UNIT_MS]);
}

/** A timer takes 24 days at most, and fires at once when it is given more. */
const FLAG_MS_MAX = 24 * UNIT_MS.h;

/** The value of a flag that is a duration and no setting, in ms, 24 h at most. Throws OutboxError usage. */
export function durationFlag(flag: string, text: string): number {
	const ms = parseDuration(text);
	if (ms === undefined) throw new OutboxError("usage", `--${flag} ${text}: expected ${DURATION_FORM}.`);
	if (ms > FLAG_MS_MAX) throw new OutboxError("usage", `--${flag} ${text}: expected 24h at most.`);
	return ms;
}
