import { duration } from "./amount.ts";
import { ansi } from "./ansi.ts";
import { box } from "./box.ts";
import { code, languageOf } from "./code.ts";
import { toolDiff } from "./diff.ts";
import { file } from "./file.ts";
import { type Html, html, join, NOTHING } from "./html.ts";
import { type Json, list, number, record, text } from "./json.ts";
import { markdown } from "./markdown.ts";
import { todoList } from "./todo.ts";

/** A sub-session that whoever views this share may view too. */
export interface Child {
	readonly title: string;
	/** Where it is shown, on this server. */
	readonly path: string;
}

/** What a part is shown with, besides itself. */
export interface Context {
	/** By session id. */
	readonly children: ReadonlyMap<string, Child>;
	/** True for a page as the server writes it. */
	readonly bearsStored: boolean;
}

interface Call {
	readonly name: string;
	readonly status: string;
	readonly input: Json;
	readonly metadata: Json;
	readonly output: string | undefined;
	readonly state: Json;
}

/** Tools whose body is what a reader came for; of the others the line that names them is enough at first. */
const OPEN = new Set(["bash", "edit", "multiedit", "write", "patch", "apply_patch", "todowrite", "task"]);

const STATES: Readonly<Record<string, string>> = { pending: "waiting", running: "running", error: "failed" };

/** One call of a tool: what was asked, what came of it, how it stands. */
export function tool(part: Json, context: Context): Html {
	const state = record(part.state);
	const call: Call = {
		name: text(part.tool) ?? "tool",
		status: text(state.status) ?? "pending",
		input: record(state.input),
		metadata: record(state.metadata),
		output: text(state.output) ?? text(record(state.metadata).output),
		state,
	};
	const body = join([...bodyOf(call, context), errorOf(call), join(list(state.attachments).map(file))]);
	const line = html`<span class="name">${call.name}</span> <span class="subject">${subjectOf(call)}</span> ${stateOf(call)}`;
	if (body.html === "") return html`<p class="tool" data-state="${call.status}">${line}</p>`;
	const isOpen = OPEN.has(call.name) || call.status === "error";
	return html`<details class="tool" data-state="${call.status}"${isOpen && html` open`}><summary>${line}</summary><div class="body">${body}</div></details>`;
}

function stateOf({ status, state }: Call): Html {
	const word = STATES[status];
	if (word !== undefined) return html`<span class="state">${word}</span>`;
	const { start, end } = record(state.time);
	const [from, to] = [number(start), number(end)];
	const took = from !== undefined && to !== undefined ? duration(to - from) : "";
	return html`<span class="state"><span class="unseen">done </span>${took}</span>`;
}

/** What the call is about, in a line. */
function subjectOf({ name, input, state }: Call): string {
	if (name === "bash") return text(input.description) ?? "";
	const subject =
		text(input.filePath) ?? text(input.pattern) ?? text(input.url) ?? text(input.query) ?? text(input.path);
	return subject ?? text(state.title) ?? text(input.description) ?? "";
}

function bodyOf(call: Call, context: Context): Html[] {
	const { name, input, metadata, output } = call;
	if (name === "bash" && text(input.command) !== undefined) return [command(String(input.command)), terminal(output)];
	if (name === "todowrite" || name === "todoread") {
		const todos = todoList(input.todos ?? metadata.todos);
		if (todos.html !== "") return [todos];
	}
	if (name === "task") return task(call, context);
	const diff = toolDiff(metadata);
	if (diff !== undefined) return [diff, remarks(output)];
	const path = text(input.filePath);
	if (name === "write" && path !== undefined) {
		const content = text(input.content) ?? "";
		return [box(`Content of ${path}`, content, code(content, languageOf(path)), "code"), remarks(output)];
	}
	if (name === "read" && path !== undefined) return [asked(input, ["filePath"]), terminal(output)];
	return [asked(input, []), raw(call), terminal(output)];
}

function task({ input, metadata, output }: Call, { children }: Context): Html[] {
	const child = children.get(text(metadata.sessionId) ?? text(metadata.sessionID) ?? "");
	const prompt = text(input.prompt);
	return [
		child === undefined
			? NOTHING
			: html`<p class="child"><a href="${child.path}">Open the sub-session<span class="unseen"> ${child.title}</span></a></p>`,
		prompt === undefined ? NOTHING : html`<div class="prose asked">${markdown(prompt)}</div>`,
		output === undefined ? NOTHING : html`<div class="prose answered">${markdown(output)}</div>`,
	];
}

function command(line: string): Html {
	return box("Command", line, html`<span class="sign" aria-hidden="true">$ </span>${code(line, "bash")}`, "command");
}

function terminal(output: string | undefined): Html {
	return output === undefined ? NOTHING : box("Output", output, ansi(output.replace(/\n+$/, "")));
}

/** What a tool that changes files says beside the change: errors that a language server found, mostly. */
function remarks(output: string | undefined): Html {
	const isRoutine = output === undefined || /^(?:Edit applied|Wrote file|Success\b)[^\n]*$/.test(output.trim());
	return isRoutine ? NOTHING : terminal(output);
}

function errorOf({ status, state }: Call): Html {
	const error = text(state.error);
	if (status !== "error" || error === undefined) return NOTHING;
	return html`<div class="failed"><p><strong>Failed</strong></p>${box("Error", error, ansi(error))}</div>`;
}

/** What a tool was asked, apart from what the line above says already. */
function asked(input: Json, told: readonly string[]): Html {
	const names = Object.keys(input).filter((name) => !told.includes(name));
	if (names.length === 0) return NOTHING;
	const source = JSON.stringify(Object.fromEntries(names.map((name) => [name, input[name]])), null, 2);
	return box("Input", source, code(source, "json"), "code");
}

/** The input of a call that is still being written. */
function raw({ status, state }: Call): Html {
	const written = text(state.raw);
	return status !== "pending" || written === undefined ? NOTHING : box("Input", written, html`${written}`, "code");
}
