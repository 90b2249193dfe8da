import { keys, type OpType, REMOVALS } from "../model/op.ts";
import { changeOf, type EventRow, type Head, headOf, opTypeOf } from "./intents.ts";
import { type Change, isPoison, type Poison } from "./source.ts";

/**
 * The changes of consecutive events, in order, an entity that was updated several times told once: in the place of its
 * earliest update, with the event and the content of its latest. 202 updates of one streamed tool call are one change.
 *
 * Never across a removal of the entity or of its message: what was removed and comes again is a new entity.
 */
export function collapse(rows: readonly EventRow[]): (Change | Poison)[] {
	const kept: { readonly row: EventRow; readonly head: Head | undefined }[] = [];
	const places = new Map<string, number>();
	for (const row of rows) {
		const type = opTypeOf(row.type);
		if (type === undefined) continue;
		const head = row.data === null ? undefined : headOf(type, row.data);
		const key = updatedKey(row, type, head);
		const place = key === undefined ? undefined : places.get(key);
		if (place !== undefined) {
			kept[place] = { row, head };
			continue;
		}
		if (key !== undefined) places.set(key, kept.length);
		else forget(places, changeOf(row));
		kept.push({ row, head });
	}
	return kept.map(({ row, head }) => changeOf(row, head)).filter((change) => change !== undefined);
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

/** The key of the entity that an event updates, without parsing where that can be; undefined for any other event. */
function updatedKey(row: EventRow, type: OpType, head: Head | undefined): string | undefined {
	if (head !== undefined) return head.key;
	if (type === "session_deleted" || REMOVALS.has(type) || row.data === null) return undefined;
	if (type === "session") return keys.session;
	const change = changeOf(row);
	return change === undefined || isPoison(change) ? undefined : change.key;
}
