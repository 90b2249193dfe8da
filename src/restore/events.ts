import { hash } from "node:crypto";
import { keys, messageIdOf } from "../model/op.ts";
import type { Content, Entity } from "./content.ts";
import { type Difference, homeless } from "./difference.ts";

/** An event of OpenCode's log (1.17 and later), as its `/sync/replay` takes it. */
export interface ReplayEvent {
	readonly id: string;
	readonly aggregateID: string;
	readonly seq: number;
	readonly type: string;
	readonly data: Readonly<Record<string, unknown>>;
}

/** Where a session is to live on this machine. */
export interface Home {
	readonly directory: string;
	readonly projectID: string;
	/** The directory below the project's worktree. */
	readonly path: string;
}

/** What begins the random half of the ids of our events, so that they are known again. */
const MARK = "rst";
const KEY_HEX = 6;
const PAYLOAD_HEX = 5;
/** Matches them in SQL, and few others. */
export const OUR_EVENTS = `evt_????????????${MARK}*`;
/** `evt_`, the time as OpenCode writes it, MARK. */
const OURS = new RegExp(`^evt_[0-9a-f]{12}${MARK}([0-9a-f]{${KEY_HEX}})([0-9a-f]{${PAYLOAD_HEX}})$`);

/**
 * The events that bring a session here to where a share of it stands.
 *
 * OpenCode applies each in one transaction, in its place in the session's log: what it wrote itself meanwhile makes it
 * refuse them, so that nothing is overwritten unseen. The session comes first, and once more at last, since messages move
 * its clock.
 *
 * @param next the number that the session's next event must have.
 * @param now epoch ms; ids grow with it, as OpenCode's own do.
 */
export function eventsOf(
	content: Content,
	difference: Difference,
	{ home, next, now }: { home: Home; next: number; now: number },
): ReplayEvent[] {
	const { session_id: sessionID, session } = content;
	const events: ReplayEvent[] = [];
	const add = (type: string, key: string, payload: string, data: ReplayEvent["data"]) => {
		const id = `evt_${timeOf(now, events.length)}${markOf(key, payload)}`;
		events.push({ id, aggregateID: sessionID, seq: next + events.length, type, data: { sessionID, ...data } });
	};
	const info = { ...homeless(session.value), ...home };
	if (difference.standing === "absent") add("session.created.1", keys.session, "", { info });
	const removed = new Set(difference.remove);
	for (const key of removed) {
		const [, messageID = "", partID] = key.split("/");
		if (partID === undefined) add("message.removed.1", key, "", { messageID });
		else if (!removed.has(keys.message(messageID))) add("message.part.removed.1", key, "", { messageID, partID });
	}
	for (const { type, key, value, payload } of difference.bring) {
		if (type === "message") add("message.updated.1", key, payload, { info: value });
		if (type === "part") add("message.part.updated.1", key, payload, { part: value, time: now });
	}
	add("session.updated.1", keys.session, session.payload, { info });
	return events;
}

/**
 * What of a share was brought here before and has stayed as OpenCode made it: OpenCode leaves out members that it does
 * not know, and to bring them again would change nothing but its log.
 *
 * @param ids of the session's events, in order.
 */
export function broughtBefore(ids: readonly string[], bring: readonly Entity[]): Entity[] {
	// Something else was written since: what was brought may have been changed.
	if (!OURS.test(ids.at(-1) ?? "")) return [];
	const last = new Map(ids.map((id) => OURS.exec(id)).map((match) => [match?.[1], match?.[2]]));
	return bring.filter(({ key, payload }) => last.get(hexOf(key, KEY_HEX)) === hexOf(payload, PAYLOAD_HEX));
}

/** True for what is of a message, not of the session itself. */
export function isOfMessage({ key }: Entity): boolean {
	return messageIdOf(key) !== undefined;
}

function markOf(key: string, payload: string): string {
	return `${MARK}${hexOf(key, KEY_HEX)}${hexOf(payload, PAYLOAD_HEX)}`;
}

function hexOf(text: string, length: number): string {
	return hash("sha256", text, "hex").slice(0, length);
}

/** The time half of an id of OpenCode's: epoch ms times 4096 and a counter, 48 bits of it, in hexadecimal. */
function timeOf(now: number, counter: number): string {
	return BigInt.asUintN(48, BigInt(now) * 4096n + BigInt(counter))
		.toString(16)
		.padStart(12, "0");
}
