import { counted, instant } from "./amount.ts";
import { changes, sessionDiff } from "./diff.ts";
import { type Html, html, join, NOTHING } from "./html.ts";
import { number, record, text } from "./json.ts";
import { type Spent, totals } from "./spent.ts";
import { sessionTodos } from "./todo.ts";
import type { Child } from "./tool.ts";

/** What a page's head tells, besides the messages. Payloads are undefined where the share has none. */
export interface SessionFacts {
	readonly session: unknown;
	readonly todos: unknown;
	readonly diff: unknown;
	readonly isDeletedAtSource: boolean;
	/** By session id. */
	readonly children: ReadonlyMap<string, Child>;
	readonly spent: Spent;
	/** Messages that an undo has taken back; they are not shown. */
	readonly undone: number;
	readonly cut?: Cut | undefined;
	/** The public link. */
	readonly url: string;
}

/** Where an undo has cut a session off. */
export interface Cut {
	/** `orderOf` the first message that is not shown whole. */
	readonly order: string;
	/** Key of the first part of it that is not shown; undefined where none of it is. */
	readonly part: string | undefined;
}

export const UNTITLED = "An OpenCode session";

export function titleOf(session: unknown): string {
	return text(record(session).title) ?? UNTITLED;
}

/** The message, and in it the part, from which on an undo has taken everything back; undefined while nothing is undone. */
export function undoneFrom(
	session: unknown,
): { readonly messageId: string; readonly partId: string | undefined } | undefined {
	const revert = record(record(session).revert);
	const messageId = text(revert.messageID);
	return messageId === undefined ? undefined : { messageId, partId: text(revert.partID) };
}

/** The pieces of a page that change by themselves as the session goes on; each under its name in `data-piece`. */
export const PIECES = {
	title: ({ session }: SessionFacts) => html`<h1>${titleOf(session)}</h1>`,
	facts: ({ session }: SessionFacts) => facts(session),
	totals: ({ spent }: SessionFacts) => totals(spent),
	notice: notice,
	children: ({ children }: SessionFacts) => subSessions(children),
	todos: ({ todos }: SessionFacts) => sessionTodos(todos),
	diff: ({ diff }: SessionFacts) => sessionDiff(diff),
} as const;
export type Piece = keyof typeof PIECES;

export function piece(name: Piece, facts: SessionFacts): Html {
	return html`<div class="piece" data-piece="${name}">${PIECES[name](facts)}</div>`;
}

export function head(told: SessionFacts): Html {
	const command = html`<details class="import"><summary>Go on with it in your own OpenCode</summary><pre class="command"><span class="sign" aria-hidden="true">$ </span>opencode import ${told.url}</pre></details>`;
	const above = (["title", "facts", "totals", "notice"] as const).map((name) => piece(name, told));
	const below = (["todos", "diff", "children"] as const).map((name) => piece(name, told));
	return html`<header class="session">${join(above)}${command}${join(below)}</header>`;
}

function facts(session: unknown): Html {
	const { directory, version, time, summary, parentID } = record(session);
	const { created, updated } = record(time);
	const { additions, deletions, files } = record(summary);
	const known = [
		text(directory) && html`<span class="path">${text(directory)}</span>`,
		number(created) !== undefined && html`<span>begun ${instant(number(created))}</span>`,
		number(updated) !== undefined && html`<span>last changed ${instant(number(updated))}</span>`,
		Boolean(number(files)) &&
			html`<span>${counted(number(files) ?? 0, "file")} ${changes(number(additions) ?? 0, number(deletions) ?? 0)}</span>`,
		text(version) && html`<span>OpenCode ${text(version)}</span>`,
		text(parentID) && html`<span>a sub-session</span>`,
	];
	return html`<p class="facts">${join(known.filter((fact) => typeof fact === "object"))}</p>`;
}

function notice({ isDeletedAtSource, undone }: SessionFacts): Html {
	const deleted = html`<p class="notice">Its owner has deleted the session in OpenCode since; this copy stays until it is unshared.</p>`;
	const reverted = html`<p class="notice">${counted(undone, "message")} undone and not shown.</p>`;
	return html`${isDeletedAtSource && deleted}${undone > 0 && reverted}`;
}

function subSessions(children: ReadonlyMap<string, Child>): Html {
	if (children.size === 0) return NOTHING;
	const items = [...children.values()].map(({ title, path }) => html`<li><a href="${path}">${title}</a></li>`);
	return html`<nav aria-label="Sub-sessions"><details><summary>${counted(children.size, "sub-session")}</summary><ul>${join(items)}</ul></details></nav>`;
}
