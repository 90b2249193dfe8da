import { type Html, html, join } from "./html.ts";
import { list, record, text } from "./json.ts";

const MARKS: Readonly<Record<string, string>> = { completed: "✓", in_progress: "▸", cancelled: "×" };

/** A list of todos; nothing where there is none. */
export function todoList(value: unknown): Html {
	const todos = list(value).map(record);
	if (todos.length === 0) return html``;
	const items = todos.map(({ content, status }) => {
		const state = text(status) ?? "pending";
		return html`<li data-status="${state}"><span class="mark" aria-hidden="true">${MARKS[state] ?? "○"}</span><span>${text(content) ?? "…"}<span class="unseen"> (${state.replace("_", " ")})</span></span></li>`;
	});
	return html`<ul class="todos">${join(items)}</ul>`;
}

/** The session's own list, as it is now. */
export function sessionTodos(value: unknown): Html {
	const todos = list(value).map(record);
	if (todos.length === 0) return html``;
	const done = todos.filter(({ status }) => status === "completed").length;
	return html`<details class="session-todos"><summary>Todo list: ${done} of ${todos.length} done</summary>${todoList(value)}</details>`;
}
