import { messageIdOf } from "../model/op.ts";
import type { Delta, WatchedOp } from "./schema.ts";

/**
 * Text that streams, and how it comes together with what a share stores.
 *
 * A delta says where it belongs: `offset` is the UTF-16 length of the member before it. Deltas are lost, repeated and told
 * by several lanes; what is stored comes earlier or later than they do. A reader therefore keeps, beside the stored member,
 * one *run*: the deltas that follow one another without a gap. What it shows is the stored text, and behind it what of the
 * run reaches further, as soon as the two meet; until then (a viewer that came late, a delta that was lost) the run waits
 * for the next stored text, which is a checkpoint away.
 */
export interface Run {
	/** UTF-16 length of the member before `text`. */
	readonly offset: number;
	readonly text: string;
}

/** UTF-16 characters of a run at most. A longer one begins anew: then only the stored text grows. */
export const RUN_CHARS_MAX = 4 * 1024 * 1024;

/** A run after one more delta. A gap, and text that contradicts what was heard before, begin a new one. */
export function extended(run: Run | undefined, { offset, text }: Run): Run {
	const fresh = { offset, text };
	if (run === undefined) return fresh;
	const at = offset - run.offset;
	// Of a lane that lags behind where this run began.
	if (at < 0) return run;
	if (at > run.text.length) return fresh;
	const known = run.text.slice(at, at + text.length);
	if (!text.startsWith(known)) return fresh;
	const rest = text.slice(known.length);
	if (rest === "") return run;
	if (run.text.length + rest.length > RUN_CHARS_MAX) return { offset: run.offset + run.text.length, text: rest };
	return { offset: run.offset, text: run.text + rest };
}

/** A stored text with what of the run reaches beyond it; the stored text alone where the two do not meet, or disagree. */
export function grown(stored: string, run: Run): string {
	const overlap = stored.length - run.offset;
	if (overlap < 0 || overlap >= run.text.length || !stored.endsWith(run.text.slice(0, overlap))) return stored;
	return stored + run.text.slice(overlap);
}

/** True for the payload of a part that OpenCode has finished: nothing more is streamed into it. */
export function isFinal(payload: Readonly<Record<string, unknown>>): boolean {
	const time = payload.time as { end?: unknown } | null | undefined;
	return typeof time?.end === "number";
}

/** One entity as a viewer knows it. */
interface Viewed {
	/** The last stored payload; undefined while only deltas were heard. */
	readonly payload: Readonly<Record<string, unknown>> | undefined;
	readonly runs: ReadonlyMap<string, Run>;
}

const NO_RUNS: ReadonlyMap<string, Run> = new Map();

/** Entities of which only deltas were heard; more are not remembered. */
const UNSTORED_MAX = 100;

/**
 * What a viewer of a share shows: feed it all that a WatchSink is told, in order, and ask it for entities.
 *
 * Each text only ever grows, save that OpenCode says otherwise: a final part replaces all that was streamed of it, once.
 */
export class ShareView {
	/** What to watch from after a lost connection. */
	cursor = 0;
	readonly #entities = new Map<string, Viewed>();
	#unstored = 0;

	ops(ops: readonly WatchedOp[], cursor: number): void {
		for (const op of ops) this.#apply(op);
		this.cursor = cursor;
	}

	/** Passes over a delta that does not say where it belongs. */
	delta({ key, field, offset, delta }: Delta): void {
		const known = this.#entities.get(key);
		if (offset === undefined || (known?.payload && isFinal(known.payload))) return;
		if (known === undefined) {
			if (this.#unstored >= UNSTORED_MAX) return;
			this.#unstored++;
		}
		const run = extended(known?.runs.get(field), { offset, text: delta });
		this.#entities.set(key, { payload: known?.payload, runs: new Map([...(known?.runs ?? []), [field, run]]) });
	}

	/** The entity as it is to be shown; undefined while nothing of it is stored. */
	entity(key: string): Readonly<Record<string, unknown>> | undefined {
		const { payload, runs = NO_RUNS } = this.#entities.get(key) ?? {};
		if (payload === undefined || runs.size === 0) return payload;
		const shown = [...runs].map(([field, run]) => {
			const stored = payload[field];
			return [field, typeof stored === "string" ? grown(stored, run) : stored] as const;
		});
		return { ...payload, ...Object.fromEntries(shown) };
	}

	/** Keys of the entities that are stored. */
	keys(): string[] {
		return [...this.#entities].filter(([, { payload }]) => payload !== undefined).map(([key]) => key);
	}

	#apply({ key, payload }: WatchedOp): void {
		if (payload === null) {
			this.#remove(key);
			return;
		}
		const known = this.#entities.get(key);
		if (known && known.payload === undefined) this.#unstored--;
		const parsed: unknown = JSON.parse(payload);
		const stored =
			typeof parsed === "object" && parsed !== null ? (parsed as Record<string, unknown>) : { value: parsed };
		const before = known?.payload ?? {};
		const isKept = (field: string) => String(stored[field] ?? "").startsWith(String(before[field] ?? ""));
		const runs = [...(known?.runs ?? [])].filter(([field]) => !isFinal(stored) && isKept(field));
		this.#entities.set(key, { payload: stored, runs: new Map(runs) });
	}

	/** A removed message takes its parts along. */
	#remove(key: string): void {
		const isMessage = key.startsWith("message/");
		for (const [other, { payload }] of this.#entities) {
			if (other !== key && !(isMessage && messageIdOf(other) === messageIdOf(key))) continue;
			this.#entities.delete(other);
			if (payload === undefined) this.#unstored--;
		}
	}
}
