import { messageOf, OutboxError } from "../model/errors.ts";
import { canonicalJson } from "../model/json.ts";
import { keys, type OpType } from "../model/op.ts";
import { LIMITS } from "../protocol/limits.ts";
import { untrusted } from "../transport/trust.ts";
import { Elements } from "./elements.ts";

/** One entity of a session as a share holds it. */
export interface Entity {
	readonly type: OpType;
	readonly key: string;
	readonly value: Readonly<Record<string, unknown>>;
	/** Canonical JSON text of the value. */
	readonly payload: string;
}

/** A whole session, checked: what a share holds of it. */
export interface Content {
	readonly session_id: string;
	readonly session: Entity;
	/** Messages by their ids, each followed by its parts by theirs. */
	readonly entities: readonly Entity[];
	/** What OpenCode has no way to take back: how many todos, whether there is a diff. */
	readonly todos: number;
	readonly diffs: number;
}

/** Bytes of a share that are taken. A session of years has a tenth; all of it is in memory at once. */
const SHARE_BYTES_MAX = 512 * 1024 * 1024;
/** Entities of a share that are taken. */
const ENTITIES_MAX = 500_000;
/** An entity, and the type that it is wrapped in. */
const ELEMENT = { chars: LIMITS.op_bytes + 1000, depth: LIMITS.payload_depth + 2 };
/** How long a server may say nothing, in ms. */
const SILENCE_MS_MAX = 30_000;

/** OpenCode's ids: a prefix and letters or digits. Nothing else gets near its API. */
const ID = { session: /^ses_[A-Za-z0-9]{1,60}$/, message: /^msg_[A-Za-z0-9]{1,60}$/, part: /^prt_[A-Za-z0-9]{1,60}$/ };

/**
 * Fetches a share and checks all of it before anything is done with it.
 *
 * @param url of its data: `<server>/api/share/<slug>/data`.
 * @throws OutboxError no_such_share, unreachable, or bad_share with what is wrong: cut off, too much, no session.
 */
export async function fetchShare(url: string, signal: AbortSignal): Promise<Content> {
	const collector = new Collector();
	const elements = new Elements(ELEMENT);
	const decoder = new TextDecoder("utf-8", { fatal: true });
	const quiet = new AbortController();
	let timer = setTimeout(() => quiet.abort(), SILENCE_MS_MAX);
	let bytes = 0;
	try {
		const response = await fetch(url, {
			headers: { accept: "application/json" },
			redirect: "error",
			signal: AbortSignal.any([signal, quiet.signal]),
		});
		refuseStatus(url, response);
		for await (const chunk of response.body ?? []) {
			timer = again(timer, quiet);
			bytes += chunk.byteLength;
			if (bytes > SHARE_BYTES_MAX) throw bad(url, `it is larger than ${SHARE_BYTES_MAX} bytes`);
			for (const text of judged(url, () => elements.push(decoder.decode(chunk, { stream: true }))))
				judged(url, () => collector.add(text));
		}
		return judged(url, () => {
			decoder.decode();
			elements.end();
			return collector.content();
		});
	} catch (error) {
		if (error instanceof OutboxError) throw error;
		if (bytes > 0) throw bad(url, `it was cut off after ${bytes} bytes: ${reasonOf(error, quiet)}`);
		const fault = untrusted(url, error);
		if (fault) throw fault;
		throw new OutboxError("unreachable", `The share ${linkOf(url)} cannot be had: ${reasonOf(error, quiet)}.`, {
			hint: "Check the link, and that its server runs. Nothing was restored.",
		});
	} finally {
		clearTimeout(timer);
	}
}

function again(timer: NodeJS.Timeout, quiet: AbortController): NodeJS.Timeout {
	clearTimeout(timer);
	return setTimeout(() => quiet.abort(), SILENCE_MS_MAX);
}

function reasonOf(error: unknown, quiet: AbortController): string {
	if (quiet.signal.aborted) return `nothing came for ${SILENCE_MS_MAX} ms`;
	const cause = error instanceof Error && error.cause instanceof Error ? ` (${error.cause.message})` : "";
	return `${messageOf(error)}${cause}`;
}

