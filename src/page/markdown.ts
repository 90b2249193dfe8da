import MarkdownIt from "markdown-it";
import { code } from "./code.ts";
import { escaped, type Html, html, shown, trusted } from "./html.ts";

/** Characters that are read as markdown. A longer text is no prose, and is shown as it is. */
const MARKDOWN_CHARS_MAX = 200_000;

/** Quotes and lists in each other, 50 levels deep: below 100 elements, the reader leaves out what stands there. */
const TOO_DEEP = /^(?:(?:[ \t]*(?:[>+*-]|\d{1,9}[.)])){50}|[ \t]{90,}(?:[>+*-]|\d))/m;

/** Below the page's title and the heading of a message. */
const HEADINGS_BELOW = 2;

const LINKS = /^(?:https?:\/\/|mailto:)/i;

const reader = new MarkdownIt({ html: false, linkify: true, typographer: false });
// Nothing but what leads to a page or to a letter: no script, no data, no file, and nothing on this server.
reader.validateLink = (url) => LINKS.test(url.trim());
// `a.ts` and `b.sh` are files here, and no hosts.
reader.linkify.set({ fuzzyLink: false, fuzzyEmail: false });

const rules = reader.renderer.rules;
rules.link_open = (tokens, index, options, _, self) => {
	tokens[index]?.attrSet("rel", "noopener noreferrer nofollow");
	return self.renderToken(tokens, index, options);
};
// What lies elsewhere is not fetched for who only reads: the link to it is shown.
rules.image = (tokens, index) => {
	const token = tokens[index];
	const url = token?.attrGet("src") ?? "";
	return html`<a href="${url}" rel="noopener noreferrer nofollow">[image: ${token?.content || url}]</a>`.html;
};
rules.fence = (tokens, index) => {
	const token = tokens[index];
	return block(token?.content ?? "", token?.info.trim().split(/\s/)[0]?.toLowerCase()).html;
};
rules.code_block = (tokens, index) => block(tokens[index]?.content ?? "", undefined).html;
rules.table_open = () => '<div class="wide" tabindex="0" role="group" aria-label="Table"><table>';
rules.table_close = () => "</table></div>";
// An empty head names nothing.
const head = (offset: number): NonNullable<typeof rules.th_open> => {
	return (tokens, index, options, _, self) => {
		const token = tokens[index];
		if (token && tokens[index + offset]?.content === "") token.tag = "td";
		return self.renderToken(tokens, index, options);
	};
};
rules.th_open = head(1);
rules.th_close = head(-1);
for (const name of ["heading_open", "heading_close"] as const)
	rules[name] = (tokens, index, options, _, self) => {
		const token = tokens[index];
		if (token) token.tag = `h${Math.min(6, Number(token.tag.slice(1)) + HEADINGS_BELOW)}`;
		return self.renderToken(tokens, index, options);
	};

/** Markdown as HTML. HTML in it is text; links lead to http, https and mailto only; images are links. */
export function markdown(source: string): Html {
	if (source.length > MARKDOWN_CHARS_MAX || TOO_DEEP.test(source)) return html`<pre class="plain">${source}</pre>`;
	// Afterwards, since markdown has ways to spell a character.
	return trusted(shown(reader.render(source)));
}

/** A block of code. It wraps, so it needs no scrolling and no focus. */
export function block(source: string, language: string | undefined): Html {
	return trusted(
		`<pre class="code"${named(language)}><code>${code(source.replace(/\n$/, ""), language).html}</code></pre>`,
	);
}

function named(language: string | undefined): string {
	return language ? ` data-language="${escaped(language.slice(0, 20))}"` : "";
}
