import { hash } from "node:crypto";
import { html, raw } from "hono/html";

const STYLE = `
body { max-width: 42rem; margin: 4rem auto; padding: 0 1rem; font: 16px/1.5 system-ui, sans-serif; }
pre { padding: 1rem; overflow-x: auto; border: 1px solid; border-radius: 4px; }
`;

/** Lets in the page's own style and nothing else: no script, no image, no frame. */
export const PAGE_CSP = `default-src 'none'; style-src 'sha256-${hash("sha256", STYLE, "base64")}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`;

/** What a person sees who opens a share's link. The title is the session's own and is escaped. */
export function sharePage(title: string, url: string, isDeletedAtSource: boolean) {
	return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>${title}</title>
${raw(`<style>${STYLE}</style>`)}
</head>
<body>
<h1>${title}</h1>
<p>A shared OpenCode session. To read it and go on with it, import it into your own OpenCode:</p>
<pre>opencode import ${url}</pre>
${isDeletedAtSource ? html`<p>Its owner has deleted the session in OpenCode since; this copy stays until it is unshared.</p>` : ""}
</body>
</html>
`;
}
