import { keys } from "../model/op.ts";
import { extended, type Run } from "../protocol/live.ts";
import type { LiveText } from "../source/doorbell.ts";

/** UTF-16 characters of all runs together. Beyond it the parts go that were not heard of for longest. */
const CHARS_MAX = 16 * 1024 * 1024;
/** Parts at once. */
const PARTS_MAX = 1000;
/** A part of which nothing was heard for so long is forgotten, in ms; it goes on from its checkpoint if it does. */
const QUIET_MS = 60_000;

/** A part that is being written. */
export interface LivePart {
	readonly session_id: string;
	readonly key: string;
	readonly field: string;
	run: Run;
	/** The event whose state of the part it continues, where that is known. */
	since: string | undefined;
	heardAt: number;
	/** Where what was sent to the watchers ends, as a place in the member. */
	published: number;
	/** When its text is to be in the outbox; undefined while all of it is. */
	dueAt: number | undefined;
	/** When a checkpoint was tried last. */
	checkpointAt: number | undefined;
	/** Digest of what OpenCode had committed of it then. Another one: what was heard is of the past. */
	committed: string | undefined;
}

/** The parts that are being written, bounded in number and size. */
export class LiveParts {
	/** In the order in which they were heard of. */
	readonly #parts = new Map<string, LivePart>();
	#chars = 0;

	/** The part with one more piece of text; undefined when it is of a state that is past. */
	hear(live: LiveText & { readonly offset: number }, now: number): LivePart | undefined {
		const { session_id, field, offset, delta, since } = live;
		const key = keys.part(live.message_id, live.part_id);
		const name = nameOf({ session_id, key, field });
		let known = this.#parts.get(name);
		if (known?.since !== undefined && since !== undefined && since !== known.since) {
			if (since < known.since) return undefined;
			// OpenCode has begun it anew.
			this.drop(known);
			known = undefined;
		}
		const run = extended(known?.run, { offset, text: delta });
		const fresh = { session_id, key, field, run, since, heardAt: now, published: run.offset };
		const part = known ?? { ...fresh, dueAt: undefined, checkpointAt: undefined, committed: undefined };
		this.#chars += run.text.length - (known?.run.text.length ?? 0);
		// What was begun anew is told anew.
		const isAnew = run !== part.run && run.offset === offset && run.text.length === delta.length;
		part.published = isAnew ? run.offset : Math.max(part.published, run.offset);
		part.run = run;
		part.heardAt = now;
		this.#parts.delete(name);
		this.#parts.set(name, part);
		this.#letGo(now);
		return part;
	}

	/** Nothing more comes of it. */
	drop(part: LivePart): void {
		if (this.#parts.delete(nameOf(part))) this.#chars -= part.run.text.length;
	}

	all(): IterableIterator<LivePart> {
		return this.#parts.values();
	}

	#letGo(now: number): void {
		for (const part of this.#parts.values()) {
			const isQuiet = now - part.heardAt > QUIET_MS && part.dueAt === undefined;
			if (!isQuiet && this.#chars <= CHARS_MAX && this.#parts.size <= PARTS_MAX) return;
			this.drop(part);
		}
	}
}

function nameOf({ session_id, key, field }: Pick<LivePart, "session_id" | "key" | "field">): string {
	return `${session_id} ${key} ${field}`;
}
