import type { LiveText } from "./doorbell.ts";

/** One event as OpenCode tells it: on its SSE stream as `payload`, in its plugins as it is. */
export interface OpencodeEvent {
	/** Grows with time; the same on every lane and in OpenCode's log. */
	readonly id?: unknown;
	readonly type: string;
	readonly properties?: Readonly<Record<string, unknown>>;
}

/** A part whose beginning was heard. */
interface Heard {
	/** Of the member, in UTF-16 characters. */
	length: number;
	readonly since: string | undefined;
}

/** Parts that are listened to at once; the one that was begun first is forgotten. */
const PARTS_MAX = 1000;
/** The member of a part that OpenCode streams: of its text and of its reasoning. */
const FIELD = "text";

/**
 * Hears text that streams on one lane (a connection, a process), and where it belongs.
 *
 * OpenCode tells a delta without its place; that follows from the part's state, which it tells before the first one. So of
 * a part whose beginning was not heard nothing is passed on: nobody could put it in the right place. A lane that may have
 * missed something begins with a new ear. O(1) per event.
 */
export class LiveEar {
	readonly #parts = new Map<string, Heard>();

	/** The text that an event brings; undefined for every other event. To be given every event of the lane. Never throws. */
	hear({ id, type, properties }: OpencodeEvent): LiveText | undefined {
		if (type === "message.part.updated") this.#begin(properties?.part, id);
		else if (type === "message.part.removed") this.#parts.delete(String(properties?.partID));
		else if (type === "message.part.delta" && properties !== undefined) return this.#delta(properties);
		return undefined;
	}

	#begin(part: unknown, eventId: unknown): void {
		const { id, [FIELD]: text } = (part ?? {}) as Record<string, unknown>;
		if (typeof id !== "string" || typeof text !== "string") return;
		this.#parts.delete(id);
		this.#parts.set(id, { length: text.length, since: typeof eventId === "string" ? eventId : undefined });
		const [oldest] = this.#parts.keys();
		if (this.#parts.size > PARTS_MAX && oldest !== undefined) this.#parts.delete(oldest);
	}

	#delta(properties: Readonly<Record<string, unknown>>): LiveText | undefined {
		const { sessionID, messageID, partID, field, delta } = properties;
		if (typeof partID !== "string" || typeof delta !== "string" || field !== FIELD) return undefined;
		const heard = this.#parts.get(partID);
		if (typeof sessionID !== "string" || typeof messageID !== "string" || heard === undefined) return undefined;
		const { length: offset, since } = heard;
		heard.length += delta.length;
		const place = { offset, ...(since === undefined ? {} : { since }) };
		return { session_id: sessionID, message_id: messageID, part_id: partID, field, ...place, delta };
	}
}
