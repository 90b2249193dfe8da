import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openForTailing } from "../../src/source/file.ts";
import { ROW_BYTES_MAX } from "../../src/source/intents.ts";
import type { SessionRead } from "../../src/source/source.ts";
import { type Folder, handmade, keysOf, type OpencodeDatabase, only, Reader, takeAll } from "./opencode-database.ts";

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

describe("a session with a complete log", () => {
	beforeEach(() => {
		opencode.session("ses_a");
		opencode.message("ses_a", "msg_1", "one");
	});

	it("is read from its log, in order, with the state at its head", async () => {
		const read = only(await reader.read(), "log");
		expect(read.from).toBeNull();
		expect(read.to?.seq).toBe(1);
		expect(keysOf(read.changes)).toEqual(["session", "message/msg_1"]);
		expect(keysOf(read.state)).toEqual(["session", "todo"]);
		expect(read.session).toEqual({
			session_id: "ses_a",
			parent_id: null,
			title: "Title of ses_a",
			directory: "/project",
			updated_at: 1,
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
		for await (const _ of reader.source.read(new Map(), takeAll, new AbortController().signal)) break;
		expect(reader.source.changed()).toBe(true);
		expect(await reader.read()).toHaveLength(2);
	});

	it("is read once more when it went on while the read was under way", async () => {
		for await (const _ of reader.source.read(new Map(), takeAll, new AbortController().signal))
			opencode.message("ses_a", "msg_late");
		expect(reader.source.changed()).toBe(true);
	});

	it("cannot be written to on the connection that it is read with", async () => {
		const connection = await openForTailing(opencode.path);
		expect(() => connection.exec("DELETE FROM session")).toThrow(/readonly/);
		connection.close();
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
		expect(reads.map((read) => read.to?.seq)).toEqual([999, 1999, 2100]);
		expect(reads.map((read) => read.state.length)).toEqual([0, 0, 2]);
		expect(reads[1]?.from).toEqual(reads[0]?.to);
	});

	it("comes in pages of 1 MiB", async () => {
		opencode.session("ses_a");
		for (let n = 0; n < 5; n++) opencode.message("ses_a", `msg_${n}`, "x".repeat(400_000));
		const reads = (await reader.read()) as Extract<SessionRead, { kind: "log" }>[];
		expect(reads.map((read) => read.changes.length)).toEqual([3, 2, 1]);
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
		expect(read.to?.seq).toBe(5);
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
		const snapshot = await reader.source.snapshot("ses_a");
		expect(snapshot?.entities.map((entity) => [entity.key, "code" in entity && entity.code])).toEqual([
			["session", "invalid_payload"],
			["message/msg_1", false],
			["part/msg_1/prt_1", "too_large"],
			["part/msg_1/prt_2", "invalid_payload"],
			["todo", false],
		]);
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
