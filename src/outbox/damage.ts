import { closeSync, existsSync, openSync, readSync, renameSync, statSync } from "node:fs";
import { messageOf, OutboxError } from "../model/errors.ts";
import { openSqlite, type Sqlite } from "../sqlite/driver.ts";
import { isDamage } from "../sqlite/errors.ts";
import { OUTBOX_KIND } from "./kind.ts";

/** Up to this size a file is checked as a whole whenever it is opened, in bytes: some 100 ms. Beyond, when there is cause. */
const CHECK_BYTES_MAX = 32 * 1024 * 1024;
/** Findings told to a person; the first ones say enough. */
const FINDINGS = 3;
/** Where SQLite's header keeps the application_id (https://sqlite.org/fileformat.html#the_database_header). */
const MARK_OFFSET = 68;
const MAGIC = "SQLite format 3\0";
const TABLES = ["__drizzle_migrations", "agent", "batch", "dead", "entity", "op", "session", "share"];

/**
 * Whether what could not be opened as an outbox was one, told by what is left of it.
 *
 * The mark in its header is proof. Without one, a file in this place is believed to be ours only beside files that only
 * we make, and only if it is no working database of somebody else. No connection of this process may be open on it.
 *
 * @param hasTraces files of ours lay beside it before this process came.
 */
export async function wasOurs(path: string, error: unknown, hasTraces: boolean): Promise<boolean> {
	if (error instanceof OutboxError && error.code === "newer_database") return false;
	const isFile = statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
	if (!isFile) return false;
	const { isSqlite, mark } = headerOf(path);
	const isRefusal = error instanceof OutboxError && (error.code === "foreign_database" || error.code === "corrupt");
	// What a migration stumbles over in a file of ours is not what a migration left there.
	if (mark === OUTBOX_KIND.applicationId) return isRefusal || isSqlError(error);
	if (!isRefusal || !hasTraces) return false;
	return !isSqlite || error.code === "corrupt" || (await hasOurTables(path));
}

/** What is wrong inside a file that opens, or undefined. Reads all of it when it is small, or when `found` gives cause. */
export function findDamage(sqlite: Sqlite, found: unknown): string | undefined {
	const { page_count } = sqlite.prepare<{ page_count: number }>("PRAGMA page_count").get() ?? { page_count: 0 };
	const { page_size } = sqlite.prepare<{ page_size: number }>("PRAGMA page_size").get() ?? { page_size: 0 };
	if (found === undefined && page_count * page_size > CHECK_BYTES_MAX) return undefined;
	try {
		const rows = sqlite.prepare<{ integrity_check: string }>(`PRAGMA integrity_check(${FINDINGS})`).all();
		const findings = rows.map((row) => row.integrity_check).filter((text) => text !== "ok");
		return findings.length === 0 ? undefined : findings.join("; ").replaceAll("\n", " ");
	} catch (error) {
		if (!isDamage(error)) throw error;
		return messageOf(error);
	}
}

/**
 * Sessions whose line of ops does not add up: what is sealed and unacknowledged must be there, in batches, to the last op.
 * Also those whose link contradicts itself: a comparison brings the server's own word for it.
 *
 * Structure says nothing of numbers, and a WAL that lost its end puts back an older page beside a newer one.
 */
export function brokenLines(sqlite: Sqlite): string[] {
	const rows = sqlite.prepare<{ session_id: string }>(`
		SELECT session_id FROM session WHERE
			(SELECT count(*) FROM op WHERE op.session_id = session.session_id AND op.id > acked_id AND op.id <= sealed_id)
				<> sealed_cursor - acked_cursor
			OR (SELECT coalesce(sum(min(ops, first_position + ops - acked_cursor)), 0) FROM batch
				WHERE batch.session_id = session.session_id) <> sealed_cursor - acked_cursor
			OR EXISTS (SELECT 1 FROM share WHERE share.session_id = session.session_id
				AND instr(url, '/share/') > 0 AND substr(url, instr(url, '/share/') + 7) <> slug)`);
	return rows.all().map((row) => row.session_id);
}

/** Moves a damaged file out of the way with its WAL, which goes first: it must never meet another file of that name. */
export function setAside(path: string, aside: string): void {
	for (const suffix of ["-wal", "-shm", ""])
		if (existsSync(`${path}${suffix}`)) renameSync(`${path}${suffix}`, `${aside}${suffix}`);
}

function headerOf(path: string): { isSqlite: boolean; mark: number } {
	const header = Buffer.alloc(100);
	const file = openSync(path, "r");
	try {
		readSync(file, header, 0, header.length, 0);
	} finally {
		closeSync(file);
	}
	return { isSqlite: header.toString("latin1", 0, MAGIC.length) === MAGIC, mark: header.readUInt32BE(MARK_OFFSET) };
}

async function hasOurTables(path: string): Promise<boolean> {
	const sqlite = await openSqlite(path, { readonly: true });
	try {
		const names = sqlite.prepare<{ name: string }>("SELECT name FROM sqlite_schema WHERE type = 'table'").all();
		return TABLES.every((table) => names.some(({ name }) => name === table));
	} catch {
		return false;
	} finally {
		sqlite.close();
	}
}

/** True when a statement does not fit the schema. */
export function isSqlError(error: unknown): boolean {
	return (error as { code?: unknown } | undefined)?.code === "SQLITE_ERROR";
}
