import { mkdirSync, renameSync, rmSync, truncateSync, utimesSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { JsonSource, type JsonSourceOptions } from "../../src/source/json-source.ts";
import type { Captured, Choose, SessionRead } from "../../src/source/source.ts";
import { keysOf, only, takeAll, temporaryFolder } from "./opencode-database.ts";

/** OpenCode 1.1's files, written by hand as it writes them. The clock is ours, and ahead of the file system's. */
let folder: ReturnType<typeof temporaryFolder>;
let storage: string;
let now: number;
let source: JsonSource;
let captured: Map<string, Captured>;

beforeEach(() => {
	folder = temporaryFolder();
	storage = join(folder.path, "storage");
	captured = new Map();
	now = Date.now() + 60_000;
	session("ses_a");
	source = open();
});
afterEach(() => folder.remove());

function open(options: JsonSourceOptions = {}): JsonSource {
	return new JsonSource(storage, { now: () => now, ...options });
}

function write(name: string, value: unknown): void {
	const path = join(storage, name);
	mkdirSync(dirname(path), { recursive: true });
	writeFileSync(path, typeof value === "string" ? value : JSON.stringify(value, null, 2));
}
function session(id: string, title = "A title", project = "global"): void {
	write(`session/${project}/${id}.json`, { id, directory: "/project", title, time: { created: 1, updated: 2 } });
}
function message(sessionID: string, id: string, created = 1): void {
	write(`message/${sessionID}/${id}.json`, { id, sessionID, role: "user", time: { created } });
}
function part(messageID: string, id: string, text: string): void {
	write(`part/${messageID}/${id}.json`, { id, messageID, type: "text", text });
}

/** One read to its end, captured; so much later that no tick of a clock hides anything. */
async function read(choose: Choose = takeAll): Promise<SessionRead[]> {
	now += 10_000;
	const reads: SessionRead[] = [];
	for await (const read of source.read(captured, choose, new AbortController().signal)) {
		reads.push(read);
		if (read.kind === "deleted") captured.set(read.session_id, { watermark: null, deleted: true });
		if (read.kind === "vanished") captured.set(read.session_id, { watermark: null, deleted: false, vanished: true });
		if ("session" in read) captured.set(read.session.session_id, { watermark: null, deleted: false });
	}
	return reads;
}
const entitiesOf = async () => only(await read(), "snapshot").entities;

describe("JSON files", () => {
	it("are told as a snapshot: the session, its messages by time with their parts, the todos", async () => {
		message("ses_a", "msg_1", 2);
		message("ses_a", "msg_2", 1);
		part("msg_1", "prt_b", "b");
		part("msg_1", "prt_a", "a");
		write("todo/ses_a.json", [{ content: "x", status: "pending", priority: "high", id: "1" }]);
		const told = only(await read(), "snapshot");
		expect(told).toMatchObject({ from: null, to: null, session: { title: "A title", directory: "/project" } });
		expect(keysOf(told.entities)).toEqual([
			"session",
			"message/msg_2",
			"message/msg_1",
			"part/msg_1/prt_a",
			"part/msg_1/prt_b",
			"todo",
		]);
		expect(await source.snapshot("ses_a")).toMatchObject({ entities: told.entities });
	});

	it("are told once, and again for every kind of change", async () => {
		message("ses_a", "msg_1");
		part("msg_1", "prt_1", "one");
		await read();
		expect(await read()).toEqual([]);
		const changes: (() => void)[] = [
			() => part("msg_1", "prt_1", "two"),
			() => message("ses_a", "msg_1", 7),
			() => session("ses_a", "Another"),
			() => write("todo/ses_a.json", [{ content: "x" }]),
			() => part("msg_1", "prt_2", "new"),
			() => rmSync(join(storage, "part/msg_1/prt_2.json")),
			() => message("ses_a", "msg_2"),
			() => rmSync(join(storage, "message/ses_a/msg_2.json")),
		];
		for (const change of changes) {
			change();
			// What is removed is told one read later: it may be the beginning of a deletion.
			expect([...(await read()), ...(await read())].length, String(change)).toBe(1);
			expect(await read(), String(change)).toEqual([]);
		}
	});

	it("are told when a rewrite leaves size and mtime as they were", async () => {
		message("ses_a", "msg_1");
		part("msg_1", "prt_1", "one");
		const path = join(storage, "part/msg_1/prt_1.json");
		utimesSync(path, 1, 1);
		await read();
		part("msg_1", "prt_1", "two");
		utimesSync(path, 1, 1);
		expect(JSON.stringify(await entitiesOf())).toContain("two");
	});

	it("of a quiet session are looked at in turn: a rewrite deep below is found without a sign above", async () => {
		for (let n = 0; n < 400; n++) {
			session(`ses_${n}`);
			message(`ses_${n}`, `msg_${n}`);
			part(`msg_${n}`, "prt_1", "one");
		}
		await read();
		now += 3_600_000;
		await read();
		part("msg_7", "prt_1", "two");
		let looks = 0;
		for (let found: SessionRead[] = []; found.length === 0 && looks < 50; looks++) found = await read();
		expect(looks).toBeLessThan(50);
		expect(captured.size).toBe(401);
	});

	it("that nobody wants are not told; once they are wanted, with all that happened meanwhile", async () => {
		await read();
		const none: Choose = () => new Set();
		session("ses_a", "While unwanted");
		expect(await read(none)).toEqual([]);
		expect(await read(none)).toEqual([]);
		expect(JSON.stringify(await entitiesOf())).toContain("While unwanted");
	});

	it("above the limit are not read, and set aside with their size", async () => {
		message("ses_a", "msg_1");
		part("msg_1", "prt_1", "one");
		truncateSync(join(storage, "part/msg_1/prt_1.json"), 33 * 1024 * 1024);
		const poison = (await entitiesOf()).find(({ key }) => key === "part/msg_1/prt_1");
		expect(poison).toMatchObject({ code: "too_large", reason: expect.stringContaining("34603008 bytes") });
	});

	it("beside others (backups, folders, notes) are the only ones that are read", async () => {
		write("session/global/.ses_b.json", {});
		write("session/global/ses_c.json.bak", {});
		write("session/README.md", "no project");
		write("message/ses_a/notes.txt", "no message");
		expect(keysOf(await entitiesOf())).toEqual(["session", "todo"]);
	});
});

describe("a file that is half there", () => {
	it("holds its session back until it is whole; nothing of it is taken for removed", async () => {
		message("ses_a", "msg_1");
		part("msg_1", "prt_1", "one");
		await read();
		write("part/msg_1/prt_1.json", '{"id": "prt');
		now += 10;
		expect(await read()).toEqual([]);
		await vi.waitFor(() => expect(source.changed()).toBe(true));
		part("msg_1", "prt_1", "whole");
		expect(JSON.stringify(await entitiesOf())).toContain("whole");
	});

	it("is damaged when it stays so, and then the session goes on", async () => {
		message("ses_a", "msg_1");
		await read();
		write("message/ses_a/msg_1.json", "");
		session("ses_a", "Goes on");
		expect(await read()).toEqual([]);
		const entities = await entitiesOf();
		expect(entities.find(({ key }) => key === "message/msg_1")).toMatchObject({ code: "invalid_payload" });
		expect(JSON.stringify(entities)).toContain("Goes on");
		message("ses_a", "msg_1");
		expect((await entitiesOf()).filter((entity) => "code" in entity)).toEqual([]);
	});

	it("that is a session's own keeps it from being told under nobody's directory, and from counting as deleted", async () => {
		session("ses_b");
		write("session/global/ses_b.json", "{");
		expect(keysOf(await entitiesOf())).toEqual(["session", "todo"]);
		captured.set("ses_b", { watermark: null, deleted: false });
		await read();
		const [gone] = await read();
		expect(gone).toMatchObject({
			kind: "vanished",
			session_id: "ses_b",
			reason: expect.stringContaining("ses_b.json"),
		});
		session("ses_b", "Mended");
		expect(JSON.stringify(await entitiesOf())).toContain("Mended");
	});
});

describe("a session that is gone", () => {
	it("was deleted when it stays away", async () => {
		await read();
		rmSync(join(storage, "session/global/ses_a.json"));
		await vi.waitFor(() => expect(source.changed()).toBe(true));
		expect(await read()).toEqual([]);
		expect(only(await read(), "deleted").session_id).toBe("ses_a");
		expect(await read()).toEqual([]);
		session("ses_a", "Back");
		expect(JSON.stringify(await entitiesOf())).toContain("Back");
	});

	it("for a moment, because OpenCode moves it to another project, was not", async () => {
		await read();
		rmSync(join(storage, "session/global/ses_a.json"));
		expect(await read()).toEqual([]);
		session("ses_a", "A title", "project");
		expect((await read()).filter(({ kind }) => kind !== "snapshot")).toEqual([]);
	});

	it("while its messages are not, was not deleted by OpenCode", async () => {
		for (const id of ["1", "2", "3", "4"]) message("ses_a", `msg_${id}`);
		await read();
		rmSync(join(storage, "session/global/ses_a.json"));
		await read();
		expect(only(await read(), "vanished").reason).toContain("4 of its messages are not");
	});

	it("loses no message on the share while OpenCode is deleting it", async () => {
		for (const id of ["1", "2"]) message("ses_a", `msg_${id}`);
		await read();
		rmSync(join(storage, "message/ses_a/msg_1.json"));
		now -= 10_000;
		expect(await read()).toEqual([]);
		expect(keysOf(await entitiesOf())).toEqual(["session", "message/msg_2", "todo"]);
	});

	it("is not missed in another folder, nor in a copy that took its place", async () => {
		await read();
		const { identity } = source;
		renameSync(storage, `${storage}-old`);
		session("ses_b");
		await expect(read()).rejects.toMatchObject({ code: "no_source" });
		source = open({ identity });
		expect((await read()).map(({ kind }) => kind)).toEqual(["snapshot", "vanished"]);
		expect(await read()).toEqual([]);
	});

	it("is missed after a restart, in the folder that was captured from", async () => {
		await read();
		rmSync(join(storage, "session/global/ses_a.json"));
		source = open({ identity: source.identity });
		await read();
		expect(only(await read(), "deleted").session_id).toBe("ses_a");
	});
});
