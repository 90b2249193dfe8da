import { digestOf } from "../model/json.ts";
import type { OpIntent, OpType } from "../model/op.ts";
import { opHash } from "../model/op-hash.ts";
import type { Sqlite } from "../sqlite/driver.ts";
import { pendingCount } from "./pending.ts";

/** What stored texts and payloads are put through. */
export interface Rewriter {
	text(text: string): string;
	/** @param payload JSON text. */
	payload(payload: string): string;
}

/** Rows read at a time: payloads of a few hundred ops stay well below what a process may take. */
const ROWS_PER_STEP = 200;

/**
 * Puts everything that is stored of the sessions through new redaction rules, and has every share compared.
 *
 * Sealed ops change as well, which nothing else may do: their batches are never sent again, since the comparison, which is
 * noted in the same transaction, sets them aside. Safe to repeat; `name` is written last, so that a crash repeats it.
 *
 * @param rewriter undefined: no rules any more. What was taken out comes back by the comparison, from OpenCode.
 * @param name of the rules (agent.redaction).
 * @returns how many shares are to be compared.
 */
export function redactVerb(sqlite: Sqlite) {
	const compareAll = sqlite.prepare(`UPDATE session SET compare_reason = ?
		WHERE wanted <> 'never' AND session_id IN (SELECT session_id FROM share WHERE share_id IS NOT NULL)`);
	const isThere = sqlite.prepare("SELECT 1 FROM session LIMIT 1");
	const ops = sqlite.prepare<OpIntent & { id: number; session_id: string }>(
		`SELECT id, session_id, op_id, type, key, payload FROM op WHERE id > ? ORDER BY id LIMIT ${ROWS_PER_STEP}`,
	);
	const putOp = sqlite.prepare("UPDATE op SET payload = ?, bytes = ?, hash = ? WHERE id = ?");
	const putDigest = sqlite.prepare(
		"UPDATE entity SET digest = unhex(?) WHERE session_id = ? AND key = ? AND last_op = ? AND digest = unhex(?)",
	);
	const letters = sqlite.prepare<{ id: number; type: OpType; payload: string | null; reason: string }>(
		`SELECT id, type, payload, reason FROM dead WHERE id > ? ORDER BY id LIMIT ${ROWS_PER_STEP}`,
	);
	const putLetter = sqlite.prepare("UPDATE dead SET payload = ?, bytes = ?, reason = ? WHERE id = ?");
	const sessions = sqlite.prepare<Record<(typeof SESSION_TEXTS)[number] | "session_id", string | null>>(
		`SELECT session_id, ${SESSION_TEXTS.join(", ")} FROM session`,
	);
	const putSession = sqlite.prepare(
		`UPDATE session SET ${SESSION_TEXTS.map((name) => `${name} = ?`).join(", ")} WHERE session_id = ?`,
	);
	const pending = pendingCount(sqlite);
	const named = sqlite.prepare("UPDATE agent SET redaction = ? WHERE id = 1");

	const redactOps = (rewriter: Rewriter, after: number): number | undefined => {
		const rows = ops.all(after);
		for (const { id, session_id, ...op } of rows) {
			const payload = rewriter.payload(op.payload);
			if (payload === op.payload) continue;
			const digest = digestOf(payload);
			putOp.run(payload, Buffer.byteLength(payload), opHash(op, digest), id);
			putDigest.run(digest, session_id, op.key, id, digestOf(op.payload));
		}
		return rows.at(-1)?.id;
	};
	const redactLetters = (rewriter: Rewriter, after: number): number | undefined => {
		const rows = letters.all(after);
		for (const { id, ...letter } of rows) {
			const payload = letter.payload === null ? null : rewriter.payload(letter.payload);
			const bytes = payload === null ? 0 : Buffer.byteLength(payload);
			putLetter.run(payload, bytes, rewriter.text(letter.reason), id);
		}
		return rows.at(-1)?.id;
	};

	return (rewriter: Rewriter | undefined, name: string | null, reason: string): number => {
		const isEmpty = isThere.get() === undefined;
		if (!isEmpty) sqlite.exec("PRAGMA secure_delete = ON");
		try {
			const { changes } = compareAll.run(reason);
			if (rewriter && !isEmpty) {
				for (const step of [redactOps, redactLetters])
					for (let at: number | undefined = 0; at !== undefined; )
						at = sqlite.transaction(() => step(rewriter, at as number));
				sqlite.transaction(() => {
					for (const { session_id, ...texts } of sessions.all())
						putSession.run(...SESSION_TEXTS.map((name) => mapped(texts[name], rewriter)), session_id);
					pending.recount();
				});
				forgetOldPages(sqlite);
			}
			named.run(name);
			return changes;
		} finally {
			if (!isEmpty) sqlite.exec("PRAGMA secure_delete = OFF");
		}
	};
}

/** What a session's row holds of OpenCode's or a server's words. */
const SESSION_TEXTS = ["title", "directory", "source_note", "last_error"] as const;

function mapped(text: string | null, rewriter: Rewriter): string | null {
	return text === null ? null : rewriter.text(text);
}

/** Rows that went long ago stand in free pages still, as they were. A disk too full for it, or a reader, leaves them there. */
function forgetOldPages(sqlite: Sqlite): void {
	try {
		sqlite.exec("VACUUM");
		sqlite.exec("PRAGMA wal_checkpoint(TRUNCATE)");
	} catch {
		// Nobody reads them; they are written over in time.
	}
}
