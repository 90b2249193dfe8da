import {
	chmodSync,
	closeSync,
	copyFileSync,
	existsSync,
	fsyncSync,
	linkSync,
	mkdirSync,
	openSync,
	readdirSync,
	realpathSync,
	renameSync,
	rmSync,
	statSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { OutboxError } from "../model/errors.ts";
import { lookAt, openDatabase, openForReading } from "../sqlite/database.ts";
import { openSqlite, type Sqlite } from "../sqlite/driver.ts";
import { asStorageError } from "../sqlite/errors.ts";
import { acquireLock, runs } from "../sqlite/lock.ts";
import { SHARE_DATABASE } from "./share-database.ts";

/** What a copy holds. */
export interface Copied {
	/** Shares that live. */
	readonly shares: number;
	readonly bytes: number;
}

export interface CopyOptions {
	/** Put it over what is there. Default false. */
	readonly force?: boolean;
	/** Told the share of the pages that is copied, from 0 to 1. */
	readonly onProgress?: ((done: number) => void) | undefined;
}

/**
 * Copies a share server's database into a file of its own, whether the server runs or not: one state of it, checked, on
 * the disk before it has its name. A kill leaves nothing under the name, and a draft beside it that the next one removes.
 *
 * @throws OutboxError exists, no_database, foreign_database, newer_database, corrupt, read_only, disk_full, io.
 */
export async function backUp(databasePath: string, path: string, options: CopyOptions = {}): Promise<Copied> {
	const { force = false } = options;
	await refuseOther(databasePath);
	if (existsSync(path)) {
		if (realpathSync(path) === realpathSync(databasePath))
			throw new OutboxError("exists", `${path} is the server's own database.`, { hint: "Name another file." });
		if (!force) throw new OutboxError("exists", `${path} is there already.`);
	}
	return await inDraft(path, async (draft) => {
		const copied = await copy(databasePath, draft, options);
		if (force) renameSync(draft, path);
		else nameOnce(draft, path);
		syncFolder(path);
		return copied;
	});
}

/**
 * Puts a backup in the place of a share server's database, which is kept beside it; while no server runs on it.
 *
 * Every share gets a new epoch, later than any that the server can have given out: what was sealed or redeemed before
 * is fenced, and every client that comes back finds the cursor behind its own and compares.
 *
 * @returns also where the former database lies; null when there was none.
 * @throws OutboxError server_owned, no_database, foreign_database, newer_database, corrupt, read_only, disk_full, io.
 */
export async function putBack(
	databasePath: string,
	path: string,
	now: number,
	onProgress?: (done: number) => void,
): Promise<Copied & { readonly former: string | null }> {
	await refuseOther(path);
	const lock = await acquireLock(`${databasePath}.lock`);
	if (!("release" in lock)) {
		const who = lock.pid === null ? "" : ` (pid ${lock.pid})`;
		throw new OutboxError("server_owned", `A share server${who} runs on ${databasePath}.`, {
			hint: "Stop it first; what its clients do meanwhile waits in their outboxes.",
		});
	}
	try {
		return await inDraft(databasePath, async (draft) => {
			const copied = await copy(path, draft, { onProgress });
			await fence(draft, now);
			sync(draft);
			const former = await setAside(databasePath, now);
			// At no time is there no database: a server that found none would make an empty one, and clients new shares.
			renameSync(draft, databasePath);
			syncFolder(databasePath);
			return { ...copied, former };
		});
	} finally {
		lock.release();
	}
}

/** Refuses what is no share database that this version knows. */
async function refuseOther(path: string): Promise<void> {
	if ((await lookAt(path, SHARE_DATABASE)) !== "made") throw noDatabase(path);
}

function noDatabase(path: string): OutboxError {
	return new OutboxError("no_database", `There is no share database at ${path}.`);
}

async function inDraft<T>(path: string, use: (draft: string) => Promise<T>): Promise<T> {
	const [folder, prefix] = [dirname(path), `${basename(path)}.partial-`];
	const draft = join(folder, `${prefix}${process.pid}`);
	const remove = (name: string) => {
		for (const end of ["", "-wal", "-shm", "-journal"]) rmSync(`${name}${end}`, { force: true });
	};
	try {
		mkdirSync(folder, { recursive: true, mode: 0o700 });
		for (const name of readdirSync(folder)) {
			const pid = name.startsWith(prefix) ? Number(name.slice(prefix.length)) : Number.NaN;
			if (Number.isSafeInteger(pid) && !runs(pid)) remove(join(folder, name));
		}
		remove(draft);
		closeSync(openSync(draft, "wx", 0o600));
		return await use(draft);
	} catch (error) {
		throw asStorageError(error, path);
	} finally {
		remove(draft);
	}
}

/** Copies into an empty file, makes one file of it that needs no other, checks it whole, and syncs it. */
async function copy(from: string, draft: string, { onProgress }: CopyOptions): Promise<Copied> {
	const source = await openForReading(from, SHARE_DATABASE);
	if (source === undefined) throw noDatabase(from);
	await source.copyTo(draft, onProgress).finally(() => source.close());
	const shares = await within(draft, (sqlite) => {
		const [row] = sqlite.prepare("PRAGMA integrity_check(1)").all();
		const said = Object.values(row ?? {})[0];
		if (said !== "ok") throw new OutboxError("corrupt", `${from} is damaged (${said}).`);
		return sqlite.prepare<{ n: number }>("SELECT count(*) AS n FROM share WHERE deleted_at IS NULL").get()?.n ?? 0;
	});
	await refuseOther(draft);
	sync(draft);
	return { shares, bytes: statSync(draft).size };
}

/** Brings a draft to this version's tables, and bumps what `revokeCapability` does (server/share.ts), for all shares. */
async function fence(draft: string, now: number): Promise<void> {
	const migrated = await openDatabase(draft, SHARE_DATABASE);
	migrated.close();
	await within(draft, (sqlite) =>
		sqlite.transaction(() => {
			sqlite
				.prepare("UPDATE share SET capability_epoch = max(capability_epoch + 1, ?) WHERE deleted_at IS NULL")
				.run(now);
			sqlite
				.prepare(
					"INSERT INTO audit (at, event, method, share_id) SELECT ?, 'revoked', 'putBack', share_id FROM share WHERE deleted_at IS NULL",
				)
				.run(now);
		}),
	);
}

/** Works on a file that nobody else knows, and leaves it without a WAL. */
async function within<T>(path: string, work: (sqlite: Sqlite) => T): Promise<T> {
	const sqlite = await openSqlite(path, { mustExist: true });
	try {
		sqlite.exec("PRAGMA journal_mode = DELETE");
		return work(sqlite);
	} finally {
		sqlite.close();
	}
}

/** Gives what is there a second name, its WAL included. Returns that name, or null when there is nothing. */
async function setAside(path: string, now: number): Promise<string | null> {
	if (!existsSync(path)) return null;
	const former = `${path}.before-${new Date(now).toISOString().replace(/[-:]|\.\d+/g, "")}`;
	try {
		await within(path, () => undefined);
	} catch {
		// It may be damaged, which may be why it is replaced; then its WAL is kept as it is.
	}
	const wal = `${path}-wal`;
	if (existsSync(wal)) {
		copyFileSync(wal, `${former}-wal`);
		sync(`${former}-wal`);
	}
	rmSync(former, { force: true });
	try {
		linkSync(path, former);
	} catch {
		copyFileSync(path, former);
		sync(former);
	}
	rmSync(wal, { force: true });
	rmSync(`${path}-shm`, { force: true });
	chmodSync(former, 0o600);
	return former;
}

/** Gives a draft its name. Unlike a rename, a link never replaces what somebody has put there meanwhile. */
function nameOnce(draft: string, path: string): void {
	try {
		linkSync(draft, path);
	} catch (error) {
		// A file system without links takes the chance.
		const isTaken = (error as NodeJS.ErrnoException).code === "EEXIST" || existsSync(path);
		if (isTaken) throw new OutboxError("exists", `${path} is there already.`);
		renameSync(draft, path);
	}
}

function sync(path: string): void {
	const file = openSync(path, "r+");
	try {
		fsyncSync(file);
	} finally {
		closeSync(file);
	}
}

/** Makes a name last. Windows has no such thing. */
function syncFolder(path: string): void {
	if (process.platform === "win32") return;
	const folder = openSync(dirname(path), "r");
	try {
		fsyncSync(folder);
	} finally {
		closeSync(folder);
	}
}
