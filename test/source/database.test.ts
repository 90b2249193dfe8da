import { rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ROW_BYTES_MAX } from "../../src/source/intents.ts";
import type { SessionRead } from "../../src/source/source.ts";
import { openSqlite } from "../../src/sqlite/driver.ts";
import { NOW, OpencodeDatabase, openSource, Reader, temporaryFolder } from "./opencode-database.ts";

let folder: ReturnType<typeof temporaryFolder>;
let opencode: OpencodeDatabase;
let reader: Reader;

beforeEach(async () => {
	folder = temporaryFolder();
	opencode = await OpencodeDatabase.create(join(folder.path, "opencode.db"));
	reader = await Reader.open(opencode.path);
});
afterEach(() => {
	reader.source.close();
	opencode.sql.close();
	folder.remove();
});

/** The only read, of the asked kind. */
function only<Kind extends SessionRead["kind"]>(reads: SessionRead[], kind: Kind) {
	expect(reads.map((read) => read.kind)).toEqual([kind]);
	return reads[0] as Extract<SessionRead, { kind: Kind }>;
}

const keysOf = (changes: readonly { key: string }[]) => changes.map((change) => change.key);

describe("a session with a complete log", () => {
	beforeEach(() => {
		opencode.session("ses_a");
		opencode.message("ses_a", "msg_1", "one");
	});

	it("is read from its log, in order, with the state at its head", async () => {
		const read = only(await reader.read(), "log");
		expect(read.from).toBeNull();
		expect(read.to.seq).toBe(1);
		expect(keysOf(read.changes)).toEqual(["session", "message/msg_1"]);
		expect(keysOf(read.state)).toEqual(["session", "todo"]);
		expect(read.session).toEqual({
			session_id: "ses_a",
			parent_id: null,
			title: "Title of ses_a",
			directory: "/project",
		});
	});

	it("is not read again when nothing changed", async () => {
		expect(reader.source.changed()).toBe(true);
		await reader.read();
		expect(reader.source.changed()).toBe(false);
		expect(await reader.read()).toEqual([]);
	});

	it("goes on after its watermark", async () => {
		await reader.read();
		opencode.message("ses_a", "msg_2");
		expect(reader.source.changed()).toBe(true);
		const read = only(await reader.read(), "log");
		expect(read.from?.seq).toBe(1);
		expect(keysOf(read.changes)).toEqual(["message/msg_2"]);
	});

	it("tells its state, and no change, when only its row or its todos changed", async () => {
		await reader.read();
		opencode.todo("ses_a", "mend it");
		const read = only(await reader.read(), "log");
		expect(read.from).toEqual(read.to);
		expect(read.changes).toEqual([]);
		expect(read.state[1]?.payload).toBe('[{"content":"mend it","priority":"high","status":"pending"}]');
		expect(await reader.read()).toEqual([]);
	});

	it("is not read when it is not wanted", async () => {
		expect(await reader.read(() => false)).toEqual([]);
	});

	it("is read once more when the caller left before the end", async () => {
		opencode.session("ses_b");
		for await (const _ of reader.source.read(new Map(), () => true, new AbortController().signal)) break;
		expect(reader.source.changed()).toBe(true);
		expect(await reader.read()).toHaveLength(2);
	});

	it("ends a read at once when it is aborted", async () => {
		expect(await reader.read(() => true, AbortSignal.abort())).toEqual([]);
	});

	it("skips event types that no op carries, and moves on past them", async () => {
		await reader.read();
		const event_id = opencode.event("ses_a", "session.next.step.started.1", { sessionID: "ses_a" });
		const read = only(await reader.read(), "log");
		expect(read.changes).toEqual([]);
		expect(read.to).toEqual({ seq: 2, event_id });
	});

	it("is captured by snapshot when its log holds a message event that this version does not know", async () => {
		await reader.read();
		opencode.event("ses_a", "message.updated.2", { anything: true });
		expect(only(await reader.read(), "snapshot").reason).toContain("message.updated.2");
	});
});

describe("a long log", () => {
	it("comes in pages of 1000 events, the state with the last", async () => {
		opencode.session("ses_a");
		opencode.sql.transaction(() => {
			for (let n = 0; n < 2100; n++) opencode.message("ses_a", `msg_${n}`);
		});
		const reads = (await reader.read()) as Extract<SessionRead, { kind: "log" }>[];
		expect(reads.map((read) => read.changes.length)).toEqual([1000, 1000, 101]);
		expect(reads.map((read) => read.to.seq)).toEqual([999, 1999, 2100]);
		expect(reads.map((read) => read.state.length)).toEqual([0, 0, 2]);
		expect(reads[1]?.from).toEqual(reads[0]?.to);
	});

	it("comes in pages of 4 MiB", async () => {
		opencode.session("ses_a");
		for (let n = 0; n < 5; n++) opencode.message("ses_a", `msg_${n}`, "x".repeat(1_500_000));
		const reads = (await reader.read()) as Extract<SessionRead, { kind: "log" }>[];
		expect(reads.map((read) => read.changes.length)).toEqual([3, 2, 1]);
	});
});

