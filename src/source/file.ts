import { statSync } from "node:fs";
import { messageOf, OutboxError } from "../model/errors.ts";
import { openSqlite, type Sqlite } from "../sqlite/driver.ts";
import { asStorageError, isBusy } from "../sqlite/errors.ts";

const READABLE =
	"Check its permissions, and that its disk has room: SQLite keeps a -shm file beside it. Where that cannot be written (a read-only volume), OpenCode must be running.";

/** How long a read waits for OpenCode's lock, in ms. Readers wait only while a WAL is recovered; the poll comes again. */
const BUSY_MS = 200;

/** Opens OpenCode's database on a connection that cannot write. Throws what `sourceError` makes of it. */
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

/** The same of the -wal and -shm beside it; undefined when neither is there. */
export function sidesIdentity(path: string): string | undefined {
	const sides = ["-wal", "-shm"].map((suffix) => fileIdentity(path + suffix));
	return sides.some((side) => side !== undefined) ? sides.join(" ") : undefined;
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
	if (/^(SQLITE_(CANTOPEN|READONLY|PERM|AUTH|IOERR|FULL)|E[A-Z]+$)/.test(code))
		return refuse("io", "cannot be read", READABLE);
	if (/no such (table|column)/.test(messageOf(thrown)))
		return refuse("unknown_schema", "has changed its tables", "Restart opencode-outbox, or upgrade it.");
	return thrown;
}
