import { createHash } from "node:crypto";
import { closeSync, fstatSync, openSync, readFileSync } from "node:fs";
import { messageOf } from "../model/errors.ts";
import { canonicalJson } from "../model/json.ts";
import { keys, type OpType } from "../model/op.ts";
import { ROW_BYTES_MAX } from "./intents.ts";
import type { JsonFiles, SessionFile } from "./json-files.ts";
import { tooLarge } from "./rows.ts";
import { type Change, isPoison, type Poison, type SessionFacts } from "./source.ts";

/** What a file holds: JSON, more than may be read, or nothing that can be read yet; `torn` says why. */
export type Content = { readonly value: unknown } | { readonly bytes: number } | { readonly torn: string };

/**
 * Reads one of OpenCode's files.
 *
 * OpenCode truncates a file and writes it anew, in place: a reader may find it empty or half there. That is no damage; it
 * only becomes some when it stays so.
 */
export function readJson(path: string): Content {
	try {
		const file = openSync(path, "r");
		try {
			const { size } = fstatSync(file);
			if (size > ROW_BYTES_MAX) return { bytes: size };
			return { value: JSON.parse(readFileSync(file, "utf8")) };
		} finally {
			closeSync(file);
		}
	} catch (error) {
		return { torn: messageOf(error) };
	}
}

/** Undefined when the file does not hold a session. */
export function factsOf(id: string, value: unknown): SessionFacts | undefined {
	const session = value as { parentID?: unknown; title?: unknown; directory?: unknown; time?: { updated?: unknown } };
	if (typeof session?.directory !== "string") return undefined;
	const updated = session.time?.updated;
	return {
		session_id: id,
		parent_id: typeof session.parentID === "string" ? session.parentID : null,
		title: typeof session.title === "string" ? session.title : "",
		directory: session.directory,
		updated_at: typeof updated === "number" ? updated : 0,
	};
}

/** Says why a torn file counts as damaged by now; undefined while it may still be being written. */
export type Damaged = (path: string, why: string) => boolean;

/**
 * The entities of a session as its files have them now: the session, its messages with their parts, the todo list.
 *
 * @param isDamaged asked for every file that cannot be read.
 * @returns undefined when a file cannot be read now and may be later.
 */
export function readStored(
	files: JsonFiles,
	session: SessionFile,
	isDamaged: Damaged,
): { entities: (Change | Poison)[]; messages: number } | undefined {
	const read = (type: OpType, key: string, name: string, path: string) => {
		const content = readJson(path);
		if ("torn" in content && !isDamaged(path, content.torn)) return undefined;
		return { at: createdAt(content), entity: entityOf(type, key, name, content) };
	};
	const head = read("session", keys.session, `file of session ${session.id}`, session.path);
	if (head === undefined) return undefined;
	const messages: { id: string; at: number; entities: (Change | Poison)[] }[] = [];
	for (const { id, path } of files.messages(session.id)) {
		const message = read("message", keys.message(id), `file of message ${id}`, path);
		if (message === undefined) return undefined;
		const entities = [message.entity];
		for (const part of files.parts(id)) {
			const told = read("part", keys.part(id, part.id), `file of part ${part.id}`, part.path);
			if (told === undefined) return undefined;
			entities.push(told.entity);
		}
		messages.push({ id, at: message.at, entities });
	}
	messages.sort((a, b) => a.at - b.at || (a.id < b.id ? -1 : 1));
	const todos = readTodos(files.todoFile(session.id), isDamaged);
	if (todos === undefined) return undefined;
	return {
		entities: [head.entity, ...messages.flatMap((message) => message.entities), todos],
		messages: messages.length,
	};
}

/** Equal for equal entities in the same order. */
export function digestOfEntities(entities: readonly (Change | Poison)[]): string {
	const hash = createHash("sha1");
	for (const entity of entities) hash.update(`${entity.key} ${isPoison(entity) ? entity.reason : entity.payload}\n`);
	return hash.digest("base64");
}

function readTodos(path: string, isDamaged: Damaged): Change | Poison | undefined {
	const content = readJson(path);
	if ("torn" in content && /^ENOENT/.test(content.torn))
		return { event_id: null, seq: null, type: "todo", key: keys.todo, payload: "[]" };
	if ("torn" in content && !isDamaged(path, content.torn)) return undefined;
	return entityOf("todo", keys.todo, "todo file", content);
}

function entityOf(type: OpType, key: string, name: string, content: Content): Change | Poison {
	if ("bytes" in content) return tooLarge(type, key, name, content.bytes);
	const poison = (why: string): Poison => {
		const reason = `the ${name} cannot be read: ${why}`;
		return { event_id: null, seq: null, type, key, code: "invalid_payload", reason };
	};
	if ("torn" in content) return poison(content.torn);
	const { value } = content;
	if (typeof value !== "object" || value === null || Array.isArray(value) !== (type === "todo"))
		return poison(`it holds no JSON ${type === "todo" ? "list" : "object"}`);
	return { event_id: null, seq: null, type, key, payload: canonicalJson(value) };
}

/** A message's own time, in epoch ms; 0 where it tells none. */
function createdAt(content: Content): number {
	if (!("value" in content)) return 0;
	const at = (content.value as { time?: { created?: unknown } } | null)?.time?.created;
	return typeof at === "number" ? at : 0;
}