describe("a log that cannot be trusted leads to a snapshot", () => {
	beforeEach(async () => {
		opencode.session("ses_a");
		for (let n = 1; n <= 4; n++) opencode.message("ses_a", `msg_${n}`);
		opencode.part("ses_a", "msg_1", "prt_1", "text");
		await reader.read();
	});

	const snapshotKeys = ["session", "message/msg_1", "part/msg_1/prt_1", "message/msg_2"];

	it("when it was wiped and counts from 0 again", async () => {
		opencode.wipeLog();
		for (let n = 5; n < 12; n++) opencode.message("ses_a", `msg_${n}`);
		const read = only(await reader.read(), "snapshot");
		expect(read.reason).toContain("does not hold event");
		expect(read.to?.seq).toBe(6);
		expect(keysOf(read.entities)).toEqual(expect.arrayContaining([...snapshotKeys, "message/msg_11", "todo"]));
	});

	it("when it was wiped and is shorter than before", async () => {
		opencode.wipeLog();
		opencode.message("ses_a", "msg_5");
		expect(only(await reader.read(), "snapshot").to?.seq).toBe(0);
	});

	it("when it was wiped and is empty, once, and again when the session goes on", async () => {
		opencode.wipeLog();
		expect(only(await reader.read(), "snapshot").to).toBeNull();
		expect(await reader.read()).toEqual([]);
		opencode.message("ses_a", "msg_5");
		expect(only(await reader.read(), "snapshot").to?.seq).toBe(0);
		opencode.message("ses_a", "msg_6");
		expect(keysOf(only(await reader.read(), "log").changes)).toEqual(["message/msg_6"]);
	});

	it("when its numbers were given anew", async () => {
		opencode.sql.exec("DELETE FROM event WHERE seq < 2; UPDATE event SET seq = seq - 2 WHERE seq >= 2");
		opencode.sql.exec("UPDATE event_sequence SET seq = seq - 2");
		for (let n = 5; n < 8; n++) opencode.message("ses_a", `msg_${n}`);
		expect(only(await reader.read(), "snapshot").reason).toContain("as number 5");
	});

	it("when it has a hole after the watermark", async () => {
		for (let n = 5; n < 8; n++) opencode.message("ses_a", `msg_${n}`);
		opencode.sql.exec("DELETE FROM event WHERE seq = 7");
		expect(only(await reader.read(), "snapshot").reason).toBe("its log has a hole: number 7 is missing");
	});

	it("when it was pruned beyond the watermark", async () => {
		for (let n = 5; n < 8; n++) opencode.message("ses_a", `msg_${n}`);
		opencode.sql.exec("DELETE FROM event WHERE seq < 7");
		expect(only(await reader.read(), "snapshot").to?.seq).toBe(8);
	});

	it("but not when it was pruned below the watermark", async () => {
		opencode.sql.exec("DELETE FROM event WHERE seq < 4");
		opencode.message("ses_a", "msg_5");
		expect(keysOf(only(await reader.read(), "log").changes)).toEqual(["message/msg_5"]);
	});

	it("when it lost its head row", async () => {
		opencode.sql.exec("DELETE FROM event");
		expect(only(await reader.read(), "snapshot").reason).toBe("its log is gone");
	});

	it("when the session was captured as deleted and is there again", async () => {
		reader.captured.set("ses_a", { watermark: reader.captured.get("ses_a")?.watermark ?? null, deleted: true });
		expect(only(await reader.read(), "snapshot").reason).toContain("there again");
	});
});

describe("a session that was never captured", () => {
	it("is captured by snapshot when its log does not begin with its creation", async () => {
		opencode.session("ses_a", false);
		opencode.message("ses_a", "msg_old", "", false);
		opencode.message("ses_a", "msg_1");
		const read = only(await reader.read(), "snapshot");
		expect(read.reason).toBe("its log does not begin with its creation, but with message.updated.1");
		expect(keysOf(read.entities)).toEqual(["session", "message/msg_1", "message/msg_old", "todo"]);
		expect(read.to?.seq).toBe(0);
	});

	it("is captured by snapshot when the beginning of its log was pruned", async () => {
		opencode.session("ses_a");
		opencode.message("ses_a", "msg_1");
		opencode.sql.exec("DELETE FROM event WHERE seq = 0");
		expect(only(await reader.read(), "snapshot").reason).toContain("number 0 is missing");
	});

	it("without any log (imported) is captured once, again after a restart, and when it grew", async () => {
		opencode.session("ses_a", false);
		opencode.message("ses_a", "msg_1", "", false);
		expect(only(await reader.read(), "snapshot").to).toBeNull();
		opencode.session("ses_b");
		expect(keysOf(only(await reader.read(), "log").changes)).toEqual(["session"]);
		opencode.part("ses_a", "msg_1", "prt_1", "", false);
		expect(keysOf(only(await reader.read(), "snapshot").entities)).toContain("part/msg_1/prt_1");
		await reader.restart();
		expect((await reader.read()).map((read) => read.kind).sort()).toEqual(["log", "snapshot"]);
		expect(await reader.read()).toEqual([]);
	});

	it("of an OpenCode that keeps no log at all is captured again when a part was edited", async () => {
		opencode.session("ses_a", false);
		opencode.message("ses_a", "msg_1", "", false);
		opencode.part("ses_a", "msg_1", "prt_1", "", false);
		await reader.read();
		opencode.sql.exec("UPDATE part SET data = '{}', time_updated = 2");
		expect(await reader.read()).toHaveLength(1);
	});
});

