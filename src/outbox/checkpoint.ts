import { digestOf } from "../model/json.ts";
import type { OpIntent, OpType } from "../model/op.ts";
import { isAsHashed } from "../model/op-hash.ts";
import type { Sqlite } from "../sqlite/driver.ts";
import { opLine } from "./append.ts";
import { DIGEST, dependencyOf } from "./known.ts";
import { watermarkOf } from "./watermark.ts";

/** Text that was streaming, over what OpenCode has committed of an entity. */
export interface Checkpoint {
	/** Of what OpenCode has committed. */
	readonly digest: string;
	/** Of what the share holds, or will hold, instead. */
	readonly checkpoint: string;
	/** What bears that digest; null when the outbox does not keep it any more. */
	readonly payload: string | null;
}

/**
 * `written`: an op was made or superseded. `unchanged`: `grow` had nothing to add. `unfit`: nobody knows any more what it
 * would be added to, or nothing of the session is to be sent.
 */
export type CheckpointResult = "written" | "unchanged" | "unfit";

/** What a checkpoint is put over. */
export interface CheckpointBase {
	/** Of its last op: the event's, where OpenCode's log told it. */
	readonly op_id: string;
	readonly payload: string;
	/** Digest of what OpenCode has committed. */
	readonly committed: string;
}

interface Row {
	readonly digest: string;
	readonly held: string;
	readonly last_op: number;
	readonly op_id: string;
	readonly type: OpType;
	readonly key: string;
	readonly payload: string;
	readonly hash: string;
	readonly acked_id: number;
	readonly sealed_id: number;
	readonly watermark_seq: number | null;
	readonly watermark_event_id: string | null;
}

/**
 * Puts text that is being written over what OpenCode has committed of an entity, as an ordinary op: durable, in order,
 * superseding an unsealed op of the same key.
 *
 *     committed --checkpointText--> checkpointed --checkpointText--> checkpointed
 *         ^                              |
 *         +---- append of another state, or a removal ----+
 *
 * OpenCode loses that text when it dies, and the share keeps it: a snapshot that shows the state from before makes no op,
 * and a comparison aims at the text (agent/compare.ts). No text goes over an entity of which something was set aside: a
 * person has to see to that first.
 */
export function checkpointVerb(sqlite: Sqlite) {
	const base = sqlite.prepare<Row>(`
		SELECT ${DIGEST} AS digest, coalesce(entity.checkpoint, ${DIGEST}) AS held, entity.last_op, op.op_id, op.type, op.key,
			op.payload, op.hash, acked_id, sealed_id, watermark_seq, watermark_event_id
		FROM entity JOIN session USING (session_id) JOIN op ON op.id = entity.last_op AND op.key = entity.key
		WHERE entity.session_id = ? AND entity.key = ? AND wanted NOT IN ('unshare', 'never') AND excluded IS NULL
			AND NOT EXISTS (SELECT 1 FROM dead WHERE dead.session_id = entity.session_id AND dead.key = entity.key)`);
	const hold = sqlite.prepare("UPDATE entity SET checkpoint = ?, last_op = ? WHERE session_id = ? AND key = ?");
	const firstOf = sqlite.prepare<{ first_op: number }>("SELECT first_op FROM entity WHERE session_id = ? AND key = ?");
	const lineAt = opLine(sqlite);

	/** @param grow the entity with more text; undefined: leave it. */
	return (
		sessionId: string,
		key: string,
		opId: string,
		grow: (base: CheckpointBase) => string | undefined,
		now: number,
	): CheckpointResult =>
		sqlite.transaction(() => {
			const known = base.get(sessionId, key);
			if (known === undefined || !isAsHashed(known, known.hash)) return "unfit";
			const payload = grow({ op_id: known.op_id, payload: known.payload, committed: known.digest });
			const digest = payload === undefined ? known.held : digestOf(payload);
			if (payload === undefined || digest === known.held) return "unchanged";
			const item: OpIntent = { op_id: opId, type: known.type, key, payload };
			const { acked_id, sealed_id, last_op } = known;
			const line = lineAt({ session_id: sessionId, acked_id, sealed_id, floor: watermarkOf(known), now });
			const dependsId = dependencyOf(key, acked_id, (message) => firstOf.get(sessionId, message)?.first_op);
			const id = line.supersede(item, digest, last_op, dependsId);
			line.settle();
			hold.run(digest === known.digest ? null : digest, id, sessionId, key);
			return "written";
		});
}

/** Notes inside a transaction that what is held of an entity is a checkpoint over `committed`. */
export function markCheckpoint(sqlite: Sqlite) {
	const mark = sqlite.prepare(
		`UPDATE entity SET checkpoint = ${DIGEST}, digest = unhex(?) WHERE session_id = ? AND key = ? AND digest <> unhex(?)`,
	);
	return (sessionId: string, key: string, committed: string): void =>
		void mark.run(committed, sessionId, key, committed);
}

/** Where text is over what OpenCode has committed, by key. */
export function checkpointsQuery(sqlite: Sqlite) {
	const rows = sqlite.prepare<{ key: string; digest: string; checkpoint: string; payload: string | null }>(`
		SELECT entity.key, ${DIGEST} AS digest, checkpoint, payload FROM entity LEFT JOIN op ON op.id = entity.last_op
		WHERE entity.session_id = ? AND checkpoint IS NOT NULL`);
	return (sessionId: string): Map<string, Checkpoint> =>
		new Map(
			rows.all(sessionId).map(({ key, digest, checkpoint, payload }) => {
				const isKept = payload !== null && digestOf(payload) === checkpoint;
				return [key, { digest, checkpoint, payload: isKept ? payload : null }];
			}),
		);
}
