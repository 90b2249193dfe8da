import { type Html, html } from "./html.ts";

/** What fits into a box without scrolling, about. */
const LINES_MAX = 14;
const CHARS_MAX = 900;

/** Long text in a box of its own that scrolls, complete; a keyboard reaches it where there is something to scroll. */
export function box(label: string, plain: string, shown: Html, kind = "output"): Html {
	const isLong = plain.length > CHARS_MAX || plain.split("\n", LINES_MAX + 1).length > LINES_MAX;
	if (!isLong) return html`<pre class="${kind}">${shown}</pre>`;
	return html`<pre class="${kind} long" tabindex="0" role="region" aria-label="${label}">${shown}</pre>`;
}
