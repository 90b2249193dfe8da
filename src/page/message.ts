import { messageIdOf } from "../model/op.ts";
import { instant } from "./amount.ts";
import { failure } from "./failure.ts";
import { type Html, html } from "./html.ts";
import { type Json, number, record, text } from "./json.ts";
import { spentBy } from "./spent.ts";

/** Before and behind a message's parts, so that they can be written one by one. */
export interface Frame {
	readonly open: Html;
	readonly close: Html;
}

/** One message around its parts. `payload` is undefined where only parts of it are stored. */
export function frame(key: string, payload: unknown): Frame {
	const message = record(payload);
	const role = message.role === "user" ? "user" : "assistant";
	const id = anchor(key);
	const name = role === "user" ? "You" : "Assistant";
	const took = role === "assistant" && html` data-spent="${JSON.stringify(spentBy(message))}"`;
	return {
		open: html`<article class="message ${role}" id="${id}" data-key="${key}" data-order="${orderOf(key, message)}"${took}><header><h2>${name}</h2><p class="facts">${facts(message)}</p><a class="anchor" href="#${id}" aria-label="Link to this message">#</a></header><div class="parts">`,
		close: html`</div><footer>${failure(message.error)}${isUnderWay(message) && html`<p class="working">Working…</p>`}</footer></article>`,
	};
}

/** True for an answer that has neither ended nor failed. */
export function isUnderWay(message: Json): boolean {
	return message.role === "assistant" && number(record(message.time).completed) === undefined && message.error == null;
}

function facts(message: Json): Html {
	const model = record(message.model);
	const named = [
		text(message.agent) ?? text(message.mode),
		text(message.modelID) ?? text(model.modelID),
		message.summary === true ? "summary" : undefined,
	];
	return html`${named.filter((name) => name !== undefined).join(" · ")} ${instant(number(record(message.time).created))}`;
}

/** What a link names a message by. */
export function anchor(key: string): string {
	return `m-${(messageIdOf(key) ?? "").replace(/[^A-Za-z0-9_-]/g, "_")}`;
}

/**
 * Messages in the order of these texts are in the order of the session: by when they were made, then by id. Not by id
 * alone, since OpenCode's ids begin anew every 2.2 years (their clock is 36 bits of milliseconds).
 */
export function orderOf(key: string, message: Json): string {
	const created = number(record(message.time).created);
	// What nobody can place stands last.
	const at = created === undefined || created < 0 ? Number.MAX_SAFE_INTEGER : created;
	return `${Math.floor(Math.min(at, Number.MAX_SAFE_INTEGER)).toString().padStart(16, "0")} ${key}`;
}
