import { canonicalJson } from "../model/json.ts";
import { keys } from "../model/op.ts";
import type { OpencodeApi } from "./api.ts";
import type { ModelRef } from "./extras.ts";
import { TooLargeAnswer } from "./http.ts";
import { factsIn } from "./listing.ts";
import { type DataRow, messageEntity, partEntity, todoEntity, tooLarge } from "./rows.ts";
import type { Change, Poison, SessionFacts } from "./source.ts";
import type { Piece } from "./split.ts";

/** A session as its server told it over several requests: no single moment, see `ServerSource`. */
export interface FetchedSession {
	readonly facts: SessionFacts;
	readonly entities: readonly (Change | Poison)[];
	/** What its user messages were sent to, in order of first use. */
	readonly models: readonly ModelRef[];
}

/** What no event tells of a session: its row and its todos. */
export async function fetchState(
	api: OpencodeApi,
	sessionId: string,
	known: SessionFacts | undefined,
	signal: AbortSignal,
): Promise<Omit<FetchedSession, "models"> | undefined> {
	const session = await fetchSession(api, sessionId, known, signal);
	if (session === undefined) return undefined;
	const todos = await api.todos(sessionId, signal);
	return { facts: session.facts, entities: [session.entity, ...todosOf(todos)] };
}

/** The whole session; undefined when OpenCode does not have it. Throws as OpencodeApi does. */
export async function fetchWhole(
	api: OpencodeApi,
	sessionId: string,
	known: SessionFacts | undefined,
	signal: AbortSignal,
): Promise<FetchedSession | undefined> {
	const session = await fetchSession(api, sessionId, known, signal);
	if (session === undefined) return undefined;
	const messages = await api.messages(sessionId, signal);
	if (messages === undefined) return undefined;
	const entities: (Change | Poison)[] = [session.entity];
	const models = new Map<string, ModelRef>();
	for (const { info, parts } of messages) {
		if (info === undefined) throw new Error("a message without its info");
		const message = rowOf(info, "msg", sessionId);
		entities.push(messageEntity(message));
		for (const part of parts) entities.push(partEntity({ ...rowOf(part, "prt", sessionId), message_id: message.id }));
		const model = message.data === null ? undefined : modelIn(JSON.parse(message.data));
		if (model) models.set(`${model.providerID}/${model.modelID}`, model);
	}
	entities.push(...todosOf(await api.todos(sessionId, signal)));
	return { facts: session.facts, entities, models: [...models.values()] };
}

async function fetchSession(
	api: OpencodeApi,
	sessionId: string,
	known: SessionFacts | undefined,
	signal: AbortSignal,
): Promise<{ facts: SessionFacts; entity: Change | Poison } | undefined> {
	try {
		const session = await api.session(sessionId, signal);
		if (session === undefined) return undefined;
		const facts = factsIn(session);
		if (facts?.session_id !== sessionId)
			throw new Error("what is said of the session is not of the form that is known");
		const entity: Change = {
			event_id: null,
			seq: null,
			type: "session",
			key: keys.session,
			payload: canonicalJson(session),
		};
		return { facts, entity };
	} catch (error) {
		if (!(error instanceof TooLargeAnswer) || known === undefined) throw error;
		return { facts: known, entity: tooLarge("session", keys.session, "session row", error.bytesMax + 1) };
	}
}

function todosOf(answer: unknown): Change[] {
	if (!Array.isArray(answer)) throw new Error("the todo list is no list");
	return [todoEntity(answer as { content: string; status: string; priority: string }[])];
}

const ID = /^[^/]{1,200}$/;

/** A message or part as a row of OpenCode's tables, which the same rules turn into an entity. */
function rowOf(piece: Piece, prefix: "msg" | "prt", sessionId: string): DataRow {
	const { bytes, text } = piece;
	const id = text === null ? idIn(piece, prefix) : (JSON.parse(text) as { id?: unknown }).id;
	// Without an id nobody could tell whether it was captured, so that all that is missing would seem to be removed.
	if (typeof id !== "string" || !ID.test(id)) throw new Error(`a ${prefix === "msg" ? "message" : "part"} has no id`);
	return { id, session_id: sessionId, bytes, data: text };
}

/** OpenCode puts a row's id at its beginning (1.1) or behind its data (since 1.2). */
function idIn({ ends: [head, tail] }: Piece, prefix: string): string | undefined {
	const first = new RegExp(`^\\s*\\{\\s*"id":"(${prefix}_[^"\\\\/]+)"`).exec(head)?.[1];
	if (first !== undefined) return first;
	return [...tail.matchAll(new RegExp(`"id":"(${prefix}_[^"\\\\/]+)"`, "g"))].at(-1)?.[1];
}

/** The model of a user message. */
export function modelIn(info: unknown): ModelRef | undefined {
	const { role, model } = (info ?? {}) as {
		role?: unknown;
		model?: { providerID?: unknown; modelID?: unknown } | null;
	};
	if (role !== "user" || typeof model?.providerID !== "string" || typeof model.modelID !== "string") return undefined;
	return { providerID: model.providerID, modelID: model.modelID };
}
