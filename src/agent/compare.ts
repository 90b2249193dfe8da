import { digestOf } from "../model/json.ts";
import { keys, messageIdOf, type OpIntent, type OpType } from "../model/op.ts";
import type { Checkpoint } from "../outbox/checkpoint.ts";

export interface EntityState {
	readonly type: OpType;
	readonly key: string;
	readonly payload: string;
}

/** Keys of entities of a session that OpenCode has, which no snapshot of its tables holds. */
export const EVENTLESS: ReadonlySet<string> = new Set([keys.sessionDiff, keys.model]);

export interface Comparison {
	readonly fresh: readonly OpIntent[];
	/** Entities on which both sides agree: key to digest. */
	readonly same: ReadonlyMap<string, string>;
}

/**
 * What brings a share to where the truth stands, trusting nothing but contents (design 3, *compare*).
 *
 * Makes ops for what the share lacks or holds with another content, and removes what OpenCode is known to have removed.
 * Removes nothing else: what only the share has may be another machine's.
 *
 * @param share the share's digests by key.
 * @param truth OpenCode's entities, or the outbox's where OpenCode has forgotten the session; in source order.
 * @param gone keys that OpenCode is known to have removed.
 * @param newId a fresh ULID for each op.
 */
export function compare(
	share: ReadonlyMap<string, string>,
	truth: readonly EntityState[],
	gone: readonly string[],
	newId: () => string,
): Comparison {
	const same = new Map<string, string>();
	const present = new Set(truth.map((entity) => entity.key));
	const fresh = removals(new Set(gone.filter((key) => share.has(key) && !present.has(key))), newId);
	// A removed message takes its parts along: what the truth has below it is made anew, however equal it is now.
	const removed = new Set(fresh.filter((op) => op.type === "message_removed").map((op) => messageIdOf(op.key)));
	for (const { type, key, payload } of truth) {
		// An empty list that nobody has says nothing.
		if (payload === "[]" && !share.has(key)) continue;
		const digest = digestOf(payload);
		// A session that is marked as deleted and is here after all is said anew, which takes the mark back.
		const isMarked = key === keys.session && share.has(keys.sessionDeleted);
		if (share.get(key) === digest && !isMarked && !removed.has(messageIdOf(key))) same.set(key, digest);
		else fresh.push({ op_id: newId(), type, key, payload });
	}
	return { fresh, same };
}

/** The truth, with text over it that OpenCode has not kept. */
export interface Aimed {
	readonly entities: readonly EntityState[];
	/** What the share holds of such text, though nobody else keeps it: key to digest. */
	readonly adopted: ReadonlyMap<string, string>;
	/** Keys of such text: key to the digest of what OpenCode has. */
	readonly committed: ReadonlyMap<string, string>;
}

/**
 * What a share is to hold where streaming text was put over what OpenCode has committed (outbox/checkpoint.ts): that text,
 * as long as OpenCode still has what it was put over. Anything newer wins.
 */
export function overTruth(
	truth: readonly EntityState[],
	checkpoints: ReadonlyMap<string, Checkpoint>,
	share: ReadonlyMap<string, string>,
): Aimed {
	const entities: EntityState[] = [];
	const adopted = new Map<string, string>();
	const committed = new Map<string, string>();
	for (const entity of truth) {
		const { key } = entity;
		const text = checkpoints.get(key);
		const isHeld = text !== undefined && text.digest === digestOf(entity.payload);
		if (isHeld && text.payload !== null) entities.push({ ...entity, payload: text.payload });
		else if (isHeld && share.get(key) === text.checkpoint) adopted.set(key, text.checkpoint);
		else {
			entities.push(entity);
			continue;
		}
		committed.set(key, text.digest);
	}
	return { entities, adopted, committed };
}

/**
 * What changed between what was captured and a snapshot: ops for new and changed entities, removals for messages and
 * parts that are gone.
 *
 * @param captured digests by key as last captured.
 * @param unlisted keys that the source has but that are not among the entities (it cannot read them, or told them
 * before); they are not gone.
 */
export function snapshotDifference(
	captured: ReadonlyMap<string, string>,
	entities: readonly EntityState[],
	unlisted: ReadonlySet<string>,
	newId: () => string,
): OpIntent[] {
	const gone = goneSince(captured.keys(), entities, unlisted);
	const changed = entities
		.filter(({ key, payload }) => captured.get(key) !== digestOf(payload))
		.map(({ type, key, payload }) => ({ op_id: newId(), type, key, payload }));
	return [...removals(gone, newId), ...changed];
}

/** Messages and parts that were captured and are not there any more. */
export function goneSince(
	captured: Iterable<string>,
	entities: readonly EntityState[],
	unreadable: ReadonlySet<string>,
): Set<string> {
	const present = new Set(entities.map((entity) => entity.key));
	return new Set([...captured].filter((key) => messageIdOf(key) && !present.has(key) && !unreadable.has(key)));
}

/** The removals of messages and parts; a removed message takes its parts along. */
function removals(gone: ReadonlySet<string>, newId: () => string): OpIntent[] {
	const ops: OpIntent[] = [];
	for (const key of gone) {
		const [, messageID = "", partID] = key.split("/");
		if (partID === undefined) ops.push(removal("message_removed", key, { messageID }, newId()));
		else if (!gone.has(keys.message(messageID))) ops.push(removal("part_removed", key, { messageID, partID }, newId()));
	}
	return ops;
}

function removal(type: OpType, key: string, payload: object, op_id: string): OpIntent {
	return { op_id, type, key, payload: JSON.stringify(payload) };
}
