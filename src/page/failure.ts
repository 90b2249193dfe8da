import { type Html, html } from "./html.ts";
import { number, record, text } from "./json.ts";

/** What went wrong with an answer, in OpenCode's words. An abort is a person's choice, and no failure. */
export function failure(value: unknown): Html {
	if (value === undefined || value === null) return html``;
	const error = record(value);
	const data = record(error.data);
	const name = text(error.name) ?? "Error";
	if (name === "MessageAbortedError") return html`<p class="aborted">Aborted</p>`;
	const status = number(data.statusCode);
	const message = text(data.message) ?? text(error.message);
	return html`<div class="failed"><p><strong>${spoken(name)}</strong>${status === undefined ? "" : ` (${status})`}</p>${message === undefined ? html`` : html`<pre class="plain">${message}</pre>`}</div>`;
}

/** `ProviderAuthError` as words. */
function spoken(name: string): string {
	const words = name.replace(/Error$/, "").replace(/([a-z])([A-Z])/g, "$1 $2");
	return words === "" || words === "Unknown" ? "Failed" : `Failed: ${words}`;
}
