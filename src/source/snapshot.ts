import type { Watermark } from "../model/op.ts";
import { messageEntity, partEntity } from "./rows.ts";
import { BYTES_PER_READ, ROWS_PER_READ, stateOf } from "./session.ts";
import type { Change, Poison, Snapshot } from "./source.ts";
import type { Tables } from "./tables.ts";

/** How much one part of a snapshot may hold; a single row may be larger. */
interface Measure {
	readonly bytes: number;
	readonly rows: number;
}
const PART: Measure = { bytes: BYTES_PER_READ, rows: ROWS_PER_READ };
const WHOLE: Measure = { bytes: Number.POSITIVE_INFINITY, rows: Number.POSITIVE_INFINITY };

/** What was read last: this message, and of its parts those up to `part`. */
interface Place {
	/** MessageRow.place. */
	readonly at: number;
	readonly message: string;
	readonly part: string;
}

/**
 * A session from OpenCode's tables, read in parts: each a transaction of its own and bounded, however large the session is.
 *
 * All of it is as of the log's head when the first part was read, or newer: what changed meanwhile is told by the log from
 * there, and where there is no log, by the next sweep.
 */
export class SnapshotParts {
	readonly #sessionId: string;
	readonly #from: Watermark | null;
	readonly #reason: string;
	readonly #told = new Set<string>();
	/** Undefined before the first part. */
	#to: Watermark | null | undefined;
	#place: Place | undefined;

	constructor(sessionId: string, from: Watermark | null, reason: string) {
		this.#sessionId = sessionId;
		this.#from = from;
		this.#reason = reason;
	}

	/** The next part, inside one transaction; undefined when the session's row is gone. Not to be asked after the last. */
	next(tables: Tables, measure: Measure = PART): Snapshot | undefined {
		const session = tables.facts(this.#sessionId);
		if (session === undefined) return undefined;
		const [row, todo] = stateOf(tables, this.#sessionId);
		const entities: (Change | Poison)[] = [];
		if (this.#to === undefined) {
			this.#to = tables.head(this.#sessionId);
			if (row) entities.push(row);
		}
		const shared = { kind: "snapshot", session, from: this.#from, reason: this.#reason, entities } as const;
		if (!this.#fill(tables, entities, measure)) {
			for (const { key } of entities) this.#told.add(key);
			return { ...shared, to: this.#from, isPartial: true };
		}
		if (todo) entities.push(todo);
		return { ...shared, to: this.#to, ...(this.#told.size > 0 ? { told: this.#told } : {}) };
	}

	/** Adds the messages and parts that come next; false when there was no room for all. */
	#fill(tables: Tables, entities: (Change | Poison)[], { bytes, rows }: Measure): boolean {
		let left = bytes;
		const hasRoom = () => left > 0 && entities.length < rows;
		const add = (entity: Change | Poison, size: number) => {
			entities.push(entity);
			left -= "payload" in entity ? size : 0;
		};
		for (;;) {
			if (this.#place) {
				const { at, message } = this.#place;
				for (const part of tables.parts.iterate(message, this.#place.part)) {
					if (!hasRoom()) return false;
					add(partEntity(part), part.bytes);
					this.#place = { at, message, part: part.id };
				}
			}
			if (!hasRoom()) return false;
			const next = tables.messageAfter(this.#sessionId, this.#place?.at ?? null, this.#place?.message ?? "");
			if (next === undefined) return true;
			add(messageEntity(next), next.bytes);
			this.#place = { at: next.place, message: next.id, part: "" };
		}
	}
}

/** The whole session at once, as of its log's head. Inside one transaction; undefined when its row is gone. */
export function readSnapshot(tables: Tables, sessionId: string): Snapshot | undefined {
	return new SnapshotParts(sessionId, null, "asked for").next(tables, WHOLE);
}
