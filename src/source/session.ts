import { keys, type Watermark } from "../model/op.ts";
import { collapse } from "./collapse.ts";
import { type EventRow, FIRST_EVENT, isForeignToLog } from "./intents.ts";
import { sessionEntity, todoEntity, tooLarge } from "./rows.ts";
import { type Change, isPoison, type LogRead, type Poison } from "./source.ts";
import type { Tables } from "./tables.ts";

/** Rows in one read: their collapse and the transaction that captures them stay in the low milliseconds. */
export const ROWS_PER_READ = 1000;
/**
 * Bytes of rows in one read, unless a single one is larger: bounds memory, how long a read holds OpenCode's WAL, and the
 * room that a small disk must have for one transaction.
 */
export const BYTES_PER_READ = 1024 * 1024;

/**
 * Reads the next events after `from`, and the state as well where that reaches the head. Inside one transaction.
 *
 * @returns why the log cannot be used, when it has a hole or does not begin with the session's creation; no read when
 * the session's row is gone.
 */
export function readLog(
	tables: Tables,
	sessionId: string,
	from: Watermark | null,
	head: Watermark,
): { read: LogRead | undefined; done: boolean } | { unusable: string } {
	const facts = tables.facts(sessionId);
	if (facts === undefined) return { read: undefined, done: true };
	const rows: EventRow[] = [];
	let [bytes, next] = [0, from === null ? 0 : from.seq + 1];
	for (const row of eventsAfter(tables, sessionId, next - 1)) {
		if (row.seq !== next) return { unusable: `its log has a hole: number ${next} is missing` };
		if (row.seq === 0 && row.type !== FIRST_EVENT)
			return { unusable: `its log does not begin with its creation, but with ${row.type}` };
		if (isForeignToLog(row.type)) return { unusable: `its log holds ${row.type}, which this version does not know` };
		bytes += row.data === null ? 0 : row.bytes;
		if (rows.length > 0 && bytes > BYTES_PER_READ) break;
		rows.push(row);
		next++;
		if (rows.length === ROWS_PER_READ) break;
	}
	const last = rows.at(-1);
	if (last === undefined) return { unusable: `its log has a hole: number ${next} is missing` };
	const done = last.seq === head.seq;
	const state = done ? stateOf(tables, sessionId) : [];
	const read: LogRead = {
		kind: "log",
		session: facts,
		from,
		to: { seq: last.seq, event_id: last.id },
		changes: [...collapse(rows), ...state.filter(isPoison)],
		state: state.filter((change): change is Change => !isPoison(change)),
		...(done ? {} : { isPartial: true }),
	};
	return { read, done };
}

/** A session's events after a number, in order; a large one is loaded when it is reached. */
function* eventsAfter(tables: Tables, sessionId: string, after: number): Generator<EventRow> {
	for (let last: number | undefined = after; last !== undefined; ) {
		const group = tables.events(sessionId, last);
		for (const row of group) yield (row.data === null && tables.event(sessionId, row.seq)) || row;
		last = group.at(-1)?.seq;
	}
}

/** A read at the head of the log that tells only the state. */
export function readState(tables: Tables, sessionId: string, at: Watermark): LogRead | undefined {
	const facts = tables.facts(sessionId);
	if (facts === undefined) return undefined;
	const state = stateOf(tables, sessionId);
	return {
		kind: "log",
		session: facts,
		from: at,
		to: at,
		changes: state.filter(isPoison),
		state: state.filter((change): change is Change => !isPoison(change)),
	};
}

/** The session's entity, then its todos. */
export function stateOf(tables: Tables, sessionId: string): (Change | Poison)[] {
	const row = tables.sessionRow(sessionId);
	if (row === undefined) return [];
	const session = typeof row === "number" ? tooLarge("session", keys.session, "session row", row) : sessionEntity(row);
	return [session, todoEntity(tables.todos.all(sessionId))];
}
