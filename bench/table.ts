import { arch, cpus, platform, release, totalmem } from "node:os";
import { type Bar, type Figure, holds } from "./figure.ts";
import type { Spread } from "./measure.ts";

/** What the figures were measured on, in a line: a ratio is of this machine and this hour. */
export function machine(): string {
	const [cpu] = cpus();
	const memory = Math.round(totalmem() / 2 ** 30);
	return `${cpu?.model.trim() || "unknown processor"}, ${cpus().length} cores, ${memory} GiB, ${platform()} ${release()} ${arch()}, Node ${process.versions.node}, SQLite synchronous=FULL unless said otherwise`;
}

export const HEAD = row("what", "ours", "against", "theirs", "ratio (lowest–highest)", "bar", "");
export const RULE = row(..."-------".split("").map(() => "---"));

/** A figure as a line of a Markdown table. */
export function line(figure: Figure): string {
	const { what, against, unit, ours, theirs, ratio, bar } = figure;
	const held = bar === undefined ? "" : holds(figure) ? "held" : "missed";
	const of = (spread: Spread | null) => (spread === null ? "" : `${number(spread.median)} ${unit}`);
	const spread = `${number(ratio.median)} (${number(ratio.low)}–${number(ratio.high)})`;
	return row(what, of(ours), against, of(theirs), spread, bar === undefined ? "" : barText(bar), held);
}

function barText(bar: Bar): string {
	return "atLeast" in bar ? `≥ ${number(bar.atLeast)}` : `≤ ${number(bar.atMost)}`;
}

/** Three digits that count. */
function number(value: number): string {
	if (!Number.isFinite(value)) return "–";
	const digits = value === 0 ? 0 : Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
	return value.toLocaleString("en-US", { maximumFractionDigits: Math.min(digits, 6) });
}

function row(...cells: readonly string[]): string {
	return `| ${cells.join(" | ")} |`;
}
