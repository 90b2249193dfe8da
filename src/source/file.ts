import { existsSync, statSync } from "node:fs";
import { messageOf, OutboxError } from "../model/errors.ts";
import { openSqlite, type Sqlite } from "../sqlite/driver.ts";
import { asStorageError, isBusy } from "../sqlite/errors.ts";
import { type FoundDatabase, noSource } from "./discovery.ts";
import { openTables, type Tables } from "./tables.ts";

/** How long a read waits for OpenCode's lock, in ms. Readers wait only while a WAL is recovered; the poll comes again. */
const BUSY_MS = 200;

export interface OpenedFile {
	readonly file: string | undefined;
	readonly sqlite: Sqlite;
	readonly tables: Tables;
}

/** @throws OutboxError no_source (with where it looked), unknown_schema, corrupt, busy, io. */
export async function openFile(database: FoundDatabase): Promise<OpenedFile> {
	if (!existsSync(database.path)) throw noSource(database);
	const file = fileIdentity(database.path);
	const sqlite = await openForTailing(database.path);
	try {
		return { file, sqlite, tables: tablesOf(sqlite) };
	} catch (error) {
		sqlite.close();
		throw error;
	}
}

/** @throws OutboxError no_source, unknown_schema, corrupt, busy, io. */
export function tablesOf(sqlite: Sqlite): Tables {
	try {
		return openTables(sqlite);
	} catch (error) {
		throw sourceError(error, sqlite.path);
	}
}

/** Opens OpenCode's database for reading. Throws what `sourceError` makes of it. */
export async function openForTailing(path: string): Promise<Sqlite> {
	try {
		return await openSqlite(path, { readonly: true, mustExist: true, busyTimeoutMs: BUSY_MS });
	} catch (error) {
		throw sourceError(error, path);
	}
}

/** The file behind a path: another value means another file, even under the same name. Undefined when there is none. */
export function fileIdentity(path: string): string | undefined {
	const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
	return stat && `${stat.dev}:${stat.ino}`;
}

/** What a driver's error means for a database that is not ours. */
export function sourceError(thrown: unknown, path: string): unknown {
	if (thrown instanceof OutboxError) return thrown;
	if (isBusy(thrown)) return asStorageError(thrown, path);
	const code = String((thrown as { code?: unknown }).code);
	const refuse = (kind: "corrupt" | "io" | "unknown_schema", what: string, hint: string) =>
		new OutboxError(kind, `OpenCode's database ${path} ${what} (${messageOf(thrown)}).`, { cause: thrown, hint });
	if (/^SQLITE_(CORRUPT|NOTADB)/.test(code))
		return refuse("corrupt", "is damaged, or no SQLite database", "OpenCode must be able to open it first.");
	if (/^(SQLITE_(CANTOPEN|READONLY|PERM|AUTH|IOERR)|E[A-Z]+$)/.test(code))
		return refuse("io", "cannot be read", "Check its permissions; SQLite also needs to write the -shm file beside it.");
	if (/no such (table|column)/.test(messageOf(thrown)))
		return refuse("unknown_schema", "has changed its tables", "Restart opencode-outbox, or upgrade it.");
	return thrown;
}
