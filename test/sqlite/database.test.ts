import {
	chmodSync,
	copyFileSync,
	existsSync,
	mkdirSync,
	readdirSync,
	readFileSync,
	statSync,
	truncateSync,
	writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { OUTBOX_KIND } from "../../src/outbox/kind.ts";
import { openReport } from "../../src/outbox/report.ts";
import { type DatabaseKind, openDatabase, openForReading } from "../../src/sqlite/database.ts";
import { openSqlite } from "../../src/sqlite/driver.ts";
import { Child } from "../outbox/child/spawn.ts";
import { after, append, freshOutbox, message, S, tamper, tempFolder } from "../outbox/fixture.ts";

const SHARE: DatabaseKind = { name: "a share database", applicationId: 0x6f637368, migrations: "share" };

/** Both ways of opening refuse with `code`, and leave the file's bytes and mode as they were. */
async function expectRefused(path: string, code: string, kind: DatabaseKind = OUTBOX_KIND): Promise<void> {
	const before = [readFileSync(path), statSync(path).mode];
	const refusal = expect.objectContaining({ name: "OutboxError", code, message: expect.stringContaining(path) });
	await expect(openDatabase(path, kind)).rejects.toThrow(refusal);
	await expect(openForReading(path, kind)).rejects.toThrow(refusal);
	expect([readFileSync(path), statSync(path).mode]).toEqual(before);
}

/** A database as it lies on the disk when a kill has interrupted a transaction in it. */
async function leftBehind(before: string, interrupted: string): Promise<string> {
	const path = join(tempFolder(), "left.db");
	const sqlite = await openSqlite(`${path}.live`);
	sqlite.exec(before);
	// Without syncs the journal's header is complete from the start.
	sqlite.exec(`PRAGMA synchronous = OFF; BEGIN; ${interrupted}`);
	for (const suffix of ["", "-journal"]) copyFileSync(`${path}.live${suffix}`, `${path}${suffix}`);
	sqlite.exec("ROLLBACK");
	sqlite.close();
	return path;
}

async function filledOutbox(): Promise<string> {
	const { outbox, path } = await freshOutbox();
	append(
		outbox,
		Array.from({ length: 200 }, (_, n) => message(`e${n}`, `m${n}`, "x".repeat(500))),
	);
	outbox.close();
	return path;
}

describe("openDatabase", () => {
	test("makes the file for its user alone, durable, marked and migrated", async () => {
		const path = join(tempFolder(), "deep", "down", "outbox.db");
		const sqlite = await openDatabase(path, OUTBOX_KIND);
		after(() => sqlite.close());
		const pragma = (name: string) => Object.values(sqlite.prepare(`PRAGMA ${name}`).get() ?? {})[0];
		expect([pragma("journal_mode"), pragma("synchronous"), pragma("application_id")]).toEqual([
			...["wal", 2],
			OUTBOX_KIND.applicationId,
		]);
		append((await freshOutbox(path)).outbox, [message("e1", "m1")]);
		const modes = ["", "-wal", "-shm"].map((suffix) => statSync(`${path}${suffix}`).mode & 0o777);
		expect(modes).toEqual([0o600, 0o600, 0o600]);
		expect(statSync(join(path, "..")).mode & 0o777).toBe(0o700);
	});

	test("opens an empty file as a new database", async () => {
		const path = join(tempFolder(), "outbox.db");
		writeFileSync(path, "");
		append((await freshOutbox(path)).outbox, [message("e1", "m1")]);
	});

	test("writes nothing when there is nothing to migrate", async () => {
		const path = await filledOutbox();
		const before = readFileSync(path);
		(await openDatabase(path, OUTBOX_KIND)).close();
		expect(readFileSync(path)).toEqual(before);
	});

	test("undoes what a kill has left of a file that was just being made", async () => {
		const path = await leftBehind("PRAGMA user_version = 1", "PRAGMA user_version = 2");
		expect(await openForReading(path, OUTBOX_KIND)).toBeUndefined();
		expect(await openReport(path)).toBeUndefined();
		append((await freshOutbox(path)).outbox, [message("e1", "m1")]);
	});

	test("tells SQLite's own error when a migration fails", async () => {
		const path = join(tempFolder(), "outbox.db");
		await openSqlite(path).then((sqlite) => {
			sqlite.exec(`CREATE TABLE op (x); PRAGMA application_id = ${OUTBOX_KIND.applicationId}`);
			sqlite.exec("CREATE TABLE __drizzle_migrations (id SERIAL PRIMARY KEY, hash text NOT NULL, created_at numeric)");
			sqlite.exec("INSERT INTO __drizzle_migrations (hash, created_at) VALUES ('x', 1)");
			sqlite.close();
		});
		await expect(openDatabase(path, OUTBOX_KIND)).rejects.toThrow(/already exists/);
	});
});

describe("what is not ours is refused and left as it is", () => {
	for (const mode of ["delete", "wal"])
		test(`a foreign SQLite file (journal ${mode})`, async () => {
			const path = join(tempFolder(), "foreign.db");
			const sqlite = await openSqlite(path);
			sqlite.exec(`PRAGMA journal_mode = ${mode}`);
			sqlite.exec("CREATE TABLE session (session_id TEXT); INSERT INTO session VALUES ('theirs')");
			sqlite.close();
			chmodSync(path, 0o644);
			await expectRefused(path, "foreign_database");
		});

	test("a foreign SQLite file with an unfinished transaction", async () => {
		const path = await leftBehind("CREATE TABLE t (x); INSERT INTO t VALUES (1)", "DELETE FROM t");
		const journal = readFileSync(`${path}-journal`);
		await expectRefused(path, "foreign_database");
		expect(readFileSync(`${path}-journal`)).toEqual(journal);
	});

	test("a foreign SQLite file that is marked but empty", async () => {
		const path = join(tempFolder(), "foreign.db");
		const sqlite = await openSqlite(path);
		sqlite.exec("PRAGMA application_id = 42");
		sqlite.close();
		await expectRefused(path, "foreign_database");
	});

	test("a file that is no SQLite database", async () => {
		for (const text of ["short", "# a letter to a friend\n".repeat(500)]) {
			const path = join(tempFolder(), "notes.txt");
			writeFileSync(path, text);
			await expectRefused(path, "foreign_database");
		}
	});

	test("another kind of our databases, either way round", async () => {
		const path = await filledOutbox();
		await expectRefused(path, "foreign_database", SHARE);
		const share = join(tempFolder(), "share.db");
		(await openDatabase(share, SHARE)).close();
		await expectRefused(share, "foreign_database");
	});

	test("a database that a newer version wrote", async () => {
		const path = await filledOutbox();
		await tamper(path, "INSERT INTO __drizzle_migrations (hash, created_at) VALUES ('x', 9e12)");
		await expectRefused(path, "newer_database");
	});

	test("a directory", async () => {
		const path = join(tempFolder(), "outbox.db");
		mkdirSync(path);
		const refusal = expect.objectContaining({ code: "foreign_database" });
		await expect(openDatabase(path, OUTBOX_KIND)).rejects.toThrow(refusal);
		await expect(openForReading(path, OUTBOX_KIND)).rejects.toThrow(refusal);
		expect(readdirSync(path)).toEqual([]);
	});

	test("a truncated database", async () => {
		const path = await filledOutbox();
		truncateSync(path, Math.floor(statSync(path).size / 2));
		await expectRefused(path, "corrupt");
	});

	test("a database whose schema is damaged", async () => {
		const path = await filledOutbox();
		const bytes = readFileSync(path);
		bytes.fill(0xa5, 100, 4000);
		writeFileSync(path, bytes);
		await expectRefused(path, "corrupt");
	});

	test("a database that has lost its list of migrations", async () => {
		const path = await filledOutbox();
		await tamper(path, "DROP TABLE __drizzle_migrations");
		await expectRefused(path, "corrupt");
	});
});

describe("where nothing can be written", () => {
	test("a path below a file is an io error", async () => {
		const file = join(tempFolder(), "file");
		writeFileSync(file, "in the way");
		await expect(openDatabase(join(file, "outbox.db"), OUTBOX_KIND)).rejects.toThrow(
			expect.objectContaining({ code: "io" }),
		);
	});

	test("a folder or a file without write permission is read_only", async () => {
		const folder = tempFolder();
		const locked = join(folder, "locked");
		mkdirSync(locked);
		const file = join(folder, "outbox.db");
		await freshOutbox(file).then(({ outbox }) => outbox.close());
		const bytes = readFileSync(file);
		chmodSync(file, 0o444);
		chmodSync(locked, 0o555);
		chmodSync(folder, 0o555);
		after(() => [folder, locked].map((each) => chmodSync(each, 0o755)));
		for (const path of [join(locked, "outbox.db"), join(locked, "deep", "outbox.db"), file]) {
			const child = new Child("open-as-nobody", path, join(tempFolder(), "own.db"));
			expect(await child.next()).toBe("read_only");
		}
		expect(readdirSync(locked)).toEqual([]);
		expect(readFileSync(file)).toEqual(bytes);
	});
});

describe("openForReading", () => {
	test("reads what an open writer has committed, and cannot write", async () => {
		const { outbox, path } = await freshOutbox();
		append(outbox, [message("e1", "m1")]);
		const reader = await openForReading(path, OUTBOX_KIND);
		if (reader === undefined) throw new Error("it was not made");
		after(() => reader.close());
		const count = reader.prepare<{ n: number }>("SELECT count(*) AS n FROM op");
		expect(count.get()).toEqual({ n: 1 });
		append(outbox, [message("e2", "m2")]);
		expect(count.get()).toEqual({ n: 2 });
		expect(() => reader.exec("DELETE FROM op")).toThrow(expect.objectContaining({ code: "SQLITE_READONLY" }));
		expect(outbox.session(S)?.pending).toBe(2);
	});

	test("makes no file", async () => {
		const path = join(tempFolder(), "outbox.db");
		expect(await openForReading(path, OUTBOX_KIND)).toBeUndefined();
		expect(existsSync(path)).toBe(false);
	});
});
