import { closeSync, openSync, readdirSync, readFileSync, readSync, rmSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { join, relative } from "node:path";
import type BetterSqlite from "better-sqlite3";
import { isRecording, output, type SecretKind, secret } from "./record.ts";

/** Somebody else's files, by the thousand. */
const NOT_OURS = new Set(["node_modules", ".git", "snapshot"]);
/** Columns of an outbox that hold secrets, by design. */
const SECRET_COLUMNS: Readonly<Record<string, SecretKind>> = {
	secret: "share secret",
	next_secret: "share secret",
	create_key: "create key",
	identity_key: "identity key",
};
/** Tables of an outbox that hold what OpenCode said, not what we say. */
const CONTENT = new Set(["op", "batch", "entity"]);
const ROWS_MAX = 1000;
const OUTBOX = 0x6f63_6f78;
const SHARE = 0x6f63_7368;
const KEY_FILE_BYTES_MAX = 1024;
/** One word, and no JSON: a private file may hold the line that a program printed as well. */
const KEY = /^\s*((?!\{)[\x21-\x7e]{32,200})\s*$/;
const FILE_BYTES_MAX = 1 << 20;
/** Bytes of share databases that one process hands over whole; of further ones it hands over the rows that tell of authority. */
const WHOLE_DATABASES_BYTES_MAX = 32 << 20;
let wholeBytes = 0;

/** Removes a folder of the tests, after its secrets and what was left in it have been recorded. */
export function discard(folder: string): void {
	if (isRecording()) gather(folder);
	rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
}

/**
 * Records the secrets that a folder holds where they belong (outboxes, key files) and everything else in it as output: a
 * share server's database too, which has none in clear.
 */
export function gather(folder: string): void {
	for (const path of filesBelow(folder)) {
		try {
			gatherFile(path, relative(folder, path));
		} catch (error) {
			// A file that went meanwhile, or that a test has damaged.
			output("files that could not be read").add(`${relative(folder, path)}: ${error}\n`);
		}
	}
}

function gatherFile(path: string, name: string): void {
	const { size, mode } = statSync(path);
	if (size === 0 || /-(?:wal|shm|journal)$/.test(path)) return;
	// An outbox that a test has damaged holds what it held before, whatever its first bytes say now.
	if (/outbox\.db\.damaged-/.test(name)) return;
	const head = headOf(path);
	if (head.toString("latin1", 0, 15) === "SQLite format 3") {
		const kind = head.readUInt32BE(68);
		if (kind === OUTBOX) gatherOutbox(path, name);
		if (kind === SHARE) gatherShares(path, name, size);
		return;
	}
	if (size > FILE_BYTES_MAX) return;
	const text = readFileSync(path);
	const key = size <= KEY_FILE_BYTES_MAX && (mode & 0o077) === 0 ? KEY.exec(text.toString("latin1"))?.[1] : undefined;
	if (key === undefined) output(`file ${name}`).add(text);
	else secret(name.includes("identity") ? "identity key" : "server key", key);
}

function gatherOutbox(path: string, name: string): void {
	const told = output(`rows of ${name}`);
	withDatabase(path, (sqlite) => {
		for (const table of tablesOf(sqlite)) {
			if (CONTENT.has(table)) continue;
			const rows = sqlite.prepare(`SELECT * FROM "${table}" LIMIT ${ROWS_MAX}`).all() as Record<string, unknown>[];
			for (const { payload: _content, ...row } of rows) {
				for (const [column, kind] of Object.entries(SECRET_COLUMNS)) {
					if (typeof row[column] === "string") secret(kind, row[column]);
					delete row[column];
				}
				told.add(`${table} ${JSON.stringify(row)}\n`);
			}
		}
	});
}

function gatherShares(path: string, name: string, size: number): void {
	wholeBytes += size;
	if (wholeBytes <= WHOLE_DATABASES_BYTES_MAX) {
		for (const suffix of ["", "-wal"])
			if (statSync(path + suffix, { throwIfNoEntry: false }))
				output(`share database ${name}${suffix}`).add(readFileSync(path + suffix));
		return;
	}
	const told = output(`rows of ${name}`);
	withDatabase(path, (sqlite) => {
		for (const table of ["share", "retired", "audit"])
			for (const row of sqlite.prepare(`SELECT * FROM ${table}`).iterate()) told.add(`${JSON.stringify(row)}\n`);
	});
}

function tablesOf(sqlite: BetterSqlite.Database): string[] {
	return sqlite.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").pluck().all() as string[];
}

/** Synchronous, because folders are removed where nothing may be awaited. Loaded late: Bun, which records nothing, has none. */
function withDatabase(path: string, use: (sqlite: BetterSqlite.Database) => void): void {
	const Database = createRequire(import.meta.url)("better-sqlite3") as typeof BetterSqlite;
	const sqlite = new Database(path, { readonly: true, timeout: 1000 });
	try {
		use(sqlite);
	} finally {
		sqlite.close();
	}
}

function headOf(path: string): Buffer {
	const file = openSync(path, "r");
	try {
		const head = Buffer.alloc(100);
		readSync(file, head);
		return head;
	} finally {
		closeSync(file);
	}
}

function filesBelow(folder: string): string[] {
	const found: string[] = [];
	const entries = (() => {
		try {
			return readdirSync(folder, { withFileTypes: true });
		} catch {
			return [];
		}
	})();
	for (const entry of entries) {
		const path = join(folder, entry.name);
		if (entry.isFile()) found.push(path);
		else if (entry.isDirectory() && !NOT_OURS.has(entry.name)) found.push(...filesBelow(path));
	}
	return found;
}
