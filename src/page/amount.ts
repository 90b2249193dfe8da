import { type Html, html } from "./html.ts";

const MINUTE_MS = 60_000;

/** A count to be read at a glance: 950, 12.3K, 4.6M. */
export function brief(count: number): string {
	if (count < 1000) return String(Math.round(count));
	const [value, unit] = count < 999_950 ? [count / 1000, "K"] : [count / 1_000_000, "M"];
	return `${value.toFixed(value < 99.95 ? 1 : 0)}${unit}`;
}

/** US dollars, as OpenCode counts cost. Small ones keep two digits that say something. */
export function money(dollars: number): string {
	if (dollars === 0 || dollars >= 0.995) return `$${dollars.toFixed(2)}`;
	return `$${dollars.toFixed(dollars < 0.0995 ? 4 : 2)}`;
}

export function bytes(count: number): string {
	if (count < 1024) return `${count} B`;
	return count < 1024 * 1024 ? `${(count / 1024).toFixed(1)} KiB` : `${(count / 1024 / 1024).toFixed(1)} MiB`;
}

export function duration(ms: number): string {
	if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
	if (ms < MINUTE_MS) return `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;
	const minutes = Math.round(ms / MINUTE_MS);
	return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** `1 file`, `2 files`. */
export function counted(count: number, noun: string): string {
	return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** The furthest instant that a Date can hold, in epoch ms. */
const INSTANT_MAX = 8.64e15;

/** An instant in UTC: a page is read in many zones, and is the same before and after its script has run. */
export function instant(at: number | undefined): Html {
	if (at === undefined || Math.abs(at) > INSTANT_MAX) return html``;
	const iso = new Date(at).toISOString();
	return html`<time datetime="${iso}">${iso.slice(0, 10)} ${iso.slice(11, 16)} UTC</time>`;
}
