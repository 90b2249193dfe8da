import { assert } from "../model/assert.ts";
import { digestOf } from "../model/json.ts";
import {
	keys,
	messageIdOf,
	messageKeyOf,
	type OpIntent,
	type OpType,
	partsRange,
	REMOVALS,
	sameWatermark,
	type Watermark,
} from "../model/op.ts";
import { opHash } from "../model/op-hash.ts";
import type { Sqlite } from "../sqlite/driver.ts";
import { buryOp } from "./bury.ts";
import { DIGEST, dependencyOf, isRemovable } from "./known.ts";
import { pendingCount } from "./pending.ts";
import { watermarkOf } from "./watermark.ts";

/** A change that no op can carry; it goes straight to the dead letters. */
export interface Burial {
	readonly op_id: string;
	readonly type: OpType;
	readonly key: string;
	readonly code: string;
	readonly reason: string;
}

export interface SessionSays {
	readonly parent_id: string | null;
	readonly title: string;
	readonly directory: string;
	/** When OpenCode last touched it, in epoch ms; undefined leaves what is known. */
	readonly updated_at?: number;
}

export interface Capture {
	readonly session_id: string;
	/** What the session says of itself; null leaves what is known. */
	readonly facts: SessionSays | null;
	/** The watermark that `items` were read after; null before the first capture. */
	readonly from: Watermark | null;
	/** The watermark once `items` are in. */
	readonly to: Watermark | null;
	readonly items: readonly (OpIntent | Burial)[];
}

/** `stale`: another writer has moved the watermark since `from` was read; nothing was written, read again. */
export type AppendResult = { readonly outcome: "appended"; readonly ops: number } | { readonly outcome: "stale" };

/**
 * Appends a session's changes and moves its watermark, in one transaction (G1).
 *
 * Safe to repeat after an error whose outcome is unknown: the watermark tells whether it went in. A payload equal to the
 * last captured one makes no op. Unsealed ops of one entity collapse into the earliest one's place; a removal is a
 * barrier, and sealed ops never change (design 4, supersede).
 */
export function appendVerb(sqlite: Sqlite) {
	type Row = { watermark_seq: number | null; watermark_event_id: string | null; acked_id: number; sealed_id: number };
	const row = sqlite.prepare<Row>(
		"SELECT watermark_seq, watermark_event_id, acked_id, sealed_id FROM session WHERE session_id = ?",
	);
	const upsertSession = sqlite.prepare(`
		INSERT INTO session (session_id, parent_id, title, directory, updated_at) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (session_id) DO UPDATE SET parent_id = excluded.parent_id, title = excluded.title,
			directory = excluded.directory, updated_at = coalesce(excluded.updated_at, updated_at), source_state = 'present', source_note = NULL`);
	const isCaptured = sqlite.prepare("SELECT 1 FROM entity WHERE session_id = ? AND key = ?");
	const forgetEntity = sqlite.prepare("DELETE FROM entity WHERE session_id = ? AND key = ?");
	const moveWatermark = sqlite.prepare(
		"UPDATE session SET watermark_seq = ?, watermark_event_id = ? WHERE session_id = ?",
	);
	const write = opWriter(sqlite);

	return (capture: Capture, now: number): AppendResult =>
		sqlite.transaction(() => {
			const { session_id, facts } = capture;
			const known = row.get(session_id);
			if (!sameWatermark(known ? watermarkOf(known) : null, capture.from)) return { outcome: "stale" };
			if (facts) {
				const { parent_id, title, directory, updated_at = null } = facts;
				upsertSession.run(session_id, parent_id, title, directory, updated_at);
			}
			const session = facts ? row.get(session_id) : known;
			assert(session, `session ${session_id} is known or comes with its facts`);
			// OpenCode has it again after all: its next session op takes the mark back, on the share too.
			if (facts && isCaptured.get(session_id, keys.sessionDeleted))
				for (const key of [keys.sessionDeleted, keys.session]) forgetEntity.run(session_id, key);
			const { acked_id, sealed_id } = session;
			const ops = write({ session_id, acked_id, sealed_id, floor: capture.from, now }, capture.items);
			moveWatermark.run(capture.to?.seq ?? null, capture.to?.event_id ?? null, session_id);
			return { outcome: "appended", ops };
		});
}

/** Where in a session's line a group of ops is written. */
export interface Place {
	readonly session_id: string;
	/** Last op id that the server has, and last one that is sealed. */
	readonly acked_id: number;
	readonly sealed_id: number;
	/** Watermark before the group. */
	readonly floor: Watermark | null;
	readonly now: number;
}

interface Entity {
	readonly digest: string;
	readonly checkpoint: string | null;
	readonly first_op: number;
	readonly last_op: number;
}

/**
 * Writes a group of items inside a transaction and returns how many of them changed something. Shared by append, revive
 * and rebase.
 *
 * What is known of an entity that they touch is looked up once for the group, while nothing removes it.
 */
