import { bytes } from "./amount.ts";
import { type Html, html } from "./html.ts";
import { record, text } from "./json.ts";

/** Images that a browser only paints. SVG is a document, with scripts and links of its own. */
const IMAGE = /^data:image\/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]+$/;

/** A file of a message or of a tool's answer: an image is shown, of anything else its name, type and size. */
export function file(value: unknown): Html {
	const { url, mime, filename, source } = record(value);
	const name = text(filename) ?? text(record(source).path) ?? "a file";
	const location = text(url) ?? "";
	const type = text(mime) ?? "unknown type";
	const size = sizeOf(location);
	const facts = html`<span class="path">${name}</span> <span class="quiet">${type}${size === undefined ? "" : `, ${bytes(size)}`}</span>`;
	if (!IMAGE.test(location)) return html`<p class="file">${facts}</p>`;
	return html`<figure class="image"><img src="${location}" alt="${name}" loading="lazy" decoding="async"><figcaption>${facts}</figcaption></figure>`;
}

/** Bytes of a data: URL's content; undefined for a link. */
function sizeOf(url: string): number | undefined {
	const [, base64, content] = /^data:[^,]*?(;base64)?,(.*)$/s.exec(url) ?? [];
	if (content === undefined) return undefined;
	return base64 ? Math.floor((content.replace(/=+$/, "").length * 3) / 4) : content.length;
}
