import { isFinal } from "../protocol/live.ts";
import { brief, counted, duration, money } from "./amount.ts";
import { box } from "./box.ts";
import { code } from "./code.ts";
import { failure } from "./failure.ts";
import { file } from "./file.ts";
import { type Html, html, join, NOTHING, trusted } from "./html.ts";
import { type Json, list, number, record, text } from "./json.ts";
import { markdown } from "./markdown.ts";
import { spent, tokensOf } from "./spent.ts";
import { type Context, tool } from "./tool.ts";

/**
 * One part of a message, under its key; nothing for what only marks a place.
 *
 * Where `bearsStored`, a text that is still being written bears its payload: a script goes on from exactly what is shown.
 */
export function part(key: string, payload: unknown, context: Context): Html {
	const value = record(payload);
	const kind = text(value.type) ?? "unknown";
	const shown = content(kind, value, context);
	if (shown.html === "" && !isGrowing(value)) return NOTHING;
	const stored =
		context.bearsStored && isGrowing(value) && html` data-stored="${trusted(attribute(JSON.stringify(value)))}"`;
	return html`<div class="part" data-kind="${kind}" data-key="${key}"${stored}>${shown}</div>`;
}

/** True for a text into which OpenCode still writes. */
export function isGrowing(value: Json): boolean {
	const isText = value.type === "text" || value.type === "reasoning";
	return isText && number(record(value.time).start) !== undefined && !isFinal(value);
}

/** Exactly, controls too: it is read back, and seen by nobody. */
function attribute(json: string): string {
	return json.replace(/&/g, "&amp;").replace(/"/g, "&quot;").replace(/</g, "&lt;");
}

function content(kind: string, value: Json, context: Context): Html {
	switch (kind) {
		case "text":
			return texts(value);
		case "reasoning":
			return reasoning(value);
		case "tool":
			return tool(value, context);
		case "file":
			return file(value);
		case "step-finish":
			return step(value);
		case "patch":
			return patch(value);
		case "agent":
			return html`<p class="note">Agent <strong>${text(value.name) ?? "?"}</strong></p>`;
		case "subtask":
			return subtask(value);
		case "retry":
			return html`<div class="note">Attempt ${number(value.attempt)} failed and was made again.${failure(value.error)}</div>`;
		case "compaction":
			return html`<p class="note divider"><span>${value.auto === true ? "Compacted, as the context was full" : "Compacted"}</span></p>`;
		case "step-start":
		case "snapshot":
			return NOTHING;
		default:
			return unknown(kind, value);
	}
}

function texts(value: Json): Html {
	const source = text(value.text)?.trim();
	if (source === undefined || source === "") return NOTHING;
	const prose = html`<div class="prose">${markdown(source)}</div>`;
	if (value.synthetic !== true && value.ignored !== true) return prose;
	return html`<details class="aside"><summary>Added by OpenCode</summary>${prose}</details>`;
}

function reasoning(value: Json): Html {
	const source = text(value.text)?.trim();
	if (source === undefined || source === "") return NOTHING;
	const { start, end } = record(value.time);
	const [from, to] = [number(start), number(end)];
	const took =
		from !== undefined && to !== undefined ? html` <span class="quiet">${duration(to - from)}</span>` : NOTHING;
	const word = isGrowing(value) ? "Thinking" : "Thought";
	// Models begin a thought with what it is about.
	const about = /^\*\*([^*\n]{1,100})\*\*/.exec(source)?.[1];
	return html`<details class="aside thought"><summary>${word}${about && html`: <span class="about">${about}</span>`}${took}</summary><div class="prose">${markdown(source)}</div></details>`;
}

/** The end of a step: what it took. */
function step(value: Json): Html {
	const tokens = tokensOf(value.tokens);
	const cost = number(value.cost) ?? 0;
	if (spent(tokens) === 0 && cost === 0) return NOTHING;
	const facts = [
		`${brief(tokens.input + tokens.cacheRead + tokens.cacheWrite)} in`,
		...(tokens.cacheRead > 0 ? [`${brief(tokens.cacheRead)} cached`] : []),
		`${brief(tokens.output + tokens.reasoning)} out`,
		...(cost > 0 ? [money(cost)] : []),
	];
	return html`<p class="step"><span class="unseen">Step: </span>${facts.join(" · ")}</p>`;
}

function patch(value: Json): Html {
	const files = list(value.files).map((path) => text(path) ?? "?");
	if (files.length === 0) return NOTHING;
	const items = files.map((path) => html`<li class="path">${path}</li>`);
	return html`<details class="aside"><summary>${counted(files.length, "file")} changed</summary><ul>${join(items)}</ul></details>`;
}

function subtask(value: Json): Html {
	const prompt = text(value.prompt);
	return html`<div class="note">Sub-task for <strong>${text(value.agent) ?? "an agent"}</strong>: ${text(value.description) ?? ""}${prompt === undefined ? NOTHING : html`<div class="prose">${markdown(prompt)}</div>`}</div>`;
}

/** What OpenCode may say one day: shown as it is, so that nothing is missing. */
function unknown(kind: string, value: Json): Html {
	const source = JSON.stringify(value, null, 2);
	return html`<details class="aside"><summary>Part of the type “${kind}”</summary>${box("Part", source, code(source, "json"), "code")}</details>`;
}
