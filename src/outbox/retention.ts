import type { Sqlite } from "../sqlite/driver.ts";

/** How long an acknowledged op that is its entity's last one is kept, in ms: 7 days. */
export const RETENTION_MS = 7 * 24 * 3600 * 1000;

/** Rows deleted in one transaction: keeps each well under the lease and the busy timeout. */
const ROWS_PER_STEP = 2000;

/**
 * Deletes acknowledged ops that nobody needs: superseded ones at once, an entity's last one after `keepMs`.
 *
 * The last ones are kept for a while because they are what a share can be rebuilt from when both OpenCode has forgotten
 * the session and the server has lost it (*compare*). Never touches an op that is not acknowledged, nor one of a batch
 * that is only in part.
 *
 * @returns how many were deleted; fewer than a step's rows means that it is done.
 */
export function retentionVerb(sqlite: Sqlite) {
	// A cross join, so that SQLite walks the sessions and their acknowledged ops, not all ops.
	const prune = sqlite.prepare(`
		DELETE FROM op WHERE id IN (
			SELECT op.id FROM session
			CROSS JOIN op ON op.session_id = session.session_id AND op.id <= session.acked_id
			LEFT JOIN entity ON entity.session_id = op.session_id AND entity.key = op.key AND entity.last_op = op.id
			WHERE (entity.last_op IS NULL OR op.captured_at < ?) AND NOT EXISTS (
				SELECT 1 FROM batch WHERE batch.session_id = op.session_id AND batch.first_id <= op.id)
			LIMIT ${ROWS_PER_STEP})`);
	return (now: number, keepMs: number = RETENTION_MS): { deleted: number; more: boolean } => {
		const { changes } = prune.run(now - keepMs);
		return { deleted: changes, more: changes >= ROWS_PER_STEP };
	};
}
