import type { FoundDatabase } from "./discovery.ts";
import { openForTailing, sourceError } from "./file.ts";
import { openTables } from "./tables.ts";

/** Where a session's log ends: what a restore goes on from. */
export interface LogEnd {
	/** The number of the last event; -1 where there is none. */
	readonly lastSeq: number;
	/** Ids of events that match what was asked for, and of the last one, in order. */
	readonly eventIds: readonly string[];
}

/**
 * Looks up where a session's log ends in OpenCode's database.
 *
 * @param glob of the event ids that are wanted.
 * @throws OutboxError unknown_schema, corrupt, busy, io.
 */
export async function readLogEnd(database: FoundDatabase, sessionId: string, glob: string): Promise<LogEnd> {
	const sqlite = await openForTailing(database.path);
	try {
		const tables = openTables(sqlite);
		return sqlite.transaction(
			() => ({ lastSeq: tables.lastSeq(sessionId), eventIds: tables.eventIds(sessionId, glob) }),
			"deferred",
		);
	} catch (error) {
		throw sourceError(error, database.path);
	} finally {
		sqlite.close();
	}
}
