import { CONTENT_STYLE } from "./style-content.ts";

/**
 * How the pages look: one column to read, in the system's own type, light or dark as the reader's system is.
 *
 * Each colour is told from its background by 4.5 to 1 at least (WCAG 2.2, 1.4.3).
 */
export const STYLE = `
:root {
	color-scheme: light dark;
	--paper: #fdfdfc; --sunk: #f5f5f2; --card: #eef2f8; --edge: #dcdcd6;
	--ink: #1d1f22; --quiet: #5b6068; --link: #0b57c4; --focus: #0b57c4;
	--good: #1a6b35; --good-paper: #e7f4ea; --bad: #a91f2d; --bad-paper: #fbeaea; --wait: #80540a;
	--c0: #1d1f22; --c1: #a91f2d; --c2: #1a6b35; --c3: #80540a; --c4: #0b57c4; --c5: #8a2793; --c6: #0d676c; --c7: #5b6068;
	--mono: ui-monospace, "SF Mono", "Cascadia Code", Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
@media (prefers-color-scheme: dark) {
	:root {
		--paper: #16181b; --sunk: #1e2125; --card: #20262f; --edge: #363b42;
		--ink: #e4e5e7; --quiet: #a3a9b2; --link: #85b4ff; --focus: #85b4ff;
		--good: #7fd197; --good-paper: #1a2f21; --bad: #ff9a9a; --bad-paper: #3a2022; --wait: #e3b765;
		--c0: #a3a9b2; --c1: #ff9a9a; --c2: #7fd197; --c3: #e3b765; --c4: #85b4ff; --c5: #e2a3ea; --c6: #74cfd5; --c7: #e4e5e7;
	}
}
* { box-sizing: border-box; }
html { scroll-padding-top: 3.5rem; -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
	margin: 0; background: var(--paper); color: var(--ink);
	font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
	overflow-wrap: anywhere;
}
main { max-width: 50rem; margin: 0 auto; padding: 1.5rem 1.25rem 4rem; }
a { color: var(--link); text-underline-offset: 0.15em; }
:focus-visible { outline: 2px solid var(--focus); outline-offset: 2px; border-radius: 3px; }
h1, h2, h3, h4, h5, h6 { line-height: 1.3; text-wrap: balance; }
h1 { font-size: 1.6rem; margin: 0.5rem 0; letter-spacing: -0.01em; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.skip { position: absolute; left: 0.5rem; top: -4rem; z-index: 3; padding: 0.5rem 1rem; background: var(--paper); border: 1px solid var(--edge); }
.skip:focus { top: 0.5rem; }
.quiet { color: var(--quiet); }
.path { font-family: var(--mono); font-size: 0.875em; }

.bar {
	position: sticky; top: 0; z-index: 2; display: flex; gap: 1rem; align-items: center; height: 2.75rem; padding: 0 max(1.25rem, calc((100% - 47.5rem) / 2));
	background: var(--paper); border-bottom: 1px solid var(--edge); font-size: 0.875rem; white-space: nowrap;
}
.bar .brand { font-weight: 600; overflow: hidden; text-overflow: ellipsis; flex: 1; min-width: 0; }
.bar a { text-decoration: none; }
.bar a:hover { text-decoration: underline; }
#state { margin: 0; display: flex; gap: 0.5rem; align-items: center; color: var(--quiet); font-variant-numeric: tabular-nums; }
#state span:empty:not(.dot) { display: none; }
#state .dot { width: 0.55rem; height: 0.55rem; border-radius: 50%; background: currentColor; flex: none; }
#state[data-state="live"] { color: var(--good); }
#state[data-state="behind"] { color: var(--wait); }
#state[data-state="offline"], #state[data-state="revoked"], #state[data-state="deleted"] { color: var(--bad); font-weight: 600; }
#state[data-state="behind"] .dot, #state[data-state="offline"] .dot { background: transparent; border: 2px solid currentColor; }

.session { padding-bottom: 1rem; border-bottom: 1px solid var(--edge); margin-bottom: 0.5rem; }
.facts { margin: 0.25rem 0; color: var(--quiet); font-size: 0.875rem; display: flex; flex-wrap: wrap; gap: 0.1rem 1.1rem; }
.totals { display: flex; flex-wrap: wrap; gap: 0.4rem 2rem; margin: 1rem 0; }
.totals dt { color: var(--quiet); font-size: 0.8125rem; }
.totals dd { margin: 0; font-size: 1.05rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.notice { margin: 0.75rem 0; padding: 0.6rem 0.9rem; background: var(--sunk); border-left: 3px solid var(--wait); font-size: 0.9375rem; }
.gone { margin: 1rem 0; padding: 0.8rem 1rem; background: var(--bad-paper); border-left: 3px solid var(--bad); }
.session details { margin: 0.35rem 0; font-size: 0.9375rem; }
summary { cursor: pointer; }
.session > details > summary, .session .piece > details > summary, .session nav summary { color: var(--quiet); }
.session ul { margin: 0.4rem 0; padding-left: 1.25rem; }

/* A message that is not near the screen costs nothing; its height is remembered once it was seen. */
.message { content-visibility: auto; contain-intrinsic-size: auto none auto 14rem; position: relative; padding: 0.25rem 0; }
.message > header { display: flex; align-items: baseline; gap: 0.75rem; margin: 1.25rem 0 0.35rem; }
.message h2 { margin: 0; font-size: 0.9375rem; }
.message > header .facts { margin: 0; flex: 1; font-size: 0.8125rem; gap: 0.6rem; }
.anchor { color: var(--quiet); text-decoration: none; padding: 0 0.35rem; }
.user { background: var(--card); border-radius: 10px; padding: 0.1rem 1.1rem 0.7rem; margin-top: 1.75rem; }
.user > header { margin-top: 0.7rem; }
.user .prose { white-space: normal; }
.assistant + .assistant > header { position: absolute; right: 0; top: 0; margin: 0; opacity: 0; }
.assistant + .assistant > header:focus-within { opacity: 1; }
.assistant + .assistant { padding-top: 0; }
.message > footer:empty { display: none; }
.working { color: var(--quiet); margin: 0.5rem 0; }
.working::after { content: ""; display: inline-block; width: 0.5em; height: 1em; margin-left: 0.35em; vertical-align: -0.15em; background: var(--quiet); animation: blink 1.2s steps(2, start) infinite; }
@keyframes blink { to { visibility: hidden; } }
@media (prefers-reduced-motion: reduce) { .working::after { animation: none; } }
#end { color: var(--quiet); min-height: 1.6rem; }
#messages:empty + #end::before { content: "Nothing has been said in this session yet."; }
.new-below {
	position: fixed; bottom: 1.25rem; left: 50%; transform: translateX(-50%); z-index: 2; padding: 0.5rem 1rem; font: inherit; font-size: 0.875rem;
	color: var(--paper); background: var(--ink); border: 0; border-radius: 999px; cursor: pointer;
}
.new-below[hidden] { display: none; }
${CONTENT_STYLE}
@media (max-width: 34rem) {
	main { padding: 1rem 0.9rem 4rem; }
	.bar { padding: 0 0.9rem; gap: 0.6rem; }
	.user { margin-left: -0.4rem; margin-right: -0.4rem; padding-left: 0.8rem; padding-right: 0.8rem; }
	h1 { font-size: 1.35rem; }
	.totals { gap: 0.4rem 1.4rem; }
	.line::before, .line::after { display: none; }
}
@media print { .bar, .skip, .new-below, .import { display: none; } .message { content-visibility: visible; } .long { max-height: none; } }
`;
