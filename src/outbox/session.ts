import type { Watermark } from "../model/op.ts";
import type { Sqlite } from "../sqlite/driver.ts";
import { IS_MARK } from "./exclude.ts";
import { watermarkOf } from "./watermark.ts";

/**
 * What a person asked for: auto follows the agent's mode, unshare is pending until the server has deleted the share. And
 * `delete`, which nobody asked for: the share goes with the session that OpenCode has deleted.
 */
export const WANTED = ["auto", "share", "unshare", "delete", "never"] as const;
export type Wanted = (typeof WANTED)[number];
export type SourceState = "present" | "deleted" | "vanished";

/** A session as the flusher needs it. */
export interface SessionRow {
	readonly session_id: string;
	readonly parent_id: string | null;
	readonly wanted: Wanted;
	readonly source_state: SourceState;
	readonly watermark: Watermark | null;
	readonly acked_cursor: number;
	readonly sealed_cursor: number;
	readonly acked_op_id: string | null;
	readonly attempts: number;
	readonly next_retry_at: number;
	readonly compare_reason: string | null;
	readonly parked_code: string | null;
	/** Ops after acked_id. */
	readonly pending: number;
}

/** A session that the flusher has something to do for. */
export interface WorkRow {
	readonly session_id: string;
	readonly next_retry_at: number;
	readonly wanted: Wanted;
	readonly shared: number;
	/** 1 when a person asked for a session that it belongs to. */
	readonly follows: number;
	readonly unconfirmed: number;
	/** 1 when it is parked with OVER_QUOTA: it is looked at again when it is due, and waits for a person meanwhile. */
	readonly halted: number;
	/** 1 when there is something to send or to ask for; 0 when the share is only to be redeemed once. */
	readonly pending: number;
}

/** What a flush looks at between two batches. */
export interface LineRow {
	readonly wanted: Wanted;
	/** 1 when a person's rules leave it out: nothing of it is sent. */
	readonly held: number;
	readonly sealed_cursor: number;
	readonly attempts: number;
	readonly unconfirmed: number;
}

/**
 * What a session is parked with that the server has no room for: halted. Alone of all codes it ends by itself, since a person
 * makes room on the server and nothing is to be done here.
 */
export const OVER_QUOTA = "over_quota";

/** True for a session that a person's rules leave out; what they ask of it themselves wins. */
const IS_HELD = "(session.excluded IS NOT NULL AND session.wanted = 'auto')";

type Raw = Omit<SessionRow, "watermark"> & { watermark_seq: number | null; watermark_event_id: string | null };

const COLUMNS = `session_id, parent_id, wanted, source_state, watermark_seq, watermark_event_id, acked_cursor,
	sealed_cursor, acked_op_id, attempts, next_retry_at, compare_reason, parked_code,
	pending_ops AS pending`;

