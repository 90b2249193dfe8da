import { deepStrictEqual } from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSource, type DatabaseSourceOptions } from "../../src/source/database.ts";
import { findOpencodeDatabase } from "../../src/source/discovery.ts";
import type { Captured, Choose, SessionRead } from "../../src/source/source.ts";
import { openSqlite, type Sqlite, type Statement } from "../../src/sqlite/driver.ts";

/** The tables of OpenCode 1.18.33 that hold sessions, word for word; foreign keys to others left out. */
const SCHEMA = `
	CREATE TABLE migration (id TEXT PRIMARY KEY, time_completed INTEGER NOT NULL);
	CREATE TABLE event_sequence (aggregate_id text PRIMARY KEY, seq integer NOT NULL, owner_id text);
	CREATE TABLE event (
		id text PRIMARY KEY, aggregate_id text NOT NULL, seq integer NOT NULL, type text NOT NULL, data text NOT NULL,
		FOREIGN KEY (aggregate_id) REFERENCES event_sequence(aggregate_id) ON DELETE CASCADE
	);
	CREATE UNIQUE INDEX event_aggregate_seq_idx ON event (aggregate_id, seq);
	CREATE INDEX event_aggregate_type_seq_idx ON event (aggregate_id, type, seq);
	CREATE TABLE session (
		id text PRIMARY KEY, project_id text NOT NULL, workspace_id text, parent_id text, slug text NOT NULL,
		directory text NOT NULL, path text, title text NOT NULL, version text NOT NULL, share_url text,
		summary_additions integer, summary_deletions integer, summary_files integer, summary_diffs text, metadata text,
		cost real DEFAULT 0 NOT NULL, tokens_input integer DEFAULT 0 NOT NULL, tokens_output integer DEFAULT 0 NOT NULL,
		tokens_reasoning integer DEFAULT 0 NOT NULL, tokens_cache_read integer DEFAULT 0 NOT NULL,
		tokens_cache_write integer DEFAULT 0 NOT NULL, revert text, permission text, agent text, model text,
		time_created integer NOT NULL, time_updated integer NOT NULL, time_compacting integer, time_archived integer
	);
	CREATE TABLE message (
		id text PRIMARY KEY, session_id text NOT NULL, time_created integer NOT NULL, time_updated integer NOT NULL,
		data text NOT NULL, FOREIGN KEY (session_id) REFERENCES session(id) ON DELETE CASCADE
	);
	CREATE INDEX message_session_time_created_id_idx ON message (session_id, time_created, id);
	CREATE TABLE part (
		id text PRIMARY KEY, message_id text NOT NULL, session_id text NOT NULL, time_created integer NOT NULL,
		time_updated integer NOT NULL, data text NOT NULL, FOREIGN KEY (message_id) REFERENCES message(id) ON DELETE CASCADE
	);
	CREATE INDEX part_message_id_id_idx ON part (message_id, id);
	CREATE INDEX part_session_idx ON part (session_id);
	CREATE TABLE todo (
		session_id text NOT NULL, content text NOT NULL, status text NOT NULL, priority text NOT NULL,
		position integer NOT NULL, time_created integer NOT NULL, time_updated integer NOT NULL,
		PRIMARY KEY (session_id, position), FOREIGN KEY (session_id) REFERENCES session(id) ON DELETE CASCADE
	);
`;

/** When the handmade databases were made, and the clock of the sources that read them; events lie between. */
export const MADE_AT = Date.UTC(2026, 0, 1);
export const NOW = Date.UTC(2026, 1, 1);

/** An OpenCode database made by hand: writes as OpenCode's projectors do, and in the ways that break a log. */
export class OpencodeDatabase {
	readonly sql: Sqlite;
	readonly path: string;
	/** Id of the event that was written last. */
	lastEvent: string | undefined;
	readonly #prepared = new Map<string, Statement>();
	readonly #now: () => number;
	#events = 0;

