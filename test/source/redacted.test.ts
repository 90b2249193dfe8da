import { beforeEach, expect, it, onTestFinished } from "vitest";
import { Redactor } from "../../src/redaction/redactor.ts";
import { redactedChanges, redactedSource } from "../../src/source/redacted.ts";
import type { SessionFacts, SessionRead, Source } from "../../src/source/source.ts";
import { handmade, type OpencodeDatabase } from "./opencode-database.ts";

const TOKEN = `ghp_${"aB3dE6gH9j".repeat(4)}`;
const MARK = "[redacted:github-token]";
const RULES = Redactor.of({ detectors: ["github-token"], patterns: [] }) as Redactor;

let opencode: OpencodeDatabase;
let source: Source;

beforeEach(async () => {
	const made = await handmade();
	opencode = made.opencode;
	source = redactedSource(made.reader.source, RULES);
	onTestFinished(() => {
		source.close();
		opencode.sql.close();
		made.folder.remove();
	});
	opencode.session("ses_a");
	opencode.message("ses_a", "msg_1", TOKEN);
	opencode.part("ses_a", "msg_1", "prt_1", `x ${TOKEN}`);
	opencode.todo("ses_a", `do ${TOKEN}`);
	opencode.sql.prepare("UPDATE session SET title = ?, directory = ?").run(`T ${TOKEN}`, `/d/${TOKEN}`);
});

async function read(seen: SessionFacts[] = []): Promise<SessionRead[]> {
	const choose = (sessions: readonly SessionFacts[]) => {
		seen.push(...sessions);
		return new Set(sessions.map(({ session_id }) => session_id));
	};
	const reads: SessionRead[] = [];
	for await (const one of source.read(new Map(), choose, new AbortController().signal)) reads.push(one);
	return reads;
}

it("tells no secret of a log, of its state, or of the session itself", async () => {
	const reads = await read();
	expect(reads).toMatchObject([{ kind: "log", session: { title: `T ${MARK}`, directory: `/d/${MARK}` } }]);
	const text = JSON.stringify(reads);
	expect(text).not.toContain(TOKEN);
	// The message, its part, the todo, the row's title and directory, and both again in the facts.
	expect(text.split(MARK)).toHaveLength(8);
});

it("shows titles and directories as they are to who chooses", async () => {
	const seen: SessionFacts[] = [];
	await read(seen);
	expect(seen).toMatchObject([{ title: `T ${TOKEN}`, directory: `/d/${TOKEN}` }]);
});

it("tells the same of a session by its log and by a snapshot", async () => {
	const [log] = await read();
	const snapshot = await source.snapshot("ses_a");
	expect(JSON.stringify(snapshot)).not.toContain(TOKEN);
	const part = (entities: readonly object[]) =>
		entities.filter((one) => "payload" in one && "key" in one && one.key === "part/msg_1/prt_1");
	expect(log?.kind).toBe("log");
	if (log?.kind !== "log" || snapshot === undefined) return;
	const payloads = [part(snapshot.entities), part(log.changes)].map(([one]) => one && "payload" in one && one.payload);
	expect(payloads[0]).toBe(payloads[1]);
	expect(payloads[0]).toContain(MARK);
});

it("repeats nothing of a row that is no JSON", async () => {
	opencode.event("ses_a", "message.part.updated.1", `password hunter2 {${TOKEN}`);
	opencode.sql.prepare("UPDATE part SET data = ?").run(`{"hunter2`);
	const text = JSON.stringify([await read(), await source.snapshot("ses_a")]);
	expect(text).toContain("cannot be read: it is not JSON");
	expect(text).not.toMatch(/hunter2|ghp_/);
});

it("is the source itself without rules; states from elsewhere go through the same rules", () => {
	expect(redactedSource(source, undefined)).toBe(source);
	const state = {
		event_id: null,
		seq: null,
		type: "session_diff",
		key: "session_diff",
		payload: `["${TOKEN}"]`,
	} as const;
	expect(redactedChanges([state], RULES)).toEqual([{ ...state, payload: `["${MARK}"]` }]);
	expect(redactedChanges([state], undefined)).toEqual([state]);
});