/** Reads and small updates of the session table. */
export function sessionVerbs(sqlite: Sqlite) {
	const one = sqlite.prepare<Raw>(`SELECT ${COLUMNS} FROM session WHERE session_id = ?`);
	const due = sqlite.prepare<WorkRow>(`
		SELECT * FROM (
			SELECT session.session_id, next_retry_at, wanted, share_id IS NOT NULL AS shared, unconfirmed,
				parked_code IS NOT NULL AS halted,
				parent_id IS NOT NULL AND (WITH RECURSIVE above (id, parent, depth) AS (
					SELECT '', session.parent_id, 0 UNION ALL
					SELECT session_id, parent_id, depth + 1 FROM above JOIN session ON session_id = parent WHERE depth < 20)
					SELECT count(*) FROM above JOIN session AS asked ON asked.session_id = id WHERE asked.wanted = 'share') > 0 AS follows,
				wanted IN ('unshare', 'delete') OR compare_reason IS NOT NULL OR (wanted = 'share' AND share_id IS NULL)
					OR EXISTS (SELECT 1 FROM op WHERE op.session_id = session.session_id AND op.id > session.acked_id) AS pending
			FROM session LEFT JOIN share USING (session_id)
			WHERE coalesce(parked_code, '${OVER_QUOTA}') = '${OVER_QUOTA}' AND wanted <> 'never' AND NOT ${IS_HELD})
		WHERE pending OR (unconfirmed AND shared)
		ORDER BY next_retry_at`);
	const line = sqlite.prepare<LineRow>(
		`SELECT wanted, ${IS_HELD} AS held, sealed_cursor, attempts, unconfirmed FROM session WHERE session_id = ?`,
	);
	// The second one where the first is parked or not shared any more.
	const doubtLatest = sqlite.prepare(`
		UPDATE session SET unconfirmed = 1 WHERE unconfirmed = 0 AND session_id IN (
			SELECT acked_session_id FROM agent UNION ALL SELECT * FROM (
				SELECT session_id FROM session JOIN share USING (session_id)
				WHERE share_id IS NOT NULL AND parked_code IS NULL AND wanted <> 'never' AND NOT ${IS_HELD}
				ORDER BY last_acked_at DESC LIMIT 1))`);
	const doubtAll = sqlite.prepare(
		"UPDATE session SET unconfirmed = 1 WHERE session_id IN (SELECT session_id FROM share WHERE share_id IS NOT NULL)",
	);
	const confirm = sqlite.prepare("UPDATE session SET unconfirmed = 0 WHERE session_id = ?");
	const captured = sqlite.prepare<{
		session_id: string;
		source_state: SourceState;
		watermark_seq: number | null;
		watermark_event_id: string | null;
		updated_at: number | null;
		empty: number;
	}>(`
		SELECT session_id, source_state, watermark_seq, watermark_event_id, updated_at,
			NOT EXISTS (SELECT 1 FROM entity WHERE entity.session_id = session.session_id)
				AND NOT EXISTS (SELECT 1 FROM dead WHERE dead.session_id = session.session_id) AS empty
		FROM session WHERE NOT (${IS_MARK})`);
	const wanted = sqlite.prepare<{ session_id: string; wanted: Wanted }>("SELECT session_id, wanted FROM session");
	const setWanted = sqlite.prepare(`
		INSERT INTO session (session_id, wanted) VALUES (?, ?)
		ON CONFLICT (session_id) DO UPDATE SET wanted = excluded.wanted, next_retry_at = 0, parked_code = NULL`);
	const attempt = sqlite.prepare("UPDATE session SET attempts = attempts + 1 WHERE session_id = ?");
	const settle = sqlite.prepare(
		`UPDATE session SET attempts = 0, next_retry_at = 0, last_error = NULL, parked_code = nullif(parked_code, '${OVER_QUOTA}')
			WHERE session_id = ?`,
	);
	const compare = sqlite.prepare("UPDATE session SET compare_reason = ? WHERE session_id = ?");
	const park = sqlite.prepare("UPDATE session SET parked_code = ?, last_error = ? WHERE session_id = ?");
	const unpark = sqlite.prepare("UPDATE session SET parked_code = NULL, last_error = NULL WHERE parked_code = ?");
	const directory = sqlite.prepare<{ directory: string }>("SELECT directory FROM session WHERE session_id = ?");
	const source = sqlite.prepare(`
		UPDATE session SET source_state = ?, source_note = ?
		WHERE session_id = ? AND (source_state, source_note) IS NOT (?, ?)`);
	const deleteWith = sqlite.prepare(`
		UPDATE session SET source_state = 'deleted', source_note = NULL, wanted = 'delete', next_retry_at = 0
		WHERE session_id = ? AND wanted IN ('auto', 'share') AND (watermark_seq, watermark_event_id) IS (?, ?)`);
	const hurry = sqlite.prepare("UPDATE session SET next_retry_at = 0 WHERE next_retry_at > 0");
	const forgetOps = sqlite.prepare("DELETE FROM op WHERE session_id = ?");
	const forgetEntities = sqlite.prepare("DELETE FROM entity WHERE session_id = ?");
	const forgetBatches = sqlite.prepare("DELETE FROM batch WHERE session_id = ?");
	const forgetDead = sqlite.prepare("DELETE FROM dead WHERE session_id = ?");
	const forgetRemoved = sqlite.prepare("DELETE FROM removed WHERE session_id = ?");
	const forgetShare = sqlite.prepare("DELETE FROM share WHERE session_id = ?");
	const reset = sqlite.prepare(`
		UPDATE session SET wanted = CASE wanted WHEN 'share' THEN 'share' WHEN 'delete' THEN 'auto' ELSE 'never' END,
			watermark_seq = NULL, watermark_event_id = NULL, acked_id = 0, sealed_id = 0, pending_ops = 0, pending_bytes = 0,
			oldest_pending_at = NULL, acked_cursor = 0, sealed_cursor = 0, acked_op_id = NULL, attempts = 0, next_retry_at = 0,
			last_error = NULL, compare_reason = NULL, parked_code = NULL, last_acked_at = NULL, unconfirmed = 0,
			generation = generation + EXISTS (SELECT 1 FROM share WHERE share.session_id = session.session_id)
		WHERE session_id = ?`);

	return {
		session(sessionId: string): SessionRow | undefined {
			const raw = one.get(sessionId);
			return raw && { ...raw, watermark: watermarkOf(raw) };
		},
		/** What a flush looks at between two batches; costs one row. */
		line: (sessionId: string) => line.get(sessionId),
		/** Sessions with something to do that are not parked, or only halted, soonest due first. */
		work: () => due.all(),
		/** The share that was acknowledged last is to be redeemed once: a server that went back has lost at least that. */
		doubtLatest: () => void doubtLatest.run(),
		/** Every share is to be redeemed once. */
		doubtAll: () => void doubtAll.run(),
		/** The session's share was redeemed, and stands where it should. */
		confirm: (sessionId: string) => void confirm.run(sessionId),
		/** Where each session's capture stands. */
		captured: () =>
			new Map(
				captured.all().map((row) => {
					const { session_id, source_state } = row;
					const gone = { deleted: source_state === "deleted", vanished: source_state === "vanished" };
					const updated_at = row.updated_at ?? undefined;
					return [session_id, { watermark: watermarkOf(row), empty: row.empty !== 0, updated_at, ...gone }];
				}),
			),
		wanted: () => new Map(wanted.all().map((row) => [row.session_id, row.wanted])),
		/** Records what a person asks for; un-parks, since asking again is acting. */
		want: (sessionId: string, what: Wanted) => void setWanted.run(sessionId, what),
		/** Counts an attempt before it is made. */
		attempt: (sessionId: string) => void attempt.run(sessionId),
		/** The session's server side answered well: no backoff is left over. */
		settle: (sessionId: string) => void settle.run(sessionId),
		/** Positions are not to be trusted until the share was compared. Survives restarts. */
		mustCompare: (sessionId: string, reason: string) => void compare.run(reason, sessionId),
		/** Stops sending until a person acts; capture goes on, ops are kept. */
		park: (sessionId: string, code: string, error: string) => void park.run(code, error, sessionId),
		/** Records where OpenCode stands; false when that was known. */
		setSource: (sessionId: string, state: SourceState, note: string | null): boolean =>
			source.run(state, note, sessionId, state, note).changes > 0,
		/**
		 * Records that OpenCode has deleted the session and that its share is to be deleted with it. Survives restarts;
		 * whatever a person asked for since goes first.
		 *
		 * @param at where its capture stands; false when that has moved meanwhile.
		 */
		deleteWith: (sessionId: string, at: Watermark | null): boolean =>
			deleteWith.run(sessionId, at?.seq ?? null, at?.event_id ?? null).changes > 0,
		/** Takes sessions up again that were parked with `code`. */
		unpark: (code: string) => void unpark.run(code),
		directoryOf: (sessionId: string) => directory.get(sessionId)?.directory ?? "",
		/** A person asks: makes every deferred session due now, and has the server asked for what it acknowledged last. */
		hurry: (): void => {
			hurry.run();
			unpark.run(OVER_QUOTA);
			doubtLatest.run();
		},
		/**
		 * After unsharing: drops the grant and everything captured; keeps the row. The session is not wanted from now on,
		 * unless a person has asked to share it again meanwhile, or its share only went with the session that OpenCode deleted:
		 * should that come back, it is shared anew.
		 */
		forget: (sessionId: string): void =>
			sqlite.transaction(() => {
				reset.run(sessionId);
				for (const statement of [forgetOps, forgetEntities, forgetBatches, forgetDead, forgetRemoved, forgetShare])
					statement.run(sessionId);
			}),
	};
}
