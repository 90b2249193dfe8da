import { openDatabase } from "../sqlite/database.ts";
import type { Sqlite } from "../sqlite/driver.ts";
import { ackVerb, batchBelow, lastBelow, nackVerb, recoverVerb, releaseVerb } from "./ack.ts";
import { adoptVerbs } from "./adopt.ts";
import { agentVerbs } from "./agent-row.ts";
import { appendVerb } from "./append.ts";
import { checkpointsQuery, checkpointVerb } from "./checkpoint.ts";
import { deadQueries, discardVerb, reviveVerb } from "./dead.ts";
import { excludeVerbs } from "./exclude.ts";
import { grantVerbs } from "./grant.ts";
import { OUTBOX_KIND } from "./kind.ts";
import { capturedQueries, rebaseVerb, removedQuery, retainedQuery } from "./rebase.ts";
import { redactVerb } from "./redact.ts";
import { rejectVerb } from "./reject.ts";
import { extendVerb, reserveVerb } from "./reserve.ts";
import { retentionVerb } from "./retention.ts";
import { sealVerb } from "./seal.ts";
import { sessionVerbs } from "./session.ts";
import { storageVerbs, TroubleBell, type TroubleListener } from "./storage.ts";

/**
 * The outbox of one machine, and the only writer of its file.
 *
 * Each verb is one durable transaction, lives in a file of its own, and leaves everything as it was when it throws.
 * Several processes may append to one outbox; only the holder of the agent's lock seals, reserves and acks.
 *
 * @throws OutboxError foreign_database, newer_database, corrupt, read_only, disk_full, io.
 */
export async function openOutbox(path: string) {
	return outboxOn(await openDatabase(path, OUTBOX_KIND));
}

export type Outbox = ReturnType<typeof outboxOn>;

/** The verbs on an open outbox. */
export function outboxOn(sqlite: Sqlite) {
	const bell = new TroubleBell();
	const dead = deadQueries(sqlite);
	const captured = capturedQueries(sqlite);
	const version = sqlite.prepare<{ data_version: number }>("PRAGMA data_version");
	const verbs = {
		append: appendVerb(sqlite),
		checkpointText: checkpointVerb(sqlite),
		seal: sealVerb(sqlite),
		reserve: reserveVerb(sqlite),
		extend: extendVerb(sqlite),
		ack: ackVerb(sqlite),
		nack: nackVerb(sqlite),
		reject: rejectVerb(sqlite),
		rebase: rebaseVerb(sqlite),
		redact: redactVerb(sqlite),
		revive: reviveVerb(sqlite),
		discard: discardVerb(sqlite),
		recover: recoverVerb(sqlite),
		release: releaseVerb(sqlite),
		retain: retentionVerb(sqlite),
		...sessionVerbs(sqlite),
		...excludeVerbs(sqlite),
		...grantVerbs(sqlite),
		...adoptVerbs(sqlite),
		...agentVerbs(sqlite),
		...storageVerbs(sqlite),
		deadLetters: dead.list,
		deadLetter: dead.show,
		/** The sealed, unacknowledged op at `cursor - 1`. */
		lastBelow: lastBelow(sqlite),
		batchBelow: batchBelow(sqlite),
		capturedDigests: captured.digests,
		isCaptured: captured.isCaptured,
		buriedKeys: captured.buriedKeys,
		checkpoints: checkpointsQuery(sqlite),
		removedKeys: removedQuery(sqlite),
		retained: retainedQuery(sqlite),
		/** Changes whenever another connection commits: a doorbell for what other processes append or ask. */
		version: () => version.get()?.data_version ?? 0,
	};
	return {
		...bell.on(verbs),
		/** Calls `listener` when a verb meets a full disk or a damaged file. */
		onTrouble: (listener: TroubleListener): void => bell.listen(listener),
		/** Several verbs as one durable transaction. */
		transaction: <T>(body: () => T): T => bell.watch("transaction", () => sqlite.transaction(body)),
		/** Calls `listener` with how long each commit took, in ms. */
		onCommit: sqlite.observeCommits,
		path: sqlite.path,
		close: () => sqlite.close(),
	};
}
