import { escaped, type Html, trusted } from "./html.ts";

/** Escape sequences: CSI, OSC (titles, links), the strings that end like it, and the short ones. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what it looks for.
const SEQUENCE = /\x1b(?:\[([0-9;:]*)[ -/]*([@-~])|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])/g;

/** Shown before what is left in colour: nobody paints more pieces than this to be read. */
const SPANS_MAX = 5000;

/**
 * What a program wrote to a terminal: its sixteen colours, bold and dim as classes, every other escape sequence left out.
 *
 * Colours of 256 and of 24 bits are left out too: none was chosen for the background of this page.
 */
export function ansi(text: string): Html {
	if (!text.includes("\x1b")) return trusted(escaped(text));
	let out = "";
	let last = 0;
	let spans = 0;
	let style = new Set<string>();
	const put = (piece: string) => {
		if (piece === "") return;
		const isStyled = style.size > 0 && spans++ < SPANS_MAX;
		out += isStyled ? `<span class="${[...style].join(" ")}">${escaped(piece)}</span>` : escaped(piece);
	};
	for (const found of text.matchAll(SEQUENCE)) {
		put(text.slice(last, found.index));
		last = found.index + found[0].length;
		if (found[2] === "m") style = styled(style, (found[1] ?? "").split(/[;:]/).map(Number));
	}
	put(text.slice(last));
	return trusted(out);
}

function styled(before: ReadonlySet<string>, codes: readonly number[]): Set<string> {
	let style = new Set(before);
	const colour = (name: string | undefined) => {
		style = new Set([...style].filter((other) => !other.startsWith("c")));
		if (name !== undefined) style.add(name);
	};
	for (let at = 0; at < codes.length; at++) {
		const code = codes[at] ?? 0;
		if (code === 0) style.clear();
		else if (code === 1) style.add("bold");
		else if (code === 2) style.add("dim");
		else if (code === 22) {
			style.delete("bold");
			style.delete("dim");
		} else if (code >= 30 && code <= 37) colour(`c${code - 30}`);
		else if (code >= 90 && code <= 97) colour(`c${code - 90}`);
		else if (code === 38 || code === 48) {
			if (code === 38) colour(undefined);
			at += codes[at + 1] === 5 ? 2 : 4;
		} else if (code === 39) colour(undefined);
	}
	return style;
}
