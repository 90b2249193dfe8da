import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { openSqlite, type Sqlite } from "./driver.ts";
import { asStorageError, isBusy } from "./errors.ts";

/** An exclusive right: an agent's to one outbox, a server's to one share database. Held until `release` or the process's end. */
export interface Lock {
	/** The holder: this process. */
	readonly pid: number;
	/** Gives the lock back. Safe to repeat. */
	release(): void;
}

/** Another process holds the lock. `pid` is for messages only, null when it is not known: never signal it. */
export interface Owned {
	readonly pid: number | null;
}

/** How long an acquirer waits, in ms: outlasts probes and the death of a holder (both about 1 ms), not a person's patience. */
const ACQUIRE_MS = 300;

/** Held locks stay reachable from here: a connection that is garbage-collected would let its lock go. */
const held = new Set<Sqlite>();

/**
 * Takes the lock at `path`, or tells who has it; tell them apart with `"release" in result`.
 *
 * The lock is an exclusive transaction on an empty SQLite file, so the kernel releases it the moment its holder dies,
 * `kill -9` included, on Node and Bun alike; a stopped holder keeps it. The file must lie on a local disk and must never
 * be opened by other means in a process that holds it: closing any descriptor of a file drops all of a process's POSIX
 * locks on it (https://sqlite.org/howtocorrupt.html, 2.2). That is why the pid is told in a file beside it.
 *
 * @throws OutboxError foreign_database, read_only, disk_full, io.
 */
export async function acquireLock(path: string): Promise<Lock | Owned> {
	let sqlite: Sqlite | undefined;
	try {
		mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
		sqlite = await openSqlite(path, { busyTimeoutMs: ACQUIRE_MS });
		// Never on a file with something in it, which is not ours.
		if (statSync(path).size === 0) chmodSync(path, 0o600);
		// Nothing is ever written, so there is nothing to undo; and a full disk has no room for a journal.
		sqlite.exec("PRAGMA journal_mode = MEMORY");
		sqlite.exec("BEGIN EXCLUSIVE");
		tellPid(path);
	} catch (error) {
		sqlite?.close();
		if (isBusy(error)) return { pid: readPid(path) };
		throw asStorageError(error, path);
	}
	const connection = sqlite;
	held.add(connection);
	return {
		pid: process.pid,
		release() {
			if (!held.delete(connection)) return;
			rmSync(pidPath(path), { force: true });
			connection.close();
		},
	};
}

/**
 * True while any process holds the lock at `path`, or is just taking it; false when there is no such file.
 *
 * Holds a shared lock for less than a millisecond, which an acquirer waits out. Never fails because the lock is busy.
 *
 * @throws OutboxError foreign_database, read_only, io.
 */
export async function isLocked(path: string): Promise<boolean> {
	if (!existsSync(path)) return false;
	let sqlite: Sqlite | undefined;
	try {
		sqlite = await openSqlite(path, { readonly: true, busyTimeoutMs: 0 });
		sqlite.prepare("SELECT count(*) FROM sqlite_schema").get();
		return false;
	} catch (error) {
		if (isBusy(error)) return true;
		throw asStorageError(error, path);
	} finally {
		sqlite?.close();
	}
}

/** What the last holder told about itself; null when it told nothing or its process is gone. */
function readPid(path: string): number | null {
	try {
		const pid = Number(readFileSync(pidPath(path), "utf8"));
		if (!Number.isSafeInteger(pid) || pid <= 0) return null;
		return runs(pid) ? pid : null;
	} catch {
		return null;
	}
}

/** Whether there is a process of this id. */
export function runs(pid: number): boolean {
	try {
		process.kill(pid, 0);
		return true;
	} catch (error) {
		return (error as NodeJS.ErrnoException).code === "EPERM";
	}
}

/** Written whole or not at all, so that nobody reads half a number. A full disk costs the message, not the lock. */
function tellPid(path: string): void {
	const draft = `${pidPath(path)}.${process.pid}`;
	try {
		writeFileSync(draft, `${process.pid}\n`, { mode: 0o600 });
		renameSync(draft, pidPath(path));
	} catch {
		rmSync(draft, { force: true });
	}
}

function pidPath(path: string): string {
	return `${path}.pid`;
}