export function opWriter(sqlite: Sqlite) {
	const entityRow = sqlite.prepare<Entity>(
		`SELECT ${DIGEST} AS digest, checkpoint, first_op, last_op FROM entity WHERE session_id = ? AND key = ?`,
	);
	const putEntity = sqlite.prepare(`
		INSERT INTO entity (session_id, key, digest, first_op, last_op) VALUES (?, ?, unhex(?), ?, ?)
		ON CONFLICT (session_id, key) DO UPDATE SET digest = excluded.digest, checkpoint = NULL, last_op = excluded.last_op`);
	const removeEntity = sqlite.prepare("DELETE FROM entity WHERE session_id = ? AND key = ?");
	const removeParts = sqlite.prepare("DELETE FROM entity WHERE session_id = ? AND key >= ? AND key < ?");
	const remember = sqlite.prepare("INSERT INTO removed (session_id, key) VALUES (?, ?) ON CONFLICT DO NOTHING");
	const rememberParts = sqlite.prepare(`
		INSERT INTO removed (session_id, key) SELECT session_id, key FROM entity
		WHERE session_id = ? AND key >= ? AND key < ? ON CONFLICT DO NOTHING`);
	const anyRemoved = sqlite.prepare("SELECT 1 FROM removed WHERE session_id = ? LIMIT 1");
	const isBack = sqlite.prepare("DELETE FROM removed WHERE session_id = ? AND key = ?");
	const buried = sqlite.prepare("SELECT 1 FROM dead WHERE session_id = ? AND op_id = ?");
	const removable = isRemovable(sqlite);
	const bury = buryOp(sqlite);
	const lineAt = opLine(sqlite);

	const burial = (item: Burial, { session_id, now }: Place): boolean => {
		if (buried.get(session_id, item.op_id)) return false;
		bury({ ...item, session_id, payload: null, bytes: 0, parent_id: null }, now);
		return true;
	};

	const removal = (item: OpIntent, session_id: string, line: Line): boolean => {
		remember.run(session_id, item.key);
		if (!removable(session_id, item)) return false;
		line.insert(item, digestOf(item.payload), null);
		removeEntity.run(session_id, item.key);
		const messageId = messageIdOf(item.key);
		if (item.type === "message_removed" && messageId !== undefined)
			for (const statement of [rememberParts, removeParts]) statement.run(session_id, ...partsRange(messageId));
		return true;
	};

	return (place: Place, items: readonly (OpIntent | Burial)[]): number => {
		const { session_id, acked_id } = place;
		const line = lineAt(place);
		const looked = new Map<string, Entity | undefined>();
		const known = (key: string): Entity | undefined => {
			if (!looked.has(key)) looked.set(key, entityRow.get(session_id, key));
			return looked.get(key);
		};
		let hasRemoved = anyRemoved.get(session_id) !== undefined;

		const dependency = (key: string) => dependencyOf(key, acked_id, (message) => known(message)?.first_op);
		const change = (item: OpIntent): boolean => {
			const { key, payload } = item;
			const entity = known(key);
			const digest = digestOf(payload);
			if (entity?.digest === digest) return false;
			// What OpenCode commits is just what was put over its text before.
			const isHeld = entity?.checkpoint === digest;
			if (entity === undefined && hasRemoved) isBack.run(session_id, key);
			const id =
				entity === undefined
					? line.insert(item, digest, dependency(key))
					: isHeld
						? entity.last_op
						: line.supersede(item, digest, entity.last_op, dependency(key));
			const first_op = entity?.first_op ?? id;
			putEntity.run(session_id, key, digest, first_op, id);
			looked.set(key, { digest, checkpoint: null, first_op, last_op: id });
			return !isHeld;
		};

		let changes = 0;
		for (const item of items) {
			if ("code" in item) changes += Number(burial(item, place));
			else if (REMOVALS.has(item.type)) {
				changes += Number(removal(item, session_id, line));
				for (const key of looked.keys()) if (key === item.key || messageKeyOf(key) === item.key) looked.delete(key);
				hasRemoved = true;
			} else changes += Number(change(item));
		}
		line.settle();
		return changes;
	};
}

type Line = ReturnType<ReturnType<typeof opLine>>;

/** Puts a group of ops into a session's line, inside a transaction. */
export function opLine(sqlite: Sqlite) {
	const insertOp = sqlite.prepare(`
		INSERT INTO op (session_id, op_id, type, key, payload, bytes, hash, depends_id, floor_seq, floor_event_id, captured_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`);
	const bytesOf = sqlite.prepare<{ bytes: number }>("SELECT bytes FROM op WHERE id = ?");
	const replaceOp = sqlite.prepare("UPDATE op SET op_id = ?, payload = ?, bytes = ?, hash = ? WHERE id = ?");
	const pending = pendingCount(sqlite);

	return ({ session_id, sealed_id, floor, now }: Place) => {
		const [seq, event_id] = [floor?.seq ?? null, floor?.event_id ?? null];
		let [addedOps, addedBytes] = [0, 0];

		/** At the end; returns the op's id. `digest` is the payload's, `dependsId` as in the op's row. */
		const insert = (item: OpIntent, digest: string, dependsId: number | null): number => {
			const { op_id, type, key, payload } = item;
			const bytes = Buffer.byteLength(payload);
			const inserted = insertOp.run(
				...[session_id, op_id, type, key, payload, bytes, opHash(item, digest), dependsId, seq, event_id, now],
			);
			addedOps++;
			addedBytes += bytes;
			return Number(inserted.lastInsertRowid);
		};

		return {
			insert,
			/** In the place of the entity's last op while that is unsealed, else at the end; returns the op's id. */
			supersede(item: OpIntent, digest: string, lastOp: number, dependsId: number | null): number {
				const former = lastOp > sealed_id ? bytesOf.get(lastOp)?.bytes : undefined;
				if (former === undefined) return insert(item, digest, dependsId);
				const bytes = Buffer.byteLength(item.payload);
				replaceOp.run(item.op_id, item.payload, bytes, opHash(item, digest), lastOp);
				addedBytes += bytes - former;
				return lastOp;
			},
			/** Writes down what the group has added; to be called last. */
			settle: (): void => pending.add(session_id, addedOps, addedBytes, now),
		};
	};
}
