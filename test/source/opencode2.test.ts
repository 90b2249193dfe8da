import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openSqlite } from "../../src/sqlite/driver.ts";
import {
	type Folder,
	handmade,
	keysOf,
	type OpencodeDatabase,
	only,
	openSource,
	Reader,
	temporaryFolder,
} from "./opencode-database.ts";

/** The tables of OpenCode 2.0.25 that hold sessions, as public readers of them give them; foreign keys left out. */
const SESSION_V2 = `CREATE TABLE session_v2 (
	id text PRIMARY KEY, project_id text NOT NULL, workspace_id text, parent_id text, fork_session_id text,
	fork_boundary text, slug text NOT NULL, directory text NOT NULL, path text, title text, version text NOT NULL,
	share_url text, summary_additions integer, summary_deletions integer, summary_files integer, summary_diffs text,
	metadata text, cost real DEFAULT 0 NOT NULL, tokens_input integer DEFAULT 0 NOT NULL,
	tokens_output integer DEFAULT 0 NOT NULL, tokens_reasoning integer DEFAULT 0 NOT NULL,
	tokens_cache_read integer DEFAULT 0 NOT NULL, tokens_cache_write integer DEFAULT 0 NOT NULL, revert text,
	permission text, agent text, model text, time_created integer NOT NULL, time_updated integer NOT NULL,
	time_idle integer, time_viewed integer, idle_outcome text, time_compacting integer, time_archived integer,
	time_suspended integer, resume_attempts integer DEFAULT 0 NOT NULL
)`;
const SESSION_MESSAGE = `CREATE TABLE session_message (
	id text PRIMARY KEY, session_id text NOT NULL, type text NOT NULL, seq integer NOT NULL,
	time_created integer NOT NULL, time_updated integer NOT NULL, data text NOT NULL
)`;
/** OpenCode 2 counts events that it does not keep. */
const EVENTS = `
	CREATE TABLE event_sequence (aggregate_id text PRIMARY KEY, seq integer NOT NULL, owner_id text);
	CREATE TABLE event (id text PRIMARY KEY, aggregate_id text NOT NULL, seq integer NOT NULL,
		created integer DEFAULT 0 NOT NULL, type text NOT NULL, data text NOT NULL);
	CREATE UNIQUE INDEX event_aggregate_seq_idx ON event (aggregate_id, seq)`;

const insertSession = (id: string, updated = 2, title: string | null = "Of 2") => `INSERT INTO session_v2
	(id, project_id, slug, directory, title, version, time_created, time_updated)
	VALUES ('${id}', 'p', 's', '/project', ${title === null ? "NULL" : `'${title}'`}, '2.0.25', 1, ${updated})`;
const insertMessage = (id: string, seq: number, type: string, data: object) => `INSERT INTO session_message
	VALUES ('${id}', 'ses_a', '${type}', ${seq}, 1, 1, '${JSON.stringify(data)}')`;

let folder: Folder;
beforeEach(() => {
	folder = temporaryFolder();
});
afterEach(() => folder.remove());

async function database(...statements: string[]): Promise<string> {
	const path = join(folder.path, "opencode.db");
	const sqlite = await openSqlite(path);
	for (const sql of statements) sqlite.exec(sql);
	sqlite.close();
	return path;
}

async function refusal(path: string): Promise<{ code?: string; message?: string }> {
	try {
		(await openSource(path)).close();
		return {};
	} catch (error) {
		return error as { code: string; message: string };
	}
}

describe("a database of OpenCode 2 alone", () => {
	it("is read by its tables, without parts and without a log, and is said to be untried", async () => {
		const path = await database(
			SESSION_V2,
			SESSION_MESSAGE,
			EVENTS,
			insertSession("ses_a", 2, null),
			insertMessage("msg_2", 2, "assistant", {
				content: [{ type: "text", text: "hi" }],
				model: { id: "m", providerID: "p" },
			}),
			insertMessage("msg_1", 1, "user", { text: "hello" }),
			"INSERT INTO event_sequence VALUES ('ses_a', 9, NULL)",
		);
		const reader = await Reader.open(path);
		expect(reader.source.notice).toContain("was never tried with OpenCode 2");
		const told = only(await reader.read(), "snapshot");
		expect(told).toMatchObject({ to: null, session: { title: "", directory: "/project" } });
		expect(keysOf(told.entities)).toEqual(["session", "message/msg_1", "message/msg_2", "todo"]);
		expect(told.entities[1]).toMatchObject({
			payload: JSON.stringify({ id: "msg_1", sessionID: "ses_a", text: "hello", type: "user" }),
		});
		expect(await reader.source.models("ses_a")).toEqual([{ providerID: "p", modelID: "m" }]);
		expect(await reader.read()).toEqual([]);

		await database("UPDATE session_message SET data = '{\"text\":\"edited\"}', time_updated = 2 WHERE id = 'msg_1'");
		expect(JSON.stringify(only(await reader.read(), "snapshot").entities)).toContain("edited");
		await database("DELETE FROM session_v2", "DELETE FROM session_message");
		expect(only(await reader.read(), "deleted").session_id).toBe("ses_a");
		reader.source.close();
	});

	it("is read when a later version has added columns and tables", async () => {
		const path = await database(
			SESSION_V2,
			SESSION_MESSAGE,
			"ALTER TABLE session_v2 ADD COLUMN mood text",
			"ALTER TABLE session_message ADD COLUMN weight integer",
			"CREATE TABLE session_v3 (id text)",
			insertSession("ses_a"),
		);
		const reader = await Reader.open(path);
		expect(keysOf(only(await reader.read(), "snapshot").entities)).toEqual(["session", "todo"]);
		reader.source.close();
	});

	it("is refused by name when its columns are not those that are known", async () => {
		const path = await database(SESSION_V2, SESSION_MESSAGE.replace("data text NOT NULL", "body text NOT NULL"));
		expect(await refusal(path)).toMatchObject({
			code: "unknown_schema",
			message: expect.stringContaining(
				"is not laid out as OpenCode 2's database was when this was written: its table session_message lacks data",
			),
		});
	});

	it("is refused by name when a table is missing", async () => {
		expect(await refusal(await database(SESSION_V2))).toMatchObject({
			code: "unknown_schema",
			message: expect.stringContaining(
				"OpenCode 2's database was when this was written: it has no table session_message",
			),
		});
	});
});

