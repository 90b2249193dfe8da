import { canonicalCut } from "../model/canonical.ts";
import { canonicalJson, faultOf } from "../model/json.ts";
import { keys, type OpType } from "../model/op.ts";
import type { Change, Poison } from "./source.ts";

/** One row of OpenCode's `event` table. `data` is null when it was too large to load. */
export interface EventRow {
	readonly aggregate_id: string;
	readonly seq: number;
	readonly id: string;
	readonly type: string;
	/** Size of `data` in bytes. */
	readonly bytes: number;
	readonly data: string | null;
}

/**
 * Rows above this many bytes are never loaded: rows of 460 MB have been reported (anomalyco/opencode #33356, #46833), a
 * share takes 8 MiB per op at most, and four times that leaves room for a server with higher limits.
 */
export const ROW_BYTES_MAX = 32 * 1024 * 1024;

/** OpenCode's durable event types of version 1, and what they say. Everything else is not ours to carry. */
const EVENTS: ReadonlyMap<string, OpType> = new Map([
	["session.created.1", "session"],
	["session.updated.1", "session"],
	["session.deleted.1", "session_deleted"],
	["message.updated.1", "message"],
	["message.removed.1", "message_removed"],
	["message.part.updated.1", "part"],
	["message.part.removed.1", "part_removed"],
]);

/** What an event is about; undefined for types that no op carries (`session.next.*` and what the future brings). */
export function opTypeOf(eventType: string): OpType | undefined {
	return EVENTS.get(eventType);
}

/** The type and version with which a complete log begins. */
export const FIRST_EVENT = "session.created.1";

/** True for an event that changes messages or parts in a way that this version cannot read from the log. */
export function isForeignToLog(type: string): boolean {
	return type.startsWith("message.") && !EVENTS.has(type);
}

/** An id that OpenCode gives; it may become part of an entity key, where `/` separates. */
const ID = /^[^/]{1,200}$/;

/**
 * Turns one event into the change that it records; undefined for types that no op carries. Payloads are the full entity as OpenCode logged it; a removal's payload is the ids of what is removed.
 */
export function changeOf(row: EventRow, head?: Head): Change | Poison | undefined {
	const type = EVENTS.get(row.type);
	if (type === undefined) return undefined;
	const source = { event_id: row.id, seq: row.seq, type };
	const poison = (code: Poison["code"], reason: string): Poison => ({
		...source,
		key: type === "session" || type === "session_deleted" ? type : `unknown/${row.id}`,
		code,
		reason: `event ${row.id} (${row.type}, number ${row.seq}) ${reason}`,
	});
	if (row.data === null) return poison("too_large", `is ${row.bytes} bytes; at most ${ROW_BYTES_MAX} are read`);
	try {
		const { key, payload } = cut(head, row, row.data) ?? entityOf(type, parsed(row.aggregate_id, row.data));
		return { event_id: row.id, seq: row.seq, type, key, payload };
	} catch (error) {
		return poison("invalid_payload", `cannot be read: ${faultOf(error)}`);
	}
}

/** An update as OpenCode writes it, up to its entity: whose it is, and the ids that make its key. */
const PLAIN = String.raw`[ !#-.0-[\]-\ud7ff\ue000-\uffff]{1,200}`;
const HEADS: Partial<Record<OpType, RegExp>> = {
	session: new RegExp(`^{"sessionID":"(${PLAIN})","info":(?={"id":"\\1")`),
	message: new RegExp(`^{"sessionID":"(${PLAIN})","info":(?={"id":"(${PLAIN})")`),
	part: new RegExp(
		`^{"sessionID":"(${PLAIN})","part":(?={"id":"(${PLAIN})","sessionID":"${PLAIN}","messageID":"(${PLAIN})")`,
	),
};
const TAIL = /(?:,"time":\d+)?\}$/y;

/** What is known of an update before it is parsed. */
export interface Head {
	readonly sessionId: string;
	/** Key of the entity that it updates. */
	readonly key: string;
	/** Where the entity begins in its text. */
	readonly from: number;
}

/** Undefined for any other event, and for an update that is not written as OpenCode does. */
export function headOf(type: OpType, text: string): Head | undefined {
	const found = HEADS[type]?.exec(text);
	if (!found) return undefined;
	const [{ length: from }, sessionId = "", id = "", messageId = ""] = found;
	const key = type === "session" ? keys.session : type === "message" ? keys.message(id) : keys.part(messageId, id);
	return { sessionId, key, from };
}

/** What an update says, cut out of its text, which takes less than half the time of parsing it; undefined where that cannot be. */
function cut(head: Head | undefined, row: EventRow, text: string): { key: string; payload: string } | undefined {
	if (head?.sessionId !== row.aggregate_id) return undefined;
	const entity = canonicalCut(text, head.from);
	TAIL.lastIndex = entity?.end ?? text.length;
	return entity && TAIL.test(text) ? { key: head.key, payload: entity.text } : undefined;
}

function parsed(sessionId: string, text: string): Payload {
	const data = JSON.parse(text) as Payload;
	if (data.sessionID !== sessionId) throw new Error(`belongs to session ${String(data.sessionID)}`);
	return data;
}

interface Payload {
	readonly sessionID?: unknown;
	readonly messageID?: unknown;
	readonly partID?: unknown;
	readonly info?: { readonly id?: unknown } | null;
	readonly part?: { readonly id?: unknown; readonly messageID?: unknown } | null;
}

function entityOf(type: OpType, data: Payload): { key: string; payload: string } {
	const sessionID = data.sessionID;
	switch (type) {
		case "session":
			if (data.info?.id !== sessionID) throw new Error("its session has no id, or another one");
			return { key: keys.session, payload: canonicalJson(data.info) };
		case "session_deleted":
			return { key: keys.sessionDeleted, payload: canonicalJson({ sessionID }) };
		case "message":
			return { key: keys.message(id(data.info?.id, "message")), payload: canonicalJson(data.info) };
		case "part": {
			const key = keys.part(id(data.part?.messageID, "message"), id(data.part?.id, "part"));
			return { key, payload: canonicalJson(data.part) };
		}
		case "message_removed": {
			const messageID = id(data.messageID, "message");
			return { key: keys.message(messageID), payload: canonicalJson({ sessionID, messageID }) };
		}
		default: {
			const [messageID, partID] = [id(data.messageID, "message"), id(data.partID, "part")];
			return { key: keys.part(messageID, partID), payload: canonicalJson({ sessionID, messageID, partID }) };
		}
	}
}

function id(value: unknown, what: string): string {
	if (typeof value !== "string" || !ID.test(value)) throw new Error(`it has no ${what} id`);
	return value;
}
