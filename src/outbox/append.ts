import { assert } from "../model/assert.ts";
import { digestOf } from "../model/json.ts";
import {
	keys,
	messageIdOf,
	type OpIntent,
	type OpType,
	opHash,
	partsRange,
	REMOVALS,
	sameWatermark,
	type Watermark,
} from "../model/op.ts";
import type { Sqlite } from "../sqlite/driver.ts";
import { buryOp } from "./bury.ts";
import { isRemovable } from "./known.ts";
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
	const row = sqlite.prepare<{ watermark_seq: number | null; watermark_event_id: string | null; sealed_id: number }>(
		"SELECT watermark_seq, watermark_event_id, sealed_id FROM session WHERE session_id = ?",
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
	const put = opWriter(sqlite);

	return (capture: Capture, now: number): AppendResult =>
		sqlite.transaction(() => {
			const { session_id, facts } = capture;
			const known = row.get(session_id);
			if (!sameWatermark(known ? watermarkOf(known) : null, capture.from)) return { outcome: "stale" };
			if (facts) {
				const { parent_id, title, directory, updated_at = null } = facts;
				upsertSession.run(session_id, parent_id, title, directory, updated_at);
			}
			const session = row.get(session_id);
			assert(session, `session ${session_id} is known or comes with its facts`);
			// OpenCode has it again after all: its next session op takes the mark back, on the share too.
			if (facts && isCaptured.get(session_id, keys.sessionDeleted))
				for (const key of [keys.sessionDeleted, keys.session]) forgetEntity.run(session_id, key);
			let ops = 0;
			for (const item of capture.items) if (put(session_id, session.sealed_id, item, capture.from, now)) ops++;
			moveWatermark.run(capture.to?.seq ?? null, capture.to?.event_id ?? null, session_id);
			return { outcome: "appended", ops };
		});
}

/** Writes one item inside a transaction; false when it changed nothing. Shared by append, revive and rebase. */
export function opWriter(sqlite: Sqlite) {
	const entity = sqlite.prepare<{ digest: string; checkpoint: string | null; last_op: number }>(
		"SELECT digest, checkpoint, last_op FROM entity WHERE session_id = ? AND key = ?",
	);
	const insertEntity = sqlite.prepare(
		"INSERT INTO entity (session_id, key, digest, first_op, last_op) VALUES (?, ?, ?, ?, ?)",
	);
	const updateEntity = sqlite.prepare(
		"UPDATE entity SET digest = ?, checkpoint = NULL, last_op = ? WHERE session_id = ? AND key = ?",
	);
	const removeEntity = sqlite.prepare("DELETE FROM entity WHERE session_id = ? AND key = ?");
	const removeParts = sqlite.prepare("DELETE FROM entity WHERE session_id = ? AND key >= ? AND key < ?");
	const remember = sqlite.prepare("INSERT INTO removed (session_id, key) VALUES (?, ?) ON CONFLICT DO NOTHING");
	const rememberParts = sqlite.prepare(`
		INSERT INTO removed (session_id, key) SELECT session_id, key FROM entity
		WHERE session_id = ? AND key >= ? AND key < ? ON CONFLICT DO NOTHING`);
	const isBack = sqlite.prepare("DELETE FROM removed WHERE session_id = ? AND key = ?");
	const buried = sqlite.prepare("SELECT 1 FROM dead WHERE session_id = ? AND op_id = ?");
	const removable = isRemovable(sqlite);
	const bury = buryOp(sqlite);
	const { insert, supersede } = opLine(sqlite);

	return (
		sessionId: string,
		sealedId: number,
		item: OpIntent | Burial,
		floor: Watermark | null,
		now: number,
	): boolean => {
		if ("code" in item) {
			if (buried.get(sessionId, item.op_id)) return false;
			bury({ ...item, session_id: sessionId, payload: null, bytes: 0, parent_id: null }, now);
			return true;
		}
		if (REMOVALS.has(item.type)) {
			remember.run(sessionId, item.key);
			if (!removable(sessionId, item)) return false;
			insert(sessionId, item, floor, now);
			removeEntity.run(sessionId, item.key);
			const messageId = messageIdOf(item.key);
			if (item.type === "message_removed" && messageId !== undefined)
				for (const statement of [rememberParts, removeParts]) statement.run(sessionId, ...partsRange(messageId));
			return true;
		}
		const known = entity.get(sessionId, item.key);
		const digest = digestOf(item.payload);
		if (known === undefined) {
			isBack.run(sessionId, item.key);
			const id = insert(sessionId, item, floor, now);
			insertEntity.run(sessionId, item.key, digest, id, id);
			return true;
		}
		if (known.digest === digest) return false;
		// What OpenCode commits is just what was put over its text before.
		const isHeld = known.checkpoint === digest;
		const id = isHeld ? known.last_op : supersede(sessionId, sealedId, known.last_op, item, floor, now);
		updateEntity.run(digest, id, sessionId, item.key);
		return !isHeld;
	};
}

/** Puts ops into a session's line, inside a transaction; each returns the op's id. */
export function opLine(sqlite: Sqlite) {
	const insertOp = sqlite.prepare(`
		INSERT INTO op (session_id, op_id, type, key, payload, bytes, hash, depends_id, floor_seq, floor_event_id, captured_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`);
	const replaceOp = sqlite.prepare("UPDATE op SET op_id = ?, payload = ?, bytes = ?, hash = ? WHERE id = ?");
	const created = sqlite.prepare<{ first_op: number }>(
		"SELECT first_op FROM entity JOIN session USING (session_id) WHERE session_id = ? AND key = ? AND first_op > acked_id",
	);

	const dependency = (sessionId: string, key: string): number | null => {
		const messageId = messageIdOf(key);
		if (messageId === undefined || key === keys.message(messageId)) return null;
		return created.get(sessionId, keys.message(messageId))?.first_op ?? null;
	};

	const insert = (sessionId: string, item: OpIntent, floor: Watermark | null, now: number): number => {
		const { op_id, type, key, payload } = item;
		const depends = REMOVALS.has(type) ? null : dependency(sessionId, key);
		const bytes = Buffer.byteLength(payload);
		const inserted = insertOp.run(
			...[sessionId, op_id, type, key, payload, bytes, opHash(item), depends],
			...[floor?.seq ?? null, floor?.event_id ?? null, now],
		);
		return Number(inserted.lastInsertRowid);
	};

	return {
		insert,
		/** In the place of the entity's last op while that is unsealed, else at the end. */
		supersede(
			sessionId: string,
			sealedId: number,
			lastOp: number,
			item: OpIntent,
			floor: Watermark | null,
			now: number,
		): number {
			const bytes = Buffer.byteLength(item.payload);
			const isUnsealed = lastOp > sealedId;
			if (isUnsealed && replaceOp.run(item.op_id, item.payload, bytes, opHash(item), lastOp).changes === 1)
				return lastOp;
			return insert(sessionId, item, floor, now);
		},
	};
}
