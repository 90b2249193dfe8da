import { keys, type OpType, REMOVALS } from "../model/op.ts";
import { changeOf, type EventRow, opTypeOf } from "./intents.ts";
import { type Change, isPoison, type Poison } from "./source.ts";

/**
 * The changes of consecutive events, in order, an entity that was updated several times told once: in the place of its
 * earliest update, with the event and the content of its latest. 202 updates of one streamed tool call are one change.
 *
 * Never across a removal of the entity or of its message: what was removed and comes again is a new entity.
 */
export function collapse(rows: readonly EventRow[]): (Change | Poison)[] {
	const kept: EventRow[] = [];
	const places = new Map<string, number>();
	for (const row of rows) {
		if (opTypeOf(row.type) === undefined) continue;
		const key = updatedKey(row);
		const place = key === undefined ? undefined : places.get(key);
		if (place !== undefined) {
			kept[place] = row;
			continue;
		}
		if (key !== undefined) places.set(key, kept.length);
		else forget(places, changeOf(row));
		kept.push(row);
	}
	return kept.map(changeOf).filter((change) => change !== undefined);
}

/** Removals are barriers; what cannot be read is one for everything, since nobody knows what it was about. */
function forget(places: Map<string, number>, change: Change | Poison | undefined): void {
	if (change === undefined || isPoison(change)) {
		places.clear();
		return;
	}
	const below = change.type === "message_removed" ? keys.partsOf(change.key.slice("message/".length)) : undefined;
	for (const key of places.keys()) {
		const covered = change.type === "session_deleted" || key === change.key;
		if (covered || (below !== undefined && key.startsWith(below))) places.delete(key);
	}
}

/** Where an update's ids stand in the text that OpenCode writes; a row that differs is parsed. */
const HEADS: Partial<Record<OpType, RegExp>> = {
	message: /^\{"sessionID":"[^"\\]+","info":\{"id":"([^"\\/]+)"/,
	part: /^\{"sessionID":"[^"\\]+","part":\{"id":"([^"\\/]+)","sessionID":"[^"\\]+","messageID":"([^"\\/]+)"/,
};

/** The key of the entity that an event updates, without parsing where that can be; undefined for any other event. */
function updatedKey(row: EventRow): string | undefined {
	const type = opTypeOf(row.type);
	if (type === undefined || type === "session_deleted" || REMOVALS.has(type) || row.data === null) return undefined;
	if (type === "session") return keys.session;
	const [, first, second] = HEADS[type]?.exec(row.data.slice(0, 1000)) ?? [];
	if (type === "message" && first !== undefined) return keys.message(first);
	if (first !== undefined && second !== undefined) return keys.part(second, first);
	const change = changeOf(row);
	return change === undefined || isPoison(change) ? undefined : change.key;
}