describe("what no op can carry", () => {
	beforeEach(() => opencode.session("ses_a"));

	it("is set aside when it is not JSON or lacks its ids, and the session goes on", async () => {
		const broken = opencode.event("ses_a", "message.updated.1", '{"sessionID":"ses_a","info":{"id":"msg_1"');
		opencode.event("ses_a", "message.part.updated.1", { sessionID: "ses_a", part: { id: "prt_1" } });
		opencode.event("ses_a", "message.removed.1", { sessionID: "ses_other", messageID: "msg_1" });
		opencode.event("ses_a", "session.updated.1", { sessionID: "ses_a", info: { id: "ses_other" } });
		opencode.message("ses_a", "msg_2");
		const read = only(await reader.read(), "log");
		expect(read.changes.map((change) => ("code" in change ? change.code : change.key))).toEqual([
			"session",
			"invalid_payload",
			"invalid_payload",
			"invalid_payload",
			"invalid_payload",
			"message/msg_2",
		]);
		expect(read.changes[1]).toMatchObject({ event_id: broken, seq: 1, type: "message" });
		expect(read.changes[2]).toMatchObject({ reason: expect.stringContaining("it has no message id") });
		expect(read.to.seq).toBe(5);
	});

	it("is not loaded when it is too large", async () => {
		const large = `{"sessionID":"ses_a","info":{"id":"msg_1","text":"${"x".repeat(ROW_BYTES_MAX)}"}}`;
		opencode.event("ses_a", "message.updated.1", large);
		opencode.message("ses_a", "msg_2");
		const before = process.memoryUsage().rss;
		const read = only(await reader.read(), "log");
		expect(process.memoryUsage().rss - before).toBeLessThan(ROW_BYTES_MAX / 2);
		expect(read.changes[1]).toMatchObject({
			code: "too_large",
			reason: expect.stringContaining(`${large.length} bytes`),
		});
		expect(keysOf(read.changes).slice(2)).toEqual(["message/msg_2"]);
	});

	it("is told once when it is the session's row", async () => {
		await reader.read();
		opencode.sql.exec("UPDATE session SET revert = '{'");
		expect(only(await reader.read(), "log").changes).toMatchObject([{ key: "session", code: "invalid_payload" }]);
		opencode.message("ses_a", "msg_1");
		expect(keysOf(only(await reader.read(), "log").changes)).toEqual(["message/msg_1"]);
	});

	it("has its entity's key in a snapshot", async () => {
		opencode.message("ses_a", "msg_1", "", false);
		opencode.part("ses_a", "msg_1", "prt_1", "x".repeat(ROW_BYTES_MAX), false);
		opencode.part("ses_a", "msg_1", "prt_2", "", false);
		opencode.sql.exec("UPDATE part SET data = 'no json' WHERE id = 'prt_2'");
		opencode.sql.exec("UPDATE session SET revert = '{'");
		const snapshot = reader.source.snapshot("ses_a");
		expect(snapshot?.entities.map((entity) => [entity.key, "code" in entity && entity.code])).toEqual([
			["session", "invalid_payload"],
			["message/msg_1", false],
			["part/msg_1/prt_1", "too_large"],
			["part/msg_1/prt_2", "invalid_payload"],
			["todo", false],
		]);
	});
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

	it("vanished when its log is still there; that is told once", async () => {
		opencode.sql.exec("DELETE FROM session WHERE id = 'ses_a'");
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

describe("an OpenCode without an event log (1.2 to 1.3)", () => {
	it("is captured by snapshot", async () => {
		opencode.sql.exec("DROP TABLE event; DROP TABLE event_sequence; DROP TABLE todo");
		for (const name of ["workspace_id", "path", "metadata", "agent", "model", "cost", "tokens_input"])
			opencode.sql.exec(`ALTER TABLE session DROP COLUMN ${name}`);
		opencode.session("ses_a", false);
		reader.source.close();
		reader = await Reader.open(opencode.path);
		const read = only(await reader.read(), "snapshot");
		expect(JSON.parse((read.entities[0] as { payload: string }).payload)).not.toHaveProperty("tokens");
		expect(await reader.read()).toEqual([]);
	});
});
