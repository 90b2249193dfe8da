import { type ErrorCode, messageOf, OutboxError } from "../model/errors.ts";

/** SQLite's result codes (https://sqlite.org/rescode.html) and errno names that mean something to a person. */
const CODES: readonly [pattern: RegExp, code: ErrorCode, what: string][] = [
	[/^SQLITE_(NOTADB)/, "foreign_database", "is not an SQLite database"],
	// No null of ours goes where none may be: one that is met was read from a row that structure says nothing of.
	[/^SQLITE_(CORRUPT|CONSTRAINT_NOTNULL)/, "corrupt", "is damaged"],
	[/^(SQLITE_FULL|SQLITE_IOERR_SHMSIZE|ENOSPC|EDQUOT)/, "disk_full", "could not be written: the disk is full"],
	[
		/^(SQLITE_READONLY|SQLITE_PERM|SQLITE_AUTH|SQLITE_CANTOPEN|EACCES|EPERM|EROFS)/,
		"read_only",
		"cannot be opened or written",
	],
	[/^(SQLITE_BUSY|SQLITE_LOCKED)/, "busy", "is locked by another program"],
	[/^(SQLITE_IOERR|EIO|EEXIST|ELOOP|ENAMETOOLONG|ENOENT|ENOTDIR|EISDIR)/, "io", "could not be read or written"],
];

/** Turns what a driver or the file system threw into an OutboxError that names the file; leaves others as they are. */
export function asStorageError(thrown: unknown, path: string): unknown {
	if (thrown instanceof OutboxError) return thrown;
	const root = rootOf(thrown);
	const sqliteCode = (root as { code?: unknown }).code;
	for (const [pattern, code, what] of CODES) {
		if (typeof sqliteCode === "string" && pattern.test(sqliteCode))
			return new OutboxError(code, `${path} ${what} (${messageOf(root)}).`, { cause: thrown });
	}
	return thrown;
}

/** True when another connection holds the lock that was asked for. */
export function isBusy(thrown: unknown): boolean {
	const code = (rootOf(thrown) as { code?: unknown } | undefined)?.code;
	return typeof code === "string" && /^SQLITE_(BUSY|LOCKED)/.test(code);
}

/** True when a read-only connection meets a transaction that a killed process has left to be rolled back. */
export function isHotJournal(thrown: unknown): boolean {
	return (rootOf(thrown) as { code?: unknown } | undefined)?.code === "SQLITE_READONLY_ROLLBACK";
}

/** True when the disk would not take what was to be written. Growing the WAL's index fails with a code of its own. */
export function isFull(thrown: unknown): boolean {
	if (thrown instanceof OutboxError) return thrown.code === "disk_full";
	const code = (rootOf(thrown) as { code?: unknown } | undefined)?.code;
	return typeof code === "string" && /^(SQLITE_FULL|SQLITE_IOERR_SHMSIZE|ENOSPC|EDQUOT)/.test(code);
}

/** True when a file is not what was written into it. */
export function isDamage(thrown: unknown): boolean {
	if (thrown instanceof OutboxError) return thrown.code === "corrupt";
	const code = (rootOf(thrown) as { code?: unknown } | undefined)?.code;
	return typeof code === "string" && /^SQLITE_(CORRUPT|NOTADB|CONSTRAINT_NOTNULL)/.test(code);
}

/** drizzle wraps what the driver threw. */
function rootOf(thrown: unknown): unknown {
	let root = thrown;
	while (root instanceof Error && root.cause instanceof Error) root = root.cause;
	return root;
}
