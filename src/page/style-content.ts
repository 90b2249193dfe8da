import { LIST_STYLE } from "./style-list.ts";

/** What stands in messages: prose, code, tools, diffs; and the list of sessions. */
export const CONTENT_STYLE = `
/* No text can change the order of what stands around it. */
.prose > *, pre, .path, .subject, h1, dd, li, summary, figcaption, .about, td, th { unicode-bidi: isolate; }
.prose p, .prose li, .prose h3, .prose h4, h1, .row-title { unicode-bidi: plaintext; text-align: start; }
.prose > :first-child { margin-top: 0; }
.prose > :last-child { margin-bottom: 0; }
.prose p, .prose ul, .prose ol { margin: 0.65rem 0; }
.prose ul, .prose ol { padding-left: 1.5rem; }
.prose li { margin: 0.2rem 0; }
.prose h3, .prose h4, .prose h5, .prose h6 { margin: 1.2rem 0 0.4rem; font-size: 1.05rem; }
.prose h3 { font-size: 1.2rem; }
.prose blockquote { margin: 0.75rem 0; padding: 0.1rem 0 0.1rem 1rem; border-left: 3px solid var(--edge); color: var(--quiet); }
.prose hr { border: 0; border-top: 1px solid var(--edge); margin: 1.25rem 0; }
.wide { overflow-x: auto; margin: 0.75rem 0; }
table { border-collapse: collapse; font-size: 0.9375rem; overflow-wrap: normal; }
th, td { border: 1px solid var(--edge); padding: 0.3rem 0.65rem; text-align: start; vertical-align: top; }
th { background: var(--sunk); }
code, pre { font-family: var(--mono); font-size: 0.8438rem; }
:not(pre) > code { background: var(--sunk); border: 1px solid var(--edge); border-radius: 4px; padding: 0.05rem 0.3rem; }
pre { margin: 0.6rem 0; padding: 0.7rem 0.9rem; background: var(--sunk); border-radius: 6px; line-height: 1.5; white-space: pre-wrap; overflow-wrap: anywhere; tab-size: 4; }
pre.long { max-height: 22rem; overflow-y: auto; }
pre.plain { background: none; padding: 0; font-family: inherit; font-size: inherit; }
.user :not(pre) > code, .user pre { background: var(--paper); }

.part { margin: 0.6rem 0; }
.part[data-kind="step-finish"] { margin: 0.2rem 0 0.4rem; }
.step { margin: 0; color: var(--quiet); font-size: 0.8125rem; font-variant-numeric: tabular-nums; }
.aside > summary { color: var(--quiet); font-size: 0.9375rem; }
.aside > .prose, .aside > ul { margin: 0.4rem 0 0.4rem 0.35rem; padding-left: 0.9rem; border-left: 2px solid var(--edge); color: var(--quiet); font-size: 0.9375rem; }
.aside .about { font-style: italic; }
.aside > ul { list-style: none; }
.note { color: var(--quiet); font-size: 0.9375rem; }
.divider { display: flex; gap: 1rem; align-items: center; text-align: center; }
.divider::before, .divider::after { content: ""; flex: 1; border-top: 1px solid var(--edge); }
.file { margin: 0.3rem 0; }
.image { margin: 0.6rem 0; }
.image img { display: block; max-width: 100%; max-height: 32rem; min-height: 2rem; border: 1px solid var(--edge); border-radius: 6px; background: var(--sunk); }
.image figcaption { font-size: 0.8125rem; margin-top: 0.25rem; }

.tool { border: 1px solid var(--edge); border-radius: 8px; margin: 0; }
.tool > summary, p.tool { padding: 0.4rem 0.8rem; font-size: 0.875rem; }
p.tool { display: flex; gap: 0.6rem; }
.tool > summary { display: flex; gap: 0.6rem; align-items: baseline; list-style: none; }
.tool > summary::-webkit-details-marker { display: none; }
.tool > summary::before { content: "▸"; color: var(--quiet); flex: none; width: 0.7em; }
.tool[open] > summary::before { content: "▾"; }
.tool .name { font-family: var(--mono); font-weight: 600; flex: none; }
.tool .subject { color: var(--quiet); flex: 1; min-width: 0; }
.tool .state { color: var(--quiet); flex: none; font-variant-numeric: tabular-nums; }
.tool[data-state="error"] { border-color: var(--bad); }
.tool[data-state="error"] .state { color: var(--bad); font-weight: 600; }
.tool[data-state="running"] .state, .tool[data-state="pending"] .state { color: var(--wait); }
.tool > .body { padding: 0 0.8rem 0.6rem; }
.tool .body > pre { margin: 0.35rem 0; }
.tool .command { background: none; padding: 0.2rem 0; margin: 0; }
.sign { color: var(--quiet); user-select: none; }
.asked { border-left: 3px solid var(--edge); padding-left: 0.9rem; color: var(--quiet); margin: 0.4rem 0; }
.child { margin: 0.3rem 0; }
.todos { list-style: none; margin: 0.4rem 0; padding: 0; }
.todos li { display: flex; gap: 0.6rem; margin: 0.1rem 0; font-size: 0.9375rem; }
.todos .mark { width: 1em; text-align: center; color: var(--quiet); flex: none; }
.todos [data-status="completed"] { color: var(--quiet); }
.todos [data-status="completed"] .mark { color: var(--good); }
.todos [data-status="cancelled"] { color: var(--quiet); text-decoration: line-through; }
.todos [data-status="in_progress"] .mark { color: var(--wait); }

.failed { margin: 0.5rem 0; padding: 0.5rem 0.9rem; background: var(--bad-paper); border-left: 3px solid var(--bad); border-radius: 0 6px 6px 0; }
.failed p { margin: 0; color: var(--bad); }
.failed pre { margin: 0.3rem 0 0; background: none; padding: 0; }
.aborted { margin: 0.5rem 0; color: var(--wait); font-weight: 600; }

.diff { margin: 0.5rem 0; border: 1px solid var(--edge); border-radius: 6px; overflow: hidden; }
.diff figcaption { display: flex; gap: 0.75rem; justify-content: space-between; padding: 0.3rem 0.75rem; background: var(--sunk); font-size: 0.875rem; }
.tool .body > .diff { margin: 0.35rem 0; }
.changes { white-space: nowrap; font-variant-numeric: tabular-nums; }
.added { color: var(--good); }
.removed { color: var(--bad); }
.lines { margin: 0; padding: 0.25rem 0; background: none; border-radius: 0; }
.line { display: block; padding: 0 0.75rem 0 7.6rem; text-indent: -1ch; position: relative; min-height: 1.5em; unicode-bidi: isolate; }
.line::before, .line::after { position: absolute; top: 0; width: 2.8rem; text-align: right; color: var(--quiet); font-size: 0.75rem; line-height: 1.7; text-indent: 0; }
.line::before { content: attr(data-before); left: 0.3rem; }
.line::after { content: attr(data-after); left: 3.5rem; }
.plus { background: var(--good-paper); }
.minus { background: var(--bad-paper); }

.hljs-comment, .hljs-quote, .hljs-meta { color: var(--c7); font-style: italic; }
.hljs-keyword, .hljs-selector-tag, .hljs-literal, .hljs-section, .hljs-name { color: var(--c5); }
.hljs-string, .hljs-regexp, .hljs-addition, .hljs-symbol, .hljs-bullet { color: var(--c2); }
.hljs-number, .hljs-attr, .hljs-attribute, .hljs-variable, .hljs-template-variable, .hljs-selector-attr { color: var(--c3); }
.hljs-title, .hljs-built_in, .hljs-type, .hljs-selector-class, .hljs-selector-id { color: var(--c4); }
.hljs-property, .hljs-params { color: var(--ink); }
.hljs-deletion { color: var(--c1); }
.bold { font-weight: 700; }
.dim { color: var(--quiet); }
.c0 { color: var(--c0); } .c1 { color: var(--c1); } .c2 { color: var(--c2); } .c3 { color: var(--c3); }
.c4 { color: var(--c4); } .c5 { color: var(--c5); } .c6 { color: var(--c6); } .c7 { color: var(--c7); }
${LIST_STYLE}`;
