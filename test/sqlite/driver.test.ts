import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { openSqlite, type Sqlite, type SqliteOptions } from "../../src/sqlite/driver.ts";
import { isBusy } from "../../src/sqlite/errors.ts";
import { after, tempFolder } from "../outbox/fixture.ts";

async function open(path: string, options: SqliteOptions = {}): Promise<Sqlite> {
	const sqlite = await openSqlite(path, options);
	after(() => sqlite.close());
	return sqlite;
}

async function table(): Promise<{ sqlite: Sqlite; path: string }> {
	const path = join(tempFolder(), "t.db");
	const sqlite = await open(path);
	sqlite.exec("CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, value, UNIQUE (value))");
	return { sqlite, path };
}

/** The seam's contract; runs on better-sqlite3 under Node and on bun:sqlite under Bun. */
describe("the driver", () => {
	test("gives undefined for no row, and null for NULL", async () => {
		const { sqlite } = await table();
		sqlite.prepare("INSERT INTO t (value) VALUES (?)").run(null);
		expect(sqlite.prepare("SELECT value FROM t WHERE id = ?").get(99)).toBeUndefined();
		expect(sqlite.prepare("SELECT value FROM t WHERE id = ?").get(1)).toEqual({ value: null });
		expect(sqlite.prepare("SELECT value FROM t WHERE id = ?").all(99)).toEqual([]);
	});

	test("copies one state, however much another connection writes meanwhile", async () => {
		const { sqlite, path } = await table();
		sqlite.exec("PRAGMA journal_mode = WAL");
		const insert = sqlite.prepare("INSERT INTO t (value) VALUES (?)");
		sqlite.transaction(() => {
			for (let n = 0; n < 3000; n++) insert.run(`${n} ${"x".repeat(1000)}`);
		});
		const reader = await open(path, { readonly: true });
		const to = join(dirname(path), "copy.db");
		const told: number[] = [];
		await reader.copyTo(to, (done) => {
			told.push(done);
			insert.run(`late ${told.length}`);
		});
		const copy = await open(to);
		expect(copy.prepare("SELECT count(*) AS n FROM t").get()).toEqual({ n: 3000 });
		expect(told).toEqual(told.toSorted((a, b) => a - b));
		if (!process.versions.bun) expect(told.length).toBeGreaterThan(1);
	});

	test("keeps every kind of value", async () => {
		const { sqlite } = await table();
		const values = ["", "ä\u0000😀", 0, -1.5, Number.MAX_SAFE_INTEGER, null];
		const insert = sqlite.prepare("INSERT INTO t (value) VALUES (?)");
		for (const value of values) insert.run(value);
		insert.run(new Uint8Array([0, 1, 255]));
		const rows = sqlite.prepare<{ value: unknown }>("SELECT value FROM t ORDER BY id").all();
		expect(rows.slice(0, -1).map((row) => row.value)).toEqual(values);
		const blob = rows.at(-1)?.value;
		expect(blob).toBeInstanceOf(Uint8Array);
		expect([...(blob as Uint8Array)]).toEqual([0, 1, 255]);
	});

	test("counts the rows that a statement changed, and no others", async () => {
		const { sqlite } = await table();
		const insert = sqlite.prepare("INSERT INTO t (value) VALUES (?)");
		expect(insert.run("a")).toMatchObject({ changes: 1, lastInsertRowid: 1 });
		expect(insert.run("b")).toMatchObject({ changes: 1, lastInsertRowid: 2 });
		expect(sqlite.prepare("UPDATE t SET value = value || 'x'").run().changes).toBe(2);
		expect(sqlite.prepare("UPDATE t SET value = 'c' WHERE id = 99").run().changes).toBe(0);
		expect(sqlite.prepare("INSERT INTO t (value) VALUES ('ax') ON CONFLICT DO NOTHING").run().changes).toBe(0);
		expect(sqlite.prepare("DELETE FROM t").run().changes).toBe(2);
	});

	test("walks through rows one by one", async () => {
		const { sqlite } = await table();
		for (const value of ["a", "b"]) sqlite.prepare("INSERT INTO t (value) VALUES (?)").run(value);
		const rows = [...sqlite.prepare<{ value: string }>("SELECT value FROM t WHERE id > ? ORDER BY id").iterate(0)];
		expect(rows.map((row) => row.value)).toEqual(["a", "b"]);
	});

	test("takes back everything when a transaction throws, and can go on", async () => {
		const { sqlite } = await table();
		const insert = sqlite.prepare("INSERT INTO t (value) VALUES (?)");
		const fail = () =>
			sqlite.transaction(() => {
				insert.run("a");
				sqlite.transaction(() => insert.run("b"));
				throw new Error("changed my mind");
			});
		expect(fail).toThrow("changed my mind");
		expect(sqlite.prepare("SELECT value FROM t").all()).toEqual([]);
		expect(sqlite.transaction(() => insert.run("c").changes)).toBe(1);
	});

	test("names SQLite's codes", async () => {
		const { sqlite, path } = await table();
		const insert = sqlite.prepare("INSERT INTO t (value) VALUES (?)");
		insert.run("a");
		expect(() => insert.run("a")).toThrow(expect.objectContaining({ code: "SQLITE_CONSTRAINT_UNIQUE" }));
		const reader = await open(path, { readonly: true });
		expect(() => reader.exec("DELETE FROM t")).toThrow(expect.objectContaining({ code: "SQLITE_READONLY" }));
		for (const options of [{ readonly: true }, { mustExist: true }])
			await expect(openSqlite(`${path}.none`, options)).rejects.toThrow(
				expect.objectContaining({ code: "SQLITE_CANTOPEN" }),
			);
	});

	test("says busy when another connection has the lock for longer than the timeout", async () => {
		const { sqlite, path } = await table();
		const other = await open(path, { busyTimeoutMs: 0 });
		sqlite.exec("BEGIN IMMEDIATE");
		let thrown: unknown;
		try {
			other.transaction(() => undefined);
		} catch (error) {
			thrown = error;
		}
		expect(isBusy(thrown)).toBe(true);
		sqlite.exec("COMMIT");
		expect(other.transaction(() => 1)).toBe(1);
	});

	test("waits five seconds for another connection's lock, unless it is told otherwise", async () => {
		for (const [options, timeout] of [
			[{}, 5000],
			[{ busyTimeoutMs: 70 }, 70],
		] as const) {
			const sqlite = await openSqlite(join(tempFolder(), "a.db"), options);
			after(() => sqlite.close());
			expect(sqlite.prepare("PRAGMA busy_timeout").get()).toEqual({ timeout });
		}
	});

	test("shows other connections' commits through data_version", async () => {
		const { sqlite, path } = await table();
		const other = await open(path);
		const version = sqlite.prepare<{ data_version: number }>("PRAGMA data_version");
		const before = version.get()?.data_version;
		sqlite.prepare("INSERT INTO t (value) VALUES ('own')").run();
		expect(version.get()?.data_version).toBe(before);
		other.prepare("INSERT INTO t (value) VALUES ('theirs')").run();
		expect(version.get()?.data_version).not.toBe(before);
	});

	test("lets go of the file when it is closed, statements or not", async () => {
		const { sqlite, path } = await table();
		sqlite.exec("PRAGMA journal_mode = WAL");
		const insert = sqlite.prepare("INSERT INTO t (value) VALUES (?)");
		insert.run("a");
		(await sqlite.orm()).all("SELECT * FROM t");
		sqlite.close();
		expect(readdirSync(dirname(path))).toEqual(["t.db"]);
		expect(() => insert.run("b")).toThrow();
		sqlite.close();
	});
});
