import type { Sqlite } from "../sqlite/driver.ts";

/** A session as a person's rules look at it (agent/selection.ts), from what the outbox knows of it. */
export interface StoredCandidate {
	readonly session_id: string;
	readonly parent_id: string | null;
	readonly title: string;
	readonly directory: string;
	readonly updated_at: number;
}

/** True for a row that only says that the session is left out: nothing was ever captured of it, or asked for. */
export const IS_MARK = `excluded IS NOT NULL AND wanted = 'auto' AND watermark_seq IS NULL
	AND NOT EXISTS (SELECT 1 FROM entity WHERE entity.session_id = session.session_id)
	AND NOT EXISTS (SELECT 1 FROM share WHERE share.session_id = session.session_id)
	AND NOT EXISTS (SELECT 1 FROM dead WHERE dead.session_id = session.session_id)`;

/** Which sessions a person's rules leave out, and why. */
export function excludeVerbs(sqlite: Sqlite) {
	const candidates = sqlite.prepare<StoredCandidate>(
		`SELECT session_id, parent_id, title, directory, 0 AS updated_at FROM session WHERE NOT (${IS_MARK})`,
	);
	const excluded = sqlite.prepare<{ session_id: string; excluded: string }>(
		"SELECT session_id, excluded FROM session WHERE excluded IS NOT NULL",
	);
	// Of a session that was never begun, nothing but its id is kept.
	const put = sqlite.prepare(`
		INSERT INTO session (session_id, excluded) VALUES (?, ?)
		ON CONFLICT (session_id) DO UPDATE SET excluded = excluded.excluded`);
	const clear = sqlite.prepare("UPDATE session SET excluded = NULL WHERE session_id = ?");
	const removeMark = sqlite.prepare(`DELETE FROM session WHERE session_id = ? AND ${IS_MARK}`);
	return {
		/** Every session of which more is known than that it is left out. */
		candidates: () => candidates.all(),
		/** Why sessions are left out, by id. */
		excluded: () => new Map(excluded.all().map((row) => [row.session_id, row.excluded])),
		/**
		 * Notes why sessions are left out, and that they are not any more (null).
		 *
		 * @param isAll `reasons` names all sessions that there are: marks of others go.
		 */
		exclude(reasons: ReadonlyMap<string, string | null>, isAll: boolean): void {
			const known = new Map(excluded.all().map((row) => [row.session_id, row.excluded]));
			const changes = [...reasons].filter(([id, reason]) => (known.get(id) ?? null) !== reason);
			const gone = isAll ? [...known.keys()].filter((id) => !reasons.has(id)) : [];
			if (changes.length === 0 && gone.length === 0) return;
			sqlite.transaction(() => {
				for (const [id, reason] of changes) {
					if (reason !== null) put.run(id, reason);
					// A mark goes as a whole, so that its session begins like any other.
					else if (removeMark.run(id).changes === 0) clear.run(id);
				}
				for (const id of gone) removeMark.run(id);
			});
		},
	};
}
