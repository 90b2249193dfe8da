import type { Sqlite } from "../sqlite/driver.ts";
import { buryPending } from "./bury.ts";
import { opAt } from "./position.ts";

/**
 * Buries the op at `position`, which the server has refused for good, and gives the ops after it back for sealing anew.
 *
 * The ack has proven that nothing from `position` on was applied, and the caller has fenced off every copy that may
 * still be under way (agent/replay.ts). Nothing but this and `rebase` ever undoes a seal.
 */
export function rejectVerb(sqlite: Sqlite) {
	const at = opAt(sqlite);
	const unseal = unsealSession(sqlite);
	const bury = buryPending(sqlite);
	return (sessionId: string, position: number, code: string, reason: string, now: number): number[] =>
		sqlite.transaction(() => {
			const op = at(sessionId, position);
			if (op === undefined) return [];
			unseal(sessionId);
			return bury(sessionId, op.id, code, reason, now);
		});
}

/** Undoes every seal of a session inside a transaction: its unacknowledged ops are unsealed again. */
export function unsealSession(sqlite: Sqlite) {
	const removeBatches = sqlite.prepare("DELETE FROM batch WHERE session_id = ?");
	const reset = sqlite.prepare(
		"UPDATE session SET sealed_id = acked_id, sealed_cursor = acked_cursor WHERE session_id = ?",
	);
	return (sessionId: string): void => {
		removeBatches.run(sessionId);
		reset.run(sessionId);
	};
}
