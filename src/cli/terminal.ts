import { stripVTControlCharacters, styleText } from "node:util";

/** Characters that no text of a session may send to a terminal: C0, DEL, C1; marks that reorder or hide text. */
const CONTROL = /\p{Cc}/gu;
const CONTROL_BUT_LINES = /[^\P{Cc}\n\t]/gu;
const HIDDEN = /[\p{Cf}\p{Zl}\p{Zp}]/gu;

/** Text of strangers on one line: escape sequences and what reorders text are gone, other controls are spaces. */
export function printable(text: string): string {
	return stripVTControlCharacters(text).replace(CONTROL, " ").replace(HIDDEN, "");
}

/** The same for text of several lines; line breaks and tabs stay. */
export function printableLines(text: string): string {
	return stripVTControlCharacters(text.replaceAll("\r\n", "\n")).replace(CONTROL_BUT_LINES, " ").replace(HIDDEN, "");
}

/** A value as one line of JSON, for `--json`. What could move a terminal's cursor or reorder its text is escaped. */
export function jsonLine(value: unknown): string {
	return `${JSON.stringify(value).replace(CONTROL, escaped).replace(HIDDEN, escaped)}\n`;
}

/** `printable`, cut to `max` characters. */
export function brief(text: string, max: number): string {
	const characters = [...printable(text).trim()];
	return characters.length <= max ? characters.join("") : `${characters.slice(0, max - 1).join("")}…`;
}

/** An age for people: "3 s", "5 min", "2 h", "4 d". Never negative; clocks are set back. */
export function age(ms: number): string {
	const seconds = Math.max(0, Math.floor(ms / 1000));
	if (seconds < 60) return `${seconds} s`;
	if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
	if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)} h`;
	return `${Math.floor(seconds / 86_400)} d`;
}

/** Bytes for people, in powers of 1024: "512 B", "1.5 KiB". */
export function bytes(count: number): string {
	const units = ["B", "KiB", "MiB", "GiB", "TiB"];
	let [value, unit] = [count, 0];
	while (value >= 1024 && unit < units.length - 1) [value, unit] = [value / 1024, unit + 1];
	return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** "1 op", "3 ops". */
export function count(number: number, noun: string): string {
	return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

/** Rows in columns as wide as their widest cell; no space at the ends of lines. */
export function table(rows: readonly (readonly string[])[], indent = ""): string {
	const widths: number[] = [];
	for (const row of rows)
		row.forEach((cell, column) => {
			widths[column] = Math.max(widths[column] ?? 0, width(cell));
		});
	const pad = (cell: string, column: number) => cell + " ".repeat((widths[column] ?? 0) - width(cell));
	return rows.map((row) => indent + row.map(pad).join("  ").trimEnd()).join("\n");
}

export type Paint = (style: Parameters<typeof styleText>[0], text: string) => string;

/** Colours for a terminal; plain text where `stream` is none, or under NO_COLOR (https://no-color.org). */
export function painter(
	stream: { readonly isTTY?: boolean },
	env: Readonly<Record<string, string | undefined>>,
): Paint {
	if (stream.isTTY !== true || env.NO_COLOR || env.TERM === "dumb") return (_style, text) => text;
	return (style, text) => styleText(style, text, { validateStream: false });
}

function width(cell: string): number {
	return [...stripVTControlCharacters(cell)].length;
}

/** A character as JSON's escapes of its UTF-16 units. */
function escaped(character: string): string {
	const units = character.split("").map((unit) => unit.charCodeAt(0).toString(16).padStart(4, "0"));
	return units.map((unit) => `\\u${unit}`).join("");
}
