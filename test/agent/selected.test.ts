import { join } from "node:path";
import { beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { Capture } from "../../src/agent/capture.ts";
import { sendable } from "../../src/agent/flusher.ts";
import { EVERYTHING, type SelectionRules, type ShareMode } from "../../src/agent/selection.ts";
import { systemClock } from "../../src/model/clock.ts";
import { silent } from "../../src/model/logger.ts";
import { type Outbox, openOutbox } from "../../src/outbox/outbox.ts";
import { openReport } from "../../src/outbox/report.ts";
import { type Folder, handmade, type OpencodeDatabase, openSource, type Reader } from "../source/opencode-database.ts";

let opencode: OpencodeDatabase;
let reader: Reader;
let folder: Folder;
let outbox: Outbox;

beforeEach(async () => {
	({ opencode, reader, folder } = await handmade());
	outbox = await openOutbox(join(folder.path, "outbox.db"));
	onTestFinished(() => {
		outbox.close();
		reader.source.close();
		opencode.sql.close();
		folder.remove();
	});
	for (const id of ["ses_a", "ses_b"]) {
		opencode.session(id);
		opencode.message(id, `msg_${id}`);
	}
});

/** One pass of an agent that was just started with these rules. */
async function pass(rules: Partial<SelectionRules> = {}, mode: ShareMode = "auto"): Promise<Capture> {
	const selection = { ...EVERYTHING, ...rules };
	const capture = new Capture({ outbox, mode, selection, clock: systemClock, log: silent });
	const source = await openSource(opencode.path);
	await capture.pass(source, new AbortController().signal);
	source.close();
	return capture;
}

async function report() {
	const opened = await openReport(outbox.path);
	const read = opened?.read(Date.now());
	opened?.close();
	if (read === undefined) throw new Error("no report");
	return { totals: read.totals, sessions: new Map(read.sessions.map((row) => [row.session_id, row])) };
}

const retitle = (id: string, title: string) => {
	opencode.sql.prepare("UPDATE session SET title = ? WHERE id = ?").run(title, id);
	opencode.event(id, "session.updated.1", { sessionID: id, info: { id, title } });
};
const due = (mode: ShareMode = "auto") => sendable(outbox, mode).map((row) => row.session_id);

describe("a session that the rules leave out", () => {
	test("is not captured, and nothing but its id and the reason is kept", async () => {
		await pass({ excludeTitle: ["ses_a$"] });
		const { totals, sessions } = await report();
		expect(sessions.get("ses_a")).toMatchObject({
			...{
				state: "excluded",
				excluded: "its title matches --exclude-title ses_a$",
				title: "",
				directory: "",
				pending: 0,
			},
		});
		expect(sessions.get("ses_b")).toMatchObject({ excluded: null, pending: 2 });
		expect(totals).toMatchObject({ pending: 2, excluded: 0 });
		expect(due()).toEqual(["ses_b"]);
	});

	test("begins like any other once it is taken: from its log", async () => {
		await pass({ excludeTitle: ["ses_a$"] });
		expect(outbox.captured().has("ses_a")).toBe(false);
		await pass();
		expect(outbox.excluded()).toEqual(new Map());
		expect(outbox.session("ses_a")?.watermark).toMatchObject({ seq: 1 });
		expect(outbox.retained("ses_a").map(({ key }) => key)).toContain("message/msg_ses_a");
	});

	test("is forgotten with the session, when OpenCode deletes it", async () => {
		await pass({ excludeTitle: ["ses_a$"] });
		opencode.deleteSession("ses_a");
		await pass({ excludeTitle: ["ses_a$"] });
		expect((await report()).sessions.has("ses_a")).toBe(false);
	});

	test("after it was begun is read no further; what is pending waits, and goes on where it was", async () => {
		const rules = { excludeTitle: ["(?i)private"] };
		await pass(rules);
		const before = outbox.session("ses_a");
		expect(before?.pending).toBe(2);
		retitle("ses_a", "Private matters");
		opencode.message("ses_a", "msg_late");
		await pass(rules);
		expect(outbox.session("ses_a")).toEqual(before);
		expect(outbox.line("ses_a")?.held).toBe(1);
		expect(due()).toEqual(["ses_b"]);
		const { totals, sessions } = await report();
		expect(sessions.get("ses_a")).toMatchObject({ state: "excluded", pending: 2, title: "Title of ses_a" });
		expect(totals).toMatchObject({ pending: 2, excluded: 2 });

		retitle("ses_a", "Public matters");
		await pass(rules);
		expect(due().sort()).toEqual(["ses_a", "ses_b"]);
		expect(outbox.retained("ses_a").map(({ key }) => key)).toContain("message/msg_late");
		expect(outbox.session("ses_a")?.watermark).toMatchObject({ seq: 4 });
	});

	test("is sent as soon as a person asks for it, and captured with the next look", async () => {
		const rules = { exclude: ["/project"] };
		await pass();
		await pass(rules);
		expect(due()).toEqual([]);
		outbox.want("ses_a", "share");
		expect(due()).toEqual(["ses_a"]);
		opencode.message("ses_a", "msg_late");
		await pass(rules);
		expect(outbox.retained("ses_a").map(({ key }) => key)).toContain("message/msg_late");
		expect(outbox.excluded().has("ses_a")).toBe(false);
	});

	test("is held back before the first look, when it was captured under other rules", async () => {
		await pass();
		const selection = { ...EVERYTHING, exclude: ["/project"] };
		const capture = new Capture({ outbox, mode: "auto", selection, clock: systemClock, log: silent });
		expect(due()).toHaveLength(2);
		capture.holdBack();
		expect(due()).toEqual([]);
	});

	test("takes in no states that come by another way", async () => {
		await pass();
		const capture = await pass({ exclude: ["/project"] });
		const state = { event_id: null, seq: null, type: "session_diff", key: "session_diff", payload: "[1]" } as const;
		expect(capture.appendState("ses_a", [state])).toBe(false);
		expect(outbox.isCaptured("ses_a", "session_diff")).toBe(false);
	});

	test("whose deletion nobody wants to know is not told as deleted", async () => {
		await pass();
		await pass({ excludeTitle: ["ses_a$"] });
		opencode.deleteSession("ses_a");
		await pass({ excludeTitle: ["ses_a$"] });
		expect(outbox.session("ses_a")?.source_state).toBe("present");
	});
});

test("age keeps a session from beginning, not from going on", async () => {
	const at = (id: string, ms: number) =>
		opencode.sql.prepare("UPDATE session SET time_updated = ? WHERE id = ?").run(ms, id);
	at("ses_a", Date.now() - 3_600_000);
	at("ses_b", Date.now());
	await pass({ maxAgeMs: 60_000 });
	expect([...outbox.captured().keys()]).toEqual(["ses_b"]);
	at("ses_b", 1);
	opencode.message("ses_b", "msg_late");
	at("ses_a", Date.now());
	await pass({ maxAgeMs: 60_000 });
	expect(outbox.retained("ses_b").map(({ key }) => key)).toContain("message/msg_late");
	expect([...outbox.captured().keys()].sort()).toEqual(["ses_a", "ses_b"]);
});

test("with manual, a sub-session is captured and sent with the session that was asked for", async () => {
	opencode.session("ses_child");
	opencode.session("ses_grandchild");
	opencode.sql.exec("UPDATE session SET parent_id = 'ses_a' WHERE id = 'ses_child'");
	opencode.sql.exec("UPDATE session SET parent_id = 'ses_child' WHERE id = 'ses_grandchild'");
	outbox.want("ses_a", "share");
	await pass({}, "manual");
	expect(due("manual").sort()).toEqual(["ses_a", "ses_child", "ses_grandchild"]);
	expect(outbox.session("ses_b")).toBeUndefined();
});