describe("a database that OpenCode 1 and 2 share", () => {
	let made: { folder: Folder; opencode: OpencodeDatabase; reader: Reader };
	beforeEach(async () => {
		made = await handmade();
		const { sql } = made.opencode;
		for (const statement of [SESSION_V2, SESSION_MESSAGE]) sql.exec(statement);
		sql.exec("ALTER TABLE event ADD COLUMN created integer DEFAULT 0 NOT NULL");
		made.opencode.session("ses_a", false);
		await made.reader.restart();
	});
	afterEach(() => {
		made.reader.source.close();
		made.opencode.sql.close();
		made.folder.remove();
	});

	it("is read as OpenCode 1's, and what only OpenCode 2 has is left out and counted", async () => {
		const { opencode, reader } = made;
		opencode.message("ses_a", "msg_1", "of 1", false);
		opencode.sql.exec(insertSession("ses_a", 1));
		expect(keysOf(only(await reader.read(), "snapshot").entities)).toEqual(["session", "message/msg_1", "todo"]);
		expect(reader.source.notice).toBeUndefined();
		opencode.sql.exec("UPDATE session_v2 SET time_updated = 5");
		opencode.sql.exec(insertSession("ses_b"));
		expect(await reader.read()).toEqual([]);
		expect(reader.source.notice).toContain("OpenCode 2 has 2 sessions");
	});

	it("is followed by its log where that has the new column", async () => {
		const { opencode, reader } = made;
		opencode.sql.exec(`
			INSERT INTO event_sequence VALUES ('ses_a', 0, NULL);
			INSERT INTO event (id, aggregate_id, seq, type, data, created) VALUES ('evt_1', 'ses_a', 0, 'session.created.1',
				'{"sessionID":"ses_a","info":{"id":"ses_a"}}', 5)`);
		expect(only(await reader.read(), "log").to).toEqual({ seq: 0, event_id: "evt_1" });
	});
});

describe("a log that OpenCode 1.15 writes only behind a flag", () => {
	it("is not believed: what is written without it is told all the same", async () => {
		const { folder, opencode, reader } = await handmade();
		opencode.sql.exec("DROP INDEX event_aggregate_seq_idx");
		await reader.restart();
		opencode.session("ses_a");
		opencode.message("ses_a", "msg_1");
		expect(only(await reader.read(), "snapshot").to).toBeNull();
		opencode.message("ses_a", "msg_2", "written without the flag", false);
		expect(keysOf(only(await reader.read(), "snapshot").entities)).toContain("message/msg_2");
		opencode.part("ses_a", "msg_1", "prt_1", "one", false);
		await reader.read();
		opencode.sql.exec(`UPDATE part SET data = '{"type":"text","text":"rewritten"}', time_updated = 5`);
		expect(JSON.stringify(only(await reader.read(), "snapshot").entities)).toContain("rewritten");

		// The upgrade, with the agent running: the log is wiped, and believed from then on.
		opencode.wipeLog();
		opencode.sql.exec("CREATE UNIQUE INDEX event_aggregate_seq_idx ON event (aggregate_id, seq)");
		opencode.session("ses_b");
		const reads = await reader.read();
		expect(reads.find(({ kind }) => kind === "log")).toMatchObject({
			session: { session_id: "ses_b" },
			to: { seq: 0 },
		});
		opencode.message("ses_b", "msg_b");
		expect(keysOf(only(await reader.read(), "log").changes)).toEqual(["message/msg_b"]);
		reader.source.close();
		opencode.sql.close();
		folder.remove();
	});
});

describe("a file that is none of OpenCode's", () => {
	it.each([
		["another program's database", async () => database("CREATE TABLE bookmark (id text)"), "unknown_schema"],
		["an empty file", async () => text(""), "no_source"],
		["a text", async () => text("No database, but quite long for a note. ".repeat(100)), "corrupt"],
	])("is refused: %s", async (_, make, code) => {
		expect(await refusal(await make())).toMatchObject({ code, message: expect.stringContaining("opencode.db") });
	});

	function text(content: string): string {
		const path = join(folder.path, "opencode.db");
		writeFileSync(path, content);
		return path;
	}
});