function refuseStatus(url: string, response: Response): void {
	if (response.ok) return;
	void response.body?.cancel();
	const link = linkOf(url);
	if (response.status === 404) throw new OutboxError("no_such_share", `There is no share at ${link}.`);
	if (response.status === 410)
		throw new OutboxError("no_such_share", `The share ${link} was deleted, or its link was replaced.`);
	throw new OutboxError("unreachable", `The share ${link} cannot be had: the server answered ${response.status}.`);
}

function judged<T>(url: string, body: () => T): T {
	try {
		return body();
	} catch (error) {
		throw bad(url, messageOf(error));
	}
}

function bad(url: string, what: string): OutboxError {
	return new OutboxError("bad_share", `What ${linkOf(url)} answers is no whole session: ${what}.`);
}

/** For people: the link that the data is behind. */
function linkOf(url: string): string {
	return url.replace(/\/api\/share\/([^/]+)\/data$/, "/share/$1");
}

/** Puts the elements of an export together to a session. */
export class Collector {
	readonly #messages = new Map<string, Entity>();
	readonly #parts = new Map<string, Entity[]>();
	readonly #seen = new Set<string>();
	#session: Entity | undefined;
	#todos = 0;
	#diffs = 0;

	/** Takes one element's text. Throws Error what is wrong with it. */
	add(text: string): void {
		const { type, data } = JSON.parse(text) as { type?: unknown; data?: unknown };
		if (type === "todo") this.#todos = lengthOf(data);
		if (type === "session_diff") this.#diffs = lengthOf(data);
		if (type !== "session" && type !== "message" && type !== "part") return;
		if (typeof data !== "object" || data === null || Array.isArray(data)) throw new Error(`a ${type} is no object`);
		const value = data as Record<string, unknown>;
		const id = idOf(value.id, type);
		const messageId = type === "part" ? idOf(value.messageID, "message") : id;
		const key = type === "session" ? keys.session : type === "message" ? keys.message(id) : keys.part(messageId, id);
		// By the id alone: OpenCode keeps no two parts of one id, of whatever messages.
		if (this.#seen.has(id)) throw new Error(`${id} is in it twice`);
		if (this.#seen.add(id).size > ENTITIES_MAX) throw new Error(`it has more than ${ENTITIES_MAX} entities`);
		const entity: Entity = { type, key, value, payload: canonicalJson(value) };
		if (type === "session") this.#session = entity;
		else if (type === "message") this.#messages.set(id, entity);
		else this.#parts.set(messageId, [...(this.#parts.get(messageId) ?? []), entity]);
	}

	/** The session. Throws Error when it is none. */
	content(): Content {
		const session = this.#session;
		if (session === undefined) throw new Error("there is no session in it");
		const session_id = String(session.value.id);
		const entities: Entity[] = [];
		for (const [id, message] of [...this.#messages].sort(byText)) {
			const parts = this.#parts.get(id) ?? [];
			this.#parts.delete(id);
			entities.push(message, ...parts.sort((a, b) => byText([a.key], [b.key])));
		}
		const [orphan] = this.#parts.keys();
		if (orphan !== undefined) throw new Error(`there are parts of ${orphan} in it, and no such message`);
		const foreign = entities.find(({ value }) => value.sessionID !== session_id);
		if (foreign) throw new Error(`${foreign.key} is of another session than ${session_id}`);
		return { session_id, session, entities, todos: this.#todos, diffs: this.#diffs };
	}
}

function byText([a]: readonly [string, ...unknown[]], [b]: readonly [string, ...unknown[]]): number {
	return a < b ? -1 : a > b ? 1 : 0;
}

function idOf(value: unknown, kind: keyof typeof ID): string {
	if (typeof value === "string" && ID[kind].test(value)) return value;
	throw new Error(`a ${kind} has no id of OpenCode's`);
}

function lengthOf(value: unknown): number {
	return Array.isArray(value) ? value.length : 0;
}
