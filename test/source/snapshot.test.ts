import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Watermark } from "../../src/model/op.ts";
import type { SessionRead } from "../../src/source/source.ts";
import {
	type Folder,
	handmade,
	keysOf,
	type OpencodeDatabase,
	only,
	type Reader,
	takeAll,
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

	it("without any log is captured again when its capture was forgotten", async () => {
		opencode.session("ses_a", false);
		await reader.read();
		expect(await reader.read()).toEqual([]);
		reader.captured.set("ses_a", { watermark: null, deleted: false, empty: true });
		only(await reader.read(), "snapshot");
		expect(await reader.read()).toEqual([]);
		reader.captured.delete("ses_a");
		only(await reader.read(), "snapshot");
	});

	it("without any log is captured again when it was not wanted in between, since that may forget it", async () => {
		opencode.session("ses_a", false);
		await reader.read();
		await reader.read(() => false);
		only(await reader.read(), "snapshot");
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

describe("a snapshot of a large session", () => {
	const text = "x".repeat(300_000);
	beforeEach(() => {
		opencode.session("ses_a", false);
		for (let n = 1; n <= 3; n++) {
			opencode.message("ses_a", `msg_${n}`, text, false);
			for (let p = 1; p <= 4; p++) opencode.part("ses_a", `msg_${n}`, `prt_${n}${p}`, text, false);
		}
	});
	const parts = async () =>
		(await reader.read()).map((read) => {
			if (read.kind !== "snapshot") throw new Error(read.kind);
			return read;
		});

	it("comes in parts of 1 MiB, each entity once and in order; the last one tells what the others held", async () => {
		const reads = await parts();
		expect(reads.length).toBeGreaterThanOrEqual(4);
		expect(reads.map(({ isPartial }) => isPartial ?? false)).toEqual([...reads.slice(1).map(() => true), false]);
		const all = reads.flatMap(({ entities }) => keysOf(entities));
		expect(all).toEqual(keysOf((await reader.source.snapshot("ses_a"))?.entities ?? []));
		expect([...(reads.at(-1)?.told ?? [])]).toEqual(reads.slice(0, -1).flatMap(({ entities }) => keysOf(entities)));
		for (const { entities } of reads)
			expect(entities.reduce((sum, entity) => sum + ("payload" in entity ? entity.payload.length : 0), 0)).toBeLessThan(
				1024 * 1024 + 2 * text.length,
			);
		expect(await reader.read()).toEqual([]);
	});

	it("is of where the log stood when it began, so that the log tells what came meanwhile", async () => {
		opencode.event("ses_a", "session.updated.1", { sessionID: "ses_a", info: { id: "ses_a" } });
		const began = opencode.lastEvent;
		const captured = new Map(reader.captured);
		const reads: SessionRead[] = [];
		for await (const read of reader.source.read(captured, takeAll, new AbortController().signal)) {
			if (reads.push(read) === 1) opencode.message("ses_a", "msg_0", "while it was read");
		}
		expect(reads.at(-1)).toMatchObject({ kind: "snapshot", to: { event_id: began } });
		reader.captured.set("ses_a", { watermark: (reads.at(-1) as { to: Watermark }).to, deleted: false });
		expect(keysOf(only(await reader.read(), "log").changes)).toEqual(["message/msg_0"]);
	});

	it("begins again when it was left before its end", async () => {
		for await (const read of reader.source.read(new Map(), takeAll, new AbortController().signal)) {
			expect(read).toMatchObject({ kind: "snapshot", isPartial: true });
			break;
		}
		const all = (await parts()).flatMap(({ entities }) => keysOf(entities));
		expect(all).toEqual(keysOf((await reader.source.snapshot("ses_a"))?.entities ?? []));
	});

	it("ends without a last part when the session is deleted meanwhile", async () => {
		const reads: SessionRead[] = [];
		for await (const read of reader.source.read(new Map(), takeAll, new AbortController().signal)) {
			if (reads.push(read) === 1) opencode.deleteSession("ses_a");
		}
		expect(reads).toEqual([expect.objectContaining({ isPartial: true })]);
	});
});
