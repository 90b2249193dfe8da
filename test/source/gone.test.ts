import { renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { SessionRead } from "../../src/source/source.ts";
import { openSqlite } from "../../src/sqlite/driver.ts";
import {
	type Folder,
	handmade,
	MADE_AT,
	NOW,
	OpencodeDatabase,
	only,
	openSource,
	Reader,
} from "./opencode-database.ts";

let folder: Folder;
let opencode: OpencodeDatabase;
let reader: Reader;

beforeEach(async () => {
	({ folder, opencode, reader } = await handmade());
});
afterEach(() => {
	reader.source.close();
	opencode.sql.close();
	folder.remove();
});

describe("a session that is gone", () => {
	beforeEach(async () => {
		opencode.session("ses_a");
		opencode.session("ses_b");
		await reader.read();
	});

	it("was deleted when it is gone from the tables and from the log, and is told until it is captured", async () => {
		opencode.deleteSession("ses_a");
		const from = reader.captured.get("ses_a")?.watermark ?? null;
		const again = new Map(reader.captured);
		expect(only(await reader.read(), "deleted")).toEqual({ kind: "deleted", session_id: "ses_a", from });
		expect(await reader.read()).toEqual([]);
		reader.captured.set("ses_a", again.get("ses_a") ?? { watermark: null, deleted: false });
		only(await reader.read(), "deleted");
	});

	it("was deleted, also while nobody looked, when the file is known", async () => {
		const { identity } = reader.source;
		opencode.deleteSession("ses_a");
		opencode.deleteSession("ses_b");
		await reader.restart({ identity });
		expect((await reader.read()).map((read) => read.kind)).toEqual(["deleted", "deleted"]);
	});

	it("was deleted, also while nobody looked, when another session stands there as captured", async () => {
		opencode.sql.exec("DROP TABLE migration");
		opencode.deleteSession("ses_a");
		await reader.restart();
		expect((await reader.read()).map((read) => read.kind)).toEqual(["log", "deleted"]);
	});

	it("was deleted, also while nobody looked, when the database is older than its last event", async () => {
		opencode.deleteSession("ses_a");
		opencode.deleteSession("ses_b");
		await reader.restart();
		expect((await reader.read()).map((read) => read.kind)).toEqual(["deleted", "deleted"]);
	});

	it("was deleted when its log follows its row a moment later", async () => {
		opencode.sql.exec("DELETE FROM session WHERE id = 'ses_a'");
		expect(await reader.read()).toEqual([]);
		expect(reader.source.changed()).toBe(true);
		opencode.deleteSession("ses_a");
		only(await reader.read(), "deleted");
		expect(reader.source.changed()).toBe(false);
	});

	it("vanished when its log stays; that is told once", async () => {
		let now = NOW;
		await reader.restart({ now: () => now });
		await reader.read();
		opencode.sql.exec("DELETE FROM session WHERE id = 'ses_a'");
		expect(await reader.read()).toEqual([]);
		now += 10_000;
		expect(only(await reader.read(), "vanished").reason).toContain("its log is not");
		opencode.message("ses_b", "msg_1");
		only(await reader.read(), "log");
	});

	it("that vanished is never told as deleted later, and its return is told", async () => {
		opencode.sql.exec("CREATE TABLE kept AS SELECT * FROM session WHERE id = 'ses_a'");
		const log = opencode.sql.prepare("SELECT * FROM event WHERE aggregate_id = 'ses_a'").all();
		opencode.deleteSession("ses_a");
		const { identity } = reader.source;
		reader.captured.set("ses_a", {
			watermark: { seq: 0, event_id: String(log[0]?.id) },
			deleted: false,
			vanished: true,
		});
		await reader.restart({ identity });
		expect(only(await reader.read(), "log").session.session_id).toBe("ses_b");
		expect(await reader.read()).toEqual([]);
		opencode.sql.exec("INSERT INTO session SELECT * FROM kept");
		expect(only(await reader.read(), "snapshot").session.session_id).toBe("ses_a");
		expect(await reader.read()).toEqual([]);
	});

	it("vanished when the database is a new one, in the same process and in another", async () => {
		const replace = async (madeAt: number) => {
			opencode.sql.close();
			for (const suffix of ["", "-wal", "-shm"]) rmSync(opencode.path + suffix, { force: true });
			opencode = await OpencodeDatabase.create(opencode.path);
			opencode.sql.prepare("UPDATE migration SET time_completed = ?").run(madeAt);
		};
		await replace(NOW);
		expect(reader.source.changed()).toBe(true);
		expect((await reader.read()).map((read) => read.kind)).toEqual(["vanished", "vanished"]);
		await reader.restart();
		expect((await reader.read()).map((read) => read.kind)).toEqual(["vanished", "vanished"]);
	});

	describe("from a database that was replaced by another one", () => {
		/** Closes OpenCode and puts one file in the place of another. */
		const move = (from: string, to: string) => {
			opencode.sql.exec("PRAGMA wal_checkpoint(TRUNCATE)");
			opencode.sql.close();
			for (const path of [from, to]) for (const suffix of ["-wal", "-shm"]) rmSync(path + suffix, { force: true });
			renameSync(from, to);
		};
		const replaceByOlder = async () => {
			move(opencode.path, join(folder.path, "a.db"));
			opencode = await OpencodeDatabase.create(join(folder.path, "b.db"));
			opencode.sql.prepare("UPDATE migration SET time_completed = ?").run(MADE_AT - 1);
			opencode.session("ses_other");
			move(opencode.path, reader.source.path);
		};
		const putBack = () => {
			const { path } = reader.source;
			renameSync(path, join(folder.path, "b.db"));
			for (const suffix of ["-wal", "-shm"]) rmSync(path + suffix, { force: true });
			renameSync(join(folder.path, "a.db"), path);
		};
		const told = (reads: SessionRead[]) =>
			Object.fromEntries(
				reads.map((read) => ["session" in read ? read.session.session_id : read.session_id, read.kind]),
			);
		const away = { ses_a: "vanished", ses_b: "vanished", ses_other: "log" };
		const back = { ses_a: "log", ses_b: "log", ses_other: "vanished" };

		it("vanished, though the other one is older, and is read as before when it is back", async () => {
			await replaceByOlder();
			expect(told(await reader.read())).toEqual(away);
			putBack();
			expect(told(await reader.read())).toEqual(back);
		});

		it("vanished, and is back, also when the agent was started again in between", async () => {
			const { identity } = reader.source;
			await replaceByOlder();
			await reader.restart({ identity });
			expect(told(await reader.read())).toEqual(away);
			const other = reader.source.identity;
			putBack();
			await reader.restart({ identity: other });
			expect(told(await reader.read())).toEqual(back);
		});
	});

	it("vanished when an older copy of the database was put back", async () => {
		const copy = join(folder.path, "copy.db");
		opencode.sql.prepare("VACUUM INTO ?").run(copy);
		opencode.session("ses_c");
		opencode.message("ses_b", "msg_1");
		await reader.read();
		const captured = new Map(reader.captured);
		reader.source.close();
		reader = await Reader.open(copy);
		for (const [id, entry] of captured) reader.captured.set(id, entry);
		const kinds = new Map(
			(await reader.read()).map((read) => ["session" in read ? read.session.session_id : read.session_id, read.kind]),
		);
		expect(Object.fromEntries(kinds)).toEqual({ ses_a: "log", ses_b: "snapshot", ses_c: "vanished" });
		expect(await reader.read()).toEqual([]);
		expect(reader.captured.get("ses_c")?.deleted).toBe(false);
	});
});

describe("a database that cannot be used", () => {
	const refused = async (path: string) => (await openSource(path).catch((error) => error)).code;

	it("is named when it is missing", async () => {
		const path = join(folder.path, "nowhere.db");
		await expect(openSource(path)).rejects.toMatchObject({
			code: "no_source",
			message: `There is no OpenCode database yet. Looked for ${path}.`,
		});
	});

	it("is not there yet while it has no tables", async () => {
		const path = join(folder.path, "empty.db");
		(await openSqlite(path)).exec("PRAGMA user_version = 1");
		expect(await refused(path)).toBe("no_source");
	});

	it("is refused when its tables are not OpenCode's", async () => {
		opencode.sql.exec("ALTER TABLE part RENAME COLUMN data TO content");
		await expect(openSource(opencode.path)).rejects.toMatchObject({
			code: "unknown_schema",
			message: expect.stringContaining("its table part lacks data"),
		});
	});

	it("is refused when it is no database", async () => {
		expect(await refused(import.meta.filename)).toBe("corrupt");
	});

	it("is named when another program has locked it", async () => {
		opencode.session("ses_a");
		reader.source.close();
		opencode.sql.exec("PRAGMA journal_mode = DELETE; BEGIN EXCLUSIVE");
		await expect(openSource(opencode.path)).rejects.toMatchObject({
			code: "busy",
			message: expect.stringContaining(`${opencode.path} is locked by another program`),
		});
		opencode.sql.exec("COMMIT");
	});

	it("ends a read with no_source when it was removed", async () => {
		for (const suffix of ["", "-wal", "-shm"]) rmSync(opencode.path + suffix, { force: true });
		await expect(reader.read()).rejects.toMatchObject({ code: "no_source" });
	});

	it("gives nothing new while it is locked, and everything afterwards", async () => {
		opencode.session("ses_a");
		reader.source.close();
		opencode.sql.exec("PRAGMA journal_mode = DELETE");
		reader = await Reader.open(opencode.path);
		opencode.sql.exec("BEGIN EXCLUSIVE");
		expect(await reader.read()).toEqual([]);
		expect(reader.source.changed()).toBe(true);
		opencode.sql.exec("COMMIT");
		expect(await reader.read()).toHaveLength(1);
	});
});
