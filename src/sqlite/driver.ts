import type { BaseSQLiteDatabase } from "drizzle-orm/sqlite-core";

export type SqlValue = string | number | bigint | null | Uint8Array;

/** A prepared statement: what better-sqlite3 and bun:sqlite have in common, with positional `?` parameters (numbered ones differ). */
export interface Statement<Row = Record<string, SqlValue>> {
	run(...values: SqlValue[]): { changes: number; lastInsertRowid: number | bigint };
	/** The first row, or undefined. */
	get(...values: SqlValue[]): Row | undefined;
	all(...values: SqlValue[]): Row[];
	/** Rows one by one; the statement is busy until the loop ends. */
	iterate(...values: SqlValue[]): IterableIterator<Row>;
}

/** A connection through drizzle. */
export type Orm = BaseSQLiteDatabase<"sync", unknown>;

/** The driver seam. One connection to one file; synchronous; not shared between threads. */
export interface Sqlite {
	readonly path: string;
	/** The same connection through drizzle, which is loaded by this: an outbox does without. */
	orm(): Promise<Orm>;
	prepare<Row = Record<string, SqlValue>>(sql: string): Statement<Row>;
	exec(sql: string): void;
	/** Runs `body` in a transaction of `mode`; a throw rolls back. Nested calls join the outer one. `body` is synchronous. */
	transaction<T>(body: () => T, mode?: "deferred" | "immediate" | "exclusive"): T;
	/**
	 * Copies the database as it is now, one state of it however much is written meanwhile, into a file that is empty or not
	 * there. Not synced to the disk. To be called outside of a transaction.
	 *
	 * @param onProgress told the share that is done, from 0 to 1; not on Bun, whose driver copies in one go.
	 */
	copyTo(path: string, onProgress?: (done: number) => void): Promise<void>;
	/** From now on `listener` is told how long each COMMIT of a transaction that may write took, in ms. */
	observeCommits(listener: (ms: number) => void): void;
	close(): void;
}

export interface SqliteOptions {
	readonly readonly?: boolean;
	/** Refuse to create the file. */
	readonly mustExist?: boolean;
	/** How long a statement waits for another connection's lock, in ms; default 5000. */
	readonly busyTimeoutMs?: number;
}

/** What both drivers' connections have; the differences are handled in `openSqlite`. */
interface Client {
	prepare(sql: string): Statement<unknown>;
	exec(sql: string): unknown;
	close(): void;
}

/** better-sqlite3's alone. */
interface NodeClient extends Client {
	backup(
		path: string,
		options: { progress(told: { totalPages: number; remainingPages: number }): number },
	): Promise<unknown>;
}

/** Pages of one step of a copy: a few ms of work, between which others have their turn. */
const PAGES_PER_STEP = 500;

interface BunClient extends Client {
	prepare(sql: string): ReturnType<Client["prepare"]> & { finalize(): void };
}

/**
 * Opens a connection: better-sqlite3 on Node, bun:sqlite on Bun.
 *
 * Touches nothing in the file by itself. Throws the driver's own error, whose `code` is SQLite's (SQLITE_BUSY,
 * SQLITE_NOTADB, SQLITE_CANTOPEN …) on both.
 */
export async function openSqlite(path: string, options: SqliteOptions = {}): Promise<Sqlite> {
	const { client, orm } = await (process.versions.bun ? openBun(path, options) : openNode(path, options));
	client.exec(`PRAGMA busy_timeout = ${options.busyTimeoutMs ?? 5000}`);
	let depth = 0;
	let onCommit: ((ms: number) => void) | undefined;
	const commit = (mode: string) => {
		// The clock is loaded with its first use, which a short look has none of.
		if (onCommit === undefined || mode === "deferred") return client.exec("COMMIT");
		const startedAt = performance.now();
		client.exec("COMMIT");
		onCommit(performance.now() - startedAt);
	};
	return {
		path,
		orm,
		// As the driver made it: nothing stands between a statement and the path that every op takes.
		prepare: <Row>(sql: string) => client.prepare(sql) as Statement<Row>,
		exec: (sql) => void client.exec(sql),
		transaction(body, mode = "immediate") {
			if (depth > 0) return body();
			client.exec(`BEGIN ${mode}`);
			depth++;
			try {
				const result = body();
				commit(mode);
				return result;
			} catch (error) {
				// SQLite may have rolled back by itself (disk full, I/O error); the first error is the one that matters.
				try {
					client.exec("ROLLBACK");
				} catch {}
				throw error;
			} finally {
				depth--;
			}
		},
		async copyTo(to, onProgress = () => undefined) {
			if (!("backup" in client)) return void client.prepare("VACUUM INTO ?").run(to);
			// SQLite's backup starts over when somebody else writes, unless it reads a snapshot that is held.
			client.exec("BEGIN DEFERRED");
			try {
				client.prepare("SELECT count(*) FROM sqlite_schema").get();
				await (client as NodeClient).backup(to, {
					progress({ totalPages, remainingPages }) {
						onProgress(totalPages === 0 ? 0 : 1 - remainingPages / totalPages);
						return PAGES_PER_STEP;
					},
				});
			} finally {
				client.exec("END");
			}
		},
		observeCommits: (listener) => {
			onCommit = listener;
		},
		close: () => client.close(),
	};
}

type Opened = { client: Client; orm: () => Promise<Orm> };

async function openNode(path: string, options: SqliteOptions): Promise<Opened> {
	const { default: Database } = await import("better-sqlite3");
	const client = new Database(path, {
		readonly: options.readonly ?? false,
		fileMustExist: options.mustExist ?? options.readonly ?? false,
	});
	const orm = async () => (await import("drizzle-orm/better-sqlite3")).drizzle(client) as Orm;
	return { client: client as unknown as Client, orm };
}

async function openBun(path: string, options: SqliteOptions): Promise<Opened> {
	type BunDatabase = new (
		path: string,
		options: { readonly?: boolean; readwrite?: boolean; create?: boolean },
	) => BunClient;
	// The names are not literals because TypeScript and Node must not resolve them.
	const [sqlite, driver] = ["bun:sqlite", "drizzle-orm/bun-sqlite"];
	const { Database } = (await import(sqlite)) as { Database: BunDatabase };
	const create = !(options.mustExist ?? false);
	const client = new Database(path, options.readonly ? { readonly: true } : { readwrite: true, create });
	evenOut(client);
	const orm = async () => ((await import(driver)) as { drizzle: (client: Client) => Orm }).drizzle(client);
	return { client, orm };
}

/**
 * Makes bun:sqlite do as better-sqlite3 does: `get` tells of no row by undefined, not null, and `close` ends the connection at
 * once, where it would stay open, with its locks and its WAL, until its last statement is garbage-collected.
 */
function evenOut(client: BunClient): void {
	type Prepared = ReturnType<BunClient["prepare"]>;
	const live = new Set<WeakRef<Prepared>>();
	const collected = new FinalizationRegistry<WeakRef<Prepared>>((reference) => live.delete(reference));
	const [prepare, close] = [client.prepare.bind(client), client.close.bind(client)];
	client.prepare = (sql) => {
		const statement = prepare(sql);
		const get = statement.get.bind(statement);
		statement.get = (...values) => get(...values) ?? undefined;
		const reference = new WeakRef(statement);
		live.add(reference);
		collected.register(statement, reference);
		return statement;
	};
	client.close = () => {
		for (const reference of live) reference.deref()?.finalize();
		live.clear();
		close();
	};
}