	/** A new one, made at MADE_AT; its events lie a minute apart. */
	static async create(path: string): Promise<OpencodeDatabase> {
		const database = await OpencodeDatabase.#connect(path, () => MADE_AT + (database.#events + 1) * 60_000);
		database.#make(MADE_AT);
		return database;
	}

	/** The one that is there, or a new one: what a starting OpenCode does. Its events tell the present time. */
	static async open(path: string): Promise<OpencodeDatabase> {
		const database = await OpencodeDatabase.#connect(path, Date.now);
		const { sql } = database;
		// At once, so that a kill leaves it made or not made.
		sql.transaction(() => {
			if (!sql.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'migration'").get()) database.#make(Date.now());
		});
		return database;
	}

	static async #connect(path: string, now: () => number): Promise<OpencodeDatabase> {
		const sql = await openSqlite(path);
		sql.exec("PRAGMA journal_mode = WAL");
		sql.exec("PRAGMA foreign_keys = ON");
		return new OpencodeDatabase(sql, path, now);
	}

	private constructor(sql: Sqlite, path: string, now: () => number) {
		this.sql = sql;
		this.path = path;
		this.#now = now;
	}

	#make(at: number): void {
		this.sql.exec(SCHEMA);
		this.sql.prepare("INSERT INTO migration VALUES ('first', ?)").run(at);
	}

	/** Appends an event to the log alone. @returns its id, which tells its time and, within a process, its number. */
	event(sessionId: string, type: string, data: unknown): string {
		const at = this.#now();
		const id = `evt_${BigInt.asUintN(48, BigInt(at) * 4096n)
			.toString(16)
			.padStart(12, "0")}${++this.#events}`;
		const text = typeof data === "string" ? data : JSON.stringify(data);
		this.#statement("INSERT INTO event_sequence VALUES (?, 0, NULL) ON CONFLICT DO UPDATE SET seq = seq + 1").run(
			sessionId,
		);
		this.#statement(
			"INSERT INTO event SELECT ?, aggregate_id, seq, ?, ? FROM event_sequence WHERE aggregate_id = ?",
		).run(id, type, text, sessionId);
		this.lastEvent = id;
		return id;
	}

	/** A session with its row, and with the first event unless `logged` is false. */
	session(id: string, logged = true): void {
		const directory = "/project";
		this.#statement(`INSERT INTO session (id, project_id, slug, directory, title, version, time_created, time_updated)
				VALUES (?, 'global', 'slug', ?, ?, '1.18.33', 1, 1)`).run(id, directory, `Title of ${id}`);
		if (logged) this.event(id, "session.created.1", { sessionID: id, info: { id, title: `Title of ${id}` } });
	}

	message(sessionId: string, id: string, text: unknown = "", logged = true): void {
		const info = { id, sessionID: sessionId, role: "user", text };
		this.#statement("INSERT INTO message VALUES (?, ?, 1, 1, ?) ON CONFLICT DO UPDATE SET data = excluded.data").run(
			id,
			sessionId,
			JSON.stringify({ role: "user", text }),
		);
		if (logged) this.event(sessionId, "message.updated.1", { sessionID: sessionId, info });
	}

	part(sessionId: string, messageID: string, id: string, text: unknown = "", logged = true): void {
		const part = { id, sessionID: sessionId, messageID, type: "text", text };
		this.#statement("INSERT INTO part VALUES (?, ?, ?, 1, 1, ?) ON CONFLICT DO UPDATE SET data = excluded.data").run(
			id,
			messageID,
			sessionId,
			JSON.stringify({ type: "text", text }),
		);
		if (logged) this.event(sessionId, "message.part.updated.1", { sessionID: sessionId, part, time: 1 });
	}

	removeMessage(sessionId: string, messageID: string): void {
		this.#statement("DELETE FROM message WHERE id = ?").run(messageID);
		this.event(sessionId, "message.removed.1", { sessionID: sessionId, messageID });
	}

	removePart(sessionId: string, messageID: string, partID: string): void {
		this.#statement("DELETE FROM part WHERE id = ?").run(partID);
		this.event(sessionId, "message.part.removed.1", { sessionID: sessionId, messageID, partID });
	}

	todo(sessionId: string, content: string, at = 1): void {
		this.#statement("INSERT OR REPLACE INTO todo VALUES (?, ?, 'pending', 'high', 0, 1, ?)").run(
			sessionId,
			content,
			at,
		);
	}

	/** As OpenCode does it: no tombstone. */
	deleteSession(id: string): void {
		this.#statement("DELETE FROM session WHERE id = ?").run(id);
		this.#statement("DELETE FROM event_sequence WHERE aggregate_id = ?").run(id);
		this.#statement("DELETE FROM event WHERE aggregate_id = ?").run(id);
	}

	/** As OpenCode's upgrades do it. */
	wipeLog(): void {
		this.sql.exec("DELETE FROM event; DELETE FROM event_sequence");
	}

	#statement(sql: string): Statement {
		const statement = this.#prepared.get(sql) ?? this.sql.prepare(sql);
		this.#prepared.set(sql, statement);
		return statement;
	}
}

/** A source on a database, and the capture that an outbox would keep of it. */
export class Reader {
	readonly captured = new Map<string, Captured>();
	source: DatabaseSource;

	static async open(path: string, options: DatabaseSourceOptions = {}): Promise<Reader> {
		return new Reader(await openSource(path, options));
	}

	private constructor(source: DatabaseSource) {
		this.source = source;
	}

	/** One read to its end; what it told is captured. */
	async read(wanted: (id: string) => boolean = () => true, signal = new AbortController().signal) {
		const reads: SessionRead[] = [];
		const captured = new Map([...this.captured].map(([id, entry]) => [id, { ...entry, unwanted: !wanted(id) }]));
		const choose: Choose = (sessions) => new Set(sessions.map(({ session_id }) => session_id).filter(wanted));
		for await (const read of this.source.read(captured, choose, signal)) {
			reads.push(read);
			if (read.kind === "deleted") this.captured.set(read.session_id, { watermark: read.from, deleted: true });
			if ("to" in read) this.captured.set(read.session.session_id, { watermark: read.to, deleted: false });
		}
		return reads;
	}

	/** The agent is started again: what was captured stays, what the source remembered is gone. */
	async restart(options: DatabaseSourceOptions = {}): Promise<void> {
		const { path } = this.source;
		this.source.close();
		this.source = await openSource(path, options);
	}
}

export function openSource(path: string, options: DatabaseSourceOptions = {}): Promise<DatabaseSource> {
	return DatabaseSource.open(findOpencodeDatabase({}, path), { now: () => NOW, ...options });
}

/** Every session is wanted. */
export const takeAll: Choose = (sessions) => new Set(sessions.map(({ session_id }) => session_id));

/** The only read, of the asked kind. */
export function only<Kind extends SessionRead["kind"]>(reads: readonly SessionRead[], kind: Kind) {
	deepStrictEqual(
		reads.map((read) => read.kind),
		[kind],
	);
	return reads[0] as Extract<SessionRead, { kind: Kind }>;
}

export const keysOf = (changes: readonly { key: string }[]): string[] => changes.map((change) => change.key);

/** A new OpenCode database in a folder of its own, and a reader of it. */
export async function handmade(): Promise<{ folder: Folder; opencode: OpencodeDatabase; reader: Reader }> {
	const folder = temporaryFolder();
	const opencode = await OpencodeDatabase.create(join(folder.path, "opencode.db"));
	return { folder, opencode, reader: await Reader.open(opencode.path) };
}

export interface Folder {
	readonly path: string;
	remove(): void;
}

/** A folder for one test; `remove` takes it away. */
export function temporaryFolder(): Folder {
	const path = mkdtempSync(join(tmpdir(), "outbox-source-"));
	return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}
