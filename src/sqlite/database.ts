import { chmodSync, mkdirSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { OutboxError } from "../model/errors.ts";
import { openSqlite, type Sqlite } from "./driver.ts";
import { asStorageError, isBusy, isHotJournal } from "./errors.ts";
import { lastMigration, newestMigration, refuseNewer } from "./schema-version.ts";

/** One of our own databases: what marks its files, and where its migrations lie. */
export interface DatabaseKind {
	/** Shown to people. */
	readonly name: string;
	/** SQLite's application_id (a positive 32-bit number), by which a foreign file is told apart. */
	readonly applicationId: number;
	/** Folder below `migration/`. */
	readonly migrations: string;
	/** What a person does about a damaged one, where that is not what the error's code says. */
	readonly whenDamaged?: string;
}

/** How long the switch to WAL is tried against other processes that open the same new file, in ms. */
const WAL_MS = 5000;
const WAL_PAUSE_MS = 10;
/** SQLite's page size where nobody sets one (https://sqlite.org/pragma.html#pragma_page_size). */
const PAGE_BYTES = 4096;

/**
 * Opens one of our own databases for writing, creating it (mode 0600, its folder 0700) and migrating it when needed.
 *
 * Durable: WAL with `synchronous=FULL`, so a commit that returned survives power loss (G1). A file that is not ours, or
 * that a newer version wrote, is refused before anything in it changes; beside a foreign database in WAL mode the look at
 * it may leave SQLite's own empty `-wal` and `-shm`. Safe to call from several processes at once, and to be killed in.
 *
 * @throws OutboxError foreign_database, newer_database, corrupt, read_only, disk_full, io.
 */
export async function openDatabase(path: string, kind: DatabaseKind): Promise<Sqlite> {
	let sqlite: Sqlite | undefined;
	try {
		mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
		// Never read a database by file descriptor here: closing one drops this process's POSIX locks on the file
		// (https://sqlite.org/howtocorrupt.html, 2.2). SQLite's own probe does not.
		let found = await lookAt(path, kind);
		if (found === "unfinished") {
			await rollBack(path);
			found = await lookAt(path, kind);
		}
		sqlite = await openSqlite(path);
		chmodSync(path, 0o600);
		// Takes hold before anything else is in a file; then free pages can be given back in steps.
		if (found !== "made") sqlite.exec("PRAGMA auto_vacuum = INCREMENTAL");
		await useWal(sqlite);
		sqlite.exec("PRAGMA synchronous = FULL");
		if (process.platform === "darwin") sqlite.exec("PRAGMA fullfsync = ON");
		// Most starts find nothing to migrate, and do without drizzle.
		if (lastMigration(sqlite) !== newestMigration(kind.migrations))
			(await import("./migrate.ts")).migrate(sqlite, kind.migrations, kind.applicationId);
		return sqlite;
	} catch (error) {
		sqlite?.close();
		throw explain(error, path, kind);
	}
}

/**
 * Opens one of our own databases to look at it: never creates, migrates or writes.
 *
 * @returns undefined while it has not been made.
 * @throws OutboxError foreign_database, newer_database, corrupt, read_only, io.
 */
export async function openForReading(path: string, kind: DatabaseKind): Promise<Sqlite | undefined> {
	const { found, sqlite } = await looked(path, kind);
	if (found === "made") return sqlite;
	sqlite?.close();
	return undefined;
}

/**
 * How far the making of a database has come: `none`, `blank` (nothing in it yet), `unfinished` (a kill has left the very
 * first transaction on it to be rolled back), `made`. Changes nothing.
 *
 * The mark is written with the first migration, so a file with tables and without it is not ours.
 *
 * @throws OutboxError foreign_database, newer_database, corrupt, read_only, io.
 */
export async function lookAt(path: string, kind: DatabaseKind): Promise<Found> {
	const { found, sqlite } = await looked(path, kind);
	sqlite?.close();
	return found;
}

type Found = "none" | "blank" | "unfinished" | "made";

/** What is found, and the connection, to read only, that it was found by. */
async function looked(path: string, kind: DatabaseKind): Promise<{ found: Found; sqlite?: Sqlite }> {
	const stat = statSync(path, { throwIfNoEntry: false });
	if (stat === undefined) return { found: "none" };
	const foreign = (what: string) => new OutboxError("foreign_database", `${path} ${what} of opencode-outbox.`);
	if (stat.isDirectory()) throw foreign(`is a directory, not ${kind.name}`);
	if (stat.size === 0) return { found: "blank" };
	let sqlite: Sqlite | undefined;
	try {
		const probe = await openSqlite(path, { readonly: true });
		sqlite = probe;
		// One snapshot: another process may be migrating just now.
		const found = probe.transaction((): Found => {
			const tables = probe.prepare<{ count: number }>("SELECT count(*) AS count FROM sqlite_schema").get()?.count;
			const { application_id: id } = probe.prepare<{ application_id: number }>("PRAGMA application_id").get() ?? {};
			if (tables === 0 && id === 0) return "blank";
			if (id !== kind.applicationId) throw foreign(`is not ${kind.name}`);
			const last = lastMigration(probe);
			if (last === undefined) throw new OutboxError("corrupt", `${path} has lost its list of migrations.`);
			refuseNewer(path, last, newestMigration(kind.migrations));
			return "made";
		}, "deferred");
		return { found, sqlite: probe };
	} catch (error) {
		sqlite?.close();
		if (!isHotJournal(error)) throw explain(error, path, kind);
		// Ours have a rollback journal only until they are in WAL mode, while they are a page long.
		if (stat.size > PAGE_BYTES)
			throw foreign(`has an unfinished transaction of another program; it is not ${kind.name}`);
		return { found: "unfinished" };
	}
}

function explain(thrown: unknown, path: string, { whenDamaged: hint }: DatabaseKind): unknown {
	const error = asStorageError(thrown, path);
	if (hint === undefined || !(error instanceof OutboxError) || error.code !== "corrupt") return error;
	return new OutboxError("corrupt", error.message, { hint, cause: error.cause });
}

/** Lets SQLite undo the transaction that a killed process has left behind. */
async function rollBack(path: string): Promise<void> {
	const sqlite = await openSqlite(path);
	try {
		sqlite.prepare("SELECT count(*) FROM sqlite_schema").get();
	} finally {
		sqlite.close();
	}
}

/** Switches a new file to WAL; SQLite answers busy at once, whatever the timeout, while another connection does the same. */
async function useWal(sqlite: Sqlite): Promise<void> {
	for (const deadline = Date.now() + WAL_MS; ; await delay(WAL_PAUSE_MS)) {
		try {
			return sqlite.exec("PRAGMA journal_mode = WAL");
		} catch (error) {
			if (!isBusy(error) || Date.now() > deadline) throw error;
		}
	}
}
