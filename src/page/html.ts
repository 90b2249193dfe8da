/** HTML that is safe to show: everything of a session in it has been escaped. Only this folder makes it. */
export interface Html {
	readonly html: string;
}

type Value = Html | string | number | false | undefined | readonly Html[];

/** A template of HTML. What is put into it is escaped, unless it is HTML itself. */
export function html(strings: TemplateStringsArray, ...values: readonly Value[]): Html {
	let text = strings[0] ?? "";
	for (const [index, value] of values.entries()) text += textOf(value) + (strings[index + 1] ?? "");
	return { html: text };
}

/** What a renderer of ours, or a library that escapes, has made. */
export function trusted(text: string): Html {
	return { html: text };
}

export const NOTHING: Html = trusted("");

export function join(pieces: readonly Html[], separator = ""): Html {
	return trusted(pieces.map((piece) => piece.html).join(separator));
}

function textOf(value: Value): string {
	if (value === undefined || value === false) return "";
	if (typeof value === "number") return String(value);
	if (typeof value === "string") return escaped(value);
	return "html" in value ? value.html : join(value).html;
}

const ENTITIES: Readonly<Record<string, string>> = {
	"&": "&amp;",
	"<": "&lt;",
	">": "&gt;",
	'"': "&quot;",
	"'": "&#39;",
};

/** For text and for attributes in quotes alike. */
export function escaped(text: string): string {
	return shown(text).replace(/[&<>"']/g, (character) => ENTITIES[character] ?? "");
}

/**
 * What would not be seen, or would make other text seen in another order: controls, the embeddings, overrides and isolates of
 * bidirectional text ("Trojan Source", CVE-2021-42574), the invisible tag characters. Marks that only hint at a direction
 * and joiners stay, since whole scripts need them. A line feed and a tab are what they are.
 */
const UNSEEN = /(?![\n\t])[\p{Cc}\u200b\u2060\u202a-\u202e\u2066-\u2069\ufeff\u{e0000}-\u{e007f}]/gu;

/** Text with its unseen characters made visible, as `⟨U+202E⟩`, and one kind of line end. */
export function shown(text: string): string {
	return text
		.replace(/\r\n?/g, "\n")
		.replace(
			UNSEEN,
			(character) => `⟨U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}⟩`,
		);
}
