import { type Html, html } from "./html.ts";
import { head, type SessionFacts, titleOf } from "./session.ts";

/** What a page loads, both from its own server; without a script it still shows everything. */
export interface Assets {
	readonly style: string;
	readonly script: string | undefined;
}

/**
 * Lets in what this server serves and nothing else: no inline script, no third party, no frame, no form; images only where
 * they are in the page. Whatever script of ours writes HTML does it through the one policy that it makes.
 */
export const PAGE_CSP = [
	"default-src 'none'",
	"script-src 'self'",
	"style-src 'self'",
	"img-src data:",
	"connect-src 'self'",
	"base-uri 'none'",
	"form-action 'none'",
	"frame-ancestors 'none'",
	"require-trusted-types-for 'script'",
	"trusted-types page",
].join("; ");

/** How a share's page begins, up to its messages. `cursor`: what to watch it from, so that nothing is missed. */
export function shareStart(facts: SessionFacts, slug: string, cursor: number, at: Html, assets: Assets): Html {
	return html`${top(titleOf(facts.session), assets)}<body class="share">
<a class="skip" href="#messages">Skip to the messages</a>
<header class="bar"><span class="brand">OpenCode session</span><p id="state" role="status" data-state="still"><span class="dot" aria-hidden="true"></span><span class="words">As of ${at}</span></p><a class="to-end" href="#end">To the end</a></header>
<main id="main" data-slug="${slug}" data-cursor="${cursor}" data-undone="${facts.undone}"${facts.cut && html` data-cut="${facts.cut.order}"${facts.cut.part && html` data-cut-part="${facts.cut.part}"`}`}${facts.isDeletedAtSource && html` data-deleted`} data-children="${JSON.stringify(Object.fromEntries(facts.children))}">
${head(facts)}
<div id="messages">`;
}

export const SHARE_END = html`</div>
<p id="end" tabindex="-1"></p>
</main>
</body>
</html>
`;

/** The list of an owner's shares; all of it is asked for by its script, after signing in. */
export function listPage(assets: Assets): Html {
	return html`${top("Shared sessions", assets)}<body class="list">
<a class="skip" href="#main">Skip to the list</a>
<header class="bar"><span class="brand">opencode-outbox</span><p id="state" role="status" data-state="still"><span class="dot" aria-hidden="true"></span><span class="words">Not signed in</span></p></header>
<main id="main">
<h1>Shared sessions</h1>
${assets.script === undefined ? html`<p>This is a share server of opencode-outbox. A session is read at its link; the list of sessions needs the page's script, which is not built here.</p>` : html`<noscript><p>This is a share server of opencode-outbox. A session is read at its link; this list needs JavaScript.</p></noscript>`}
<div id="app"></div>
</main>
</body>
</html>
`;
}

/** What somebody sees whose link leads nowhere, or nowhere any more. */
export function lostPage({ how, title, words }: { how: string; title: string; words: string }, assets: Assets): Html {
	return html`${top(title, { ...assets, script: undefined })}<body class="lost">
<main id="main" data-lost="${how}"><h1>${title}</h1><p>${words}</p></main>
</body>
</html>
`;
}

function top(title: string, { style, script }: Assets): Html {
	return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<meta name="color-scheme" content="light dark">
<title>${title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="${style}">
${script !== undefined && html`<script type="module" src="${script}"></script>`}
</head>
`;
}
