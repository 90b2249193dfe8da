import { existsSync } from "node:fs";
import type { Watermark } from "../model/op.ts";
import { type FoundDatabase, noSource } from "./discovery.ts";
import { openForTailing, sourceError } from "./file.ts";
import { openTables } from "./tables.ts";

/** What one look into OpenCode's database shows. */
export interface Glance {
	readonly path: string;
	readonly sessions: number;
	/** When a session was last touched, in epoch ms; null where there is none. */
	readonly newestAt: number | null;
	/** The head of each session's log; sessions without one are captured by snapshot. */
	readonly heads: ReadonlyMap<string, Watermark | null>;
}

/** Looks into OpenCode's database once: one short read. Throws OutboxError no_source, unknown_schema, corrupt, busy, io. */
export async function glanceAt(database: FoundDatabase): Promise<Glance> {
	if (!existsSync(database.path)) throw noSource(database);
	const sqlite = await openForTailing(database.path);
	try {
		const swept = sqlite.transaction(() => openTables(sqlite).sweep(), "deferred");
		const heads = new Map(swept.map(({ id, head }) => [id, head]));
		const newestAt = swept.length === 0 ? null : Math.max(...swept.map(({ facts }) => facts.updated_at));
		return { path: database.path, sessions: swept.length, newestAt, heads };
	} catch (error) {
		throw sourceError(error, database.path);
	} finally {
		sqlite.close();
	}
}
