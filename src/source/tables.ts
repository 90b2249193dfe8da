import { OutboxError } from "../model/errors.ts";
import type { Watermark } from "../model/op.ts";
import type { Sqlite } from "../sqlite/driver.ts";
import type { ModelRef } from "./extras.ts";
import { type EventRow, ROW_BYTES_MAX } from "./intents.ts";
import type { MessageRow, PartRow, SessionRow, TodoRow } from "./rows.ts";
import type { SessionFacts } from "./source.ts";

/** What this program cannot do without. More columns, and more tables, are as OpenCode likes. */
const REQUIRED = {
	session: ["id", "parent_id", "directory", "title", "version", "time_created", "time_updated"],
	message: ["id", "session_id", "time_created", "time_updated", "data"],
	part: ["id", "message_id", "session_id", "time_updated", "data"],
} as const;
/**
 * The same for OpenCode 2, which keeps its sessions beside those of OpenCode 1 in tables of its own. A message holds its parts
 * itself. Source: the tables of a 2.0.25 database, as several public readers of it give them; never tried on the real one.
 */
const REQUIRED_V2 = {
	session_v2: ["id", "parent_id", "directory", "title", "version", "time_created", "time_updated"],
	session_message: ["id", "session_id", "type", "seq", "time_created", "time_updated", "data"],
} as const;
const LOG = {
	event: ["id", "aggregate_id", "seq", "type", "data"],
	event_sequence: ["aggregate_id", "seq"],
} as const;
const TODO = ["session_id", "content", "status", "priority", "position", "time_updated"] as const;

/** Events that are loaded at once, since one by one takes a quarter longer; only those of so few bytes: 1 MiB in all. */
const SMALL_ROWS = 64;
const SMALL_BYTES = 16 * 1024;

/** One session in a sweep. */
export interface SweptSession {
	readonly id: string;
	readonly facts: SessionFacts;
	/** The head of its log; null where there is none. */
	readonly head: Watermark | null;
	/** Changes whenever the session's row or its todos do; see `isCoveredBy`. */
	readonly fingerprint: string;
}

/**
 * True when a session that was told at fingerprint `told` has nothing new at `now`.
 *
 * Where there is no log, a fingerprint counts the messages and parts. Their times follow after `@`, but only as long as no
 * session has a log: OpenCode logs every edit from 1.17 on, and looking at each row's time is dear.
 */
export function isCoveredBy(told: string | undefined, now: string): boolean {
	return told === now || told?.startsWith(`${now}@`) === true;
}

/**
 * Prepared statements over the tables that OpenCode (1.2 to 1.18) keeps its sessions in. Reads only.
 *
 * A database without OpenCode 1's tables but with OpenCode 2's is read by those, always without a log: it writes none.
 *
 * Rows above ROW_BYTES_MAX come with their size and without their data: `octet_length` does not load what it measures.
 *
 * @throws OutboxError unknown_schema, or no_source when OpenCode has not made its tables yet.
 */
export function openTables(sqlite: Sqlite) {
	const columns = columnsOf(sqlite);
	if ([...columns.keys()].every((table) => /migration/.test(table)))
		throw new OutboxError("no_source", `${sqlite.path} has no tables yet: OpenCode is setting it up.`);
	const isV2 = !columns.has("session") && columns.has("session_v2");
	for (const [table, names] of Object.entries(isV2 ? REQUIRED_V2 : REQUIRED))
		require(sqlite.path, columns, table, names);
	const SESSION = isV2 ? "session_v2" : "session";
	const MESSAGE = isV2 ? "session_message" : "message";
	const hasLog = !isV2 && columns.has("event") && columns.has("event_sequence") && hasOrderedLog(sqlite);
	if (hasLog) for (const [table, names] of Object.entries(LOG)) require(sqlite.path, columns, table, names);
	if (!isV2 && columns.has("todo")) require(sqlite.path, columns, "todo", TODO);

	/** A table, or an empty one where this OpenCode has none. */
	const from = (table: string, names: readonly string[], isThere: boolean) =>
		isThere ? table : `(SELECT ${names.map((name) => `NULL AS ${name}`).join(", ")} WHERE false)`;
	const event = from("event", LOG.event, hasLog);
	const eventSequence = from("event_sequence", LOG.event_sequence, hasLog);
	const todo = from("todo", TODO, !isV2 && columns.has("todo"));
	const PART = from("part", REQUIRED.part, !isV2);
	const session = columns.get(SESSION) ?? new Set();
	/** JSON columns may be long: their length tells enough, since OpenCode moves time_updated with them. */
	const marks = [...session].map((name) => (LONG.has(name) ? `octet_length(s.${name})` : `s.${name}`));
	const long = [...LONG].filter((name) => session.has(name)).map((name) => `coalesce(octet_length(${name}), 0)`);

	type Swept = Omit<SessionFacts, "session_id"> & {
		id: string;
		seq: number | null;
		event_id: string | null;
		mark: string;
	};
	const sweep = sqlite.prepare<Swept>(`
		SELECT s.id, s.parent_id, coalesce(s.title, '') AS title, s.directory, s.time_updated AS updated_at, q.seq, e.id AS event_id, concat_ws('|', ${marks.join(", ")}, (
			SELECT count(*) || ',' || coalesce(max(t.time_updated), 0) FROM ${todo} t WHERE t.session_id = s.id
		)) AS mark
		FROM ${SESSION} s
		LEFT JOIN ${eventSequence} q ON q.aggregate_id = s.id
		LEFT JOIN ${event} e ON e.aggregate_id = q.aggregate_id AND e.seq = q.seq
		ORDER BY s.time_updated DESC, s.id`);
	/** Counts come from the indices alone. */
	const counts = sqlite.prepare<{ mark: string }>(`
		SELECT (SELECT count(*) FROM ${MESSAGE} WHERE session_id = s.id) || ',' ||
			(SELECT count(*) FROM ${PART} WHERE session_id = s.id) AS mark
		FROM ${SESSION} s WHERE s.id = ?`);
	const times = sqlite.prepare<{ mark: string }>(`
		SELECT coalesce((SELECT max(time_updated) FROM ${MESSAGE} WHERE session_id = s.id), 0) || ',' ||
			coalesce((SELECT max(time_updated) FROM ${PART} WHERE session_id = s.id), 0) AS mark
		FROM ${SESSION} s WHERE s.id = ?`);
	const firstMigration = columns.get("migration")?.has("time_completed")
		? sqlite.prepare<{ at: number | null }>("SELECT min(time_completed) AS at FROM migration")
		: undefined;
	const leftOut =
		!isV2 && REQUIRED_V2.session_v2.every((name) => columns.get("session_v2")?.has(name))
			? sqlite.prepare<{ count: number }>(`SELECT count(*) AS count FROM session_v2 v LEFT JOIN session s ON s.id = v.id
				WHERE s.id IS NULL OR v.time_updated > s.time_updated`)
			: undefined;
	const anySession = sqlite.prepare(`SELECT 1 FROM ${SESSION} LIMIT 1`);
	const anyEvent = sqlite.prepare(`SELECT 1 FROM ${eventSequence} LIMIT 1`);

	const sessionBytes = sqlite.prepare<{ bytes: number }>(
		`SELECT ${["0", ...long].join(" + ")} AS bytes FROM ${SESSION} WHERE id = ?`,
	);
	const sessionRow = sqlite.prepare<SessionRow>(`SELECT * FROM ${SESSION} WHERE id = ?`);
	const head = sqlite.prepare<{ seq: number; event_id: string | null }>(`
		SELECT q.seq, e.id AS event_id FROM ${eventSequence} q
		LEFT JOIN ${event} e ON e.aggregate_id = q.aggregate_id AND e.seq = q.seq WHERE q.aggregate_id = ?`);
	const eventIds = sqlite.prepare<{ id: string }>(`
		SELECT id FROM ${event} WHERE aggregate_id = ?
			AND (id GLOB ? OR seq = (SELECT seq FROM ${eventSequence} WHERE aggregate_id = ?)) ORDER BY seq`);
	const limit = upTo(ROW_BYTES_MAX);
	const events = sqlite.prepare<EventRow>(`SELECT aggregate_id, seq, id, type, ${upTo(SMALL_BYTES)}
		FROM ${event} WHERE aggregate_id = ? AND seq > ? ORDER BY seq LIMIT ${SMALL_ROWS}`);
	const oneEvent = sqlite.prepare<EventRow>(`SELECT aggregate_id, seq, id, type, ${limit}
		FROM ${event} WHERE aggregate_id = ? AND seq = ?`);
	/** What a session's messages are ordered by, before their ids. */
	const place = isV2 ? "seq" : "time_created";
	const messages = (after: string) =>
		sqlite.prepare<MessageRow>(`SELECT id, session_id, ${isV2 ? "type" : "NULL AS type"}, ${place} AS place, ${limit}
			FROM ${MESSAGE} WHERE session_id = ? ${after} ORDER BY ${place}, id LIMIT 1`);
	const firstMessage = messages("");
	const nextMessage = messages(`AND (${place}, id) > (?, ?)`);
	const version = sqlite.prepare<{ data_version: number }>("PRAGMA data_version");
	const layout = sqlite.prepare<{ schema_version: number }>("PRAGMA schema_version");
	const layoutAtOpening = layout.get()?.schema_version;

	// CASE, because a WHERE may be judged in any order and json_extract stops at what is no JSON.
	const inData = (path: string) => `CASE WHEN json_valid(data) THEN json_extract(data, '${path}') END`;
	const modelId = inData(isV2 ? "$.model.id" : "$.model.modelID");
	const models = sqlite.prepare<ModelRef>(`
		SELECT ${inData("$.model.providerID")} AS providerID, ${modelId} AS modelID FROM ${MESSAGE}
		WHERE session_id = ? AND octet_length(data) <= ${ROW_BYTES_MAX}
			AND ${isV2 ? "type = 'assistant'" : `${inData("$.role")} = 'user'`}
		GROUP BY 1, 2 HAVING providerID IS NOT NULL AND modelID IS NOT NULL ORDER BY min(time_created), min(id)`);

	return {
		/** Moves whenever another connection has committed. */
		dataVersion: (): number => version.get()?.data_version ?? 0,
		/** True when an upgrade of OpenCode has changed its tables since: then these are to be made anew. */
		isOutdated: (): boolean => layout.get()?.schema_version !== layoutAtOpening,
		/** Every session, the most recently updated first. */
		sweep(): SweptSession[] {
			const logged = anyEvent.get() !== undefined;
			return sweep.all().map(({ id, seq, event_id, mark, ...rest }) => {
				const session = { id, facts: { session_id: id, ...rest } };
				if (seq !== null && event_id !== null) return { ...session, head: { seq, event_id }, fingerprint: mark };
				const counted = `${mark}#${counts.get(id)?.mark}`;
				return { ...session, head: null, fingerprint: logged ? counted : `${counted}@${times.get(id)?.mark}` };
			});
		},
		/** True when there is a session. */
		hasSessions: (): boolean => anySession.get() !== undefined,
		/** True when the log has rows or a counter for this id. */
		hasLog: (id: string): boolean => head.get(id) !== undefined,
		head(id: string): Watermark | null {
			const row = head.get(id);
			return row === undefined || row.event_id === null ? null : { seq: row.seq, event_id: row.event_id };
		},
		eventId: statement<{ id: string }>(`SELECT id FROM ${event} WHERE aggregate_id = ? AND seq = ?`),
		/** The next events after a number, in order, those of more than SMALL_BYTES without their data; see `event`. */
		events: (id: string, after: number): EventRow[] => events.all(id, after),
		/** One event of a session, by its number. */
		event: (id: string, seq: number): EventRow | undefined => oneEvent.get(id, seq),
		/** The number of a session's last event; -1 where it has none. Also where the event itself is gone. */
		lastSeq: (id: string): number => head.get(id)?.seq ?? -1,
		/** Ids of a session's events that match a GLOB, and of its last one, in order. */
		eventIds: (id: string, glob: string): string[] => eventIds.all(id, glob, id).map((row) => row.id),
		/** What the log says was removed, in order. */
		removals: sqlite.prepare<EventRow>(`SELECT aggregate_id, seq, id, type, ${limit} FROM ${event}
			WHERE aggregate_id = ? AND type IN ('message.removed.1', 'message.part.removed.1') ORDER BY seq`),
		facts: statement<SessionFacts>(
			`SELECT id AS session_id, parent_id, coalesce(title, '') AS title, directory, time_updated AS updated_at
				FROM ${SESSION} WHERE id = ?`,
		),
		/** The session's row, or how large it is when it is too large to load. */
		sessionRow(id: string): SessionRow | number | undefined {
			const bytes = sessionBytes.get(id)?.bytes ?? 0;
			return bytes > ROW_BYTES_MAX ? bytes : sessionRow.get(id);
		},
		/** The session's message that follows the one of that place and id; the first one after null. */
		messageAfter: (sessionId: string, after: number | null, id: string): MessageRow | undefined =>
			after === null ? firstMessage.get(sessionId) : nextMessage.get(sessionId, after, id),
		/** A message's parts after an id; by the message, since a part's own session is never asked for. */
		parts: sqlite.prepare<PartRow>(
			`SELECT id, message_id, session_id, ${limit} FROM ${PART} WHERE message_id = ? AND id > ? ORDER BY id`,
		),
		todos: sqlite.prepare<TodoRow>(
			`SELECT content, status, priority FROM ${todo} WHERE session_id = ? ORDER BY position`,
		),
		/** The models that user messages were sent to, in order of first use. */
		models: (id: string): ModelRef[] => models.all(id),
		/** True when these are OpenCode 2's tables. */
		isV2,
		/** How many sessions only OpenCode 2 has, or has gone on with, beside those of OpenCode 1 that are read. */
		leftOut: (): number => leftOut?.get()?.count ?? 0,
		/** When OpenCode made this database, in epoch ms; null where it does not say. */
		createdAt: (): number | null => firstMigration?.get()?.at ?? null,
	};

	function statement<Row>(sql: string): (...values: (string | number)[]) => Row | undefined {
		const prepared = sqlite.prepare<Row>(sql);
		return (...values) => prepared.get(...values);
	}
}
export type Tables = ReturnType<typeof openTables>;

/** A row's size, and its data unless that is larger. */
function upTo(bytes: number): string {
	return `octet_length(data) AS bytes, CASE WHEN octet_length(data) <= ${bytes} THEN data END AS data`;
}

const LONG: ReadonlySet<string> = new Set(["summary_diffs", "metadata", "revert", "permission"]);

/**
 * OpenCode up to 1.15 writes its log only while OPENCODE_EXPERIMENTAL_WORKSPACES is set: it may stand still while the session
 * goes on. The migration from which on every change is logged made the numbers of a session's events unique.
 */
function hasOrderedLog(sqlite: Sqlite): boolean {
	const columns = `SELECT group_concat(name) FROM (SELECT name FROM pragma_index_info(i.name) ORDER BY seqno)`;
	const index = sqlite.prepare(`
		SELECT 1 FROM pragma_index_list('event') i WHERE i."unique" AND (${columns}) = 'aggregate_id,seq'`);
	return index.get() !== undefined;
}

function columnsOf(sqlite: Sqlite): Map<string, Set<string>> {
	const rows = sqlite
		.prepare<{ table_name: string; column_name: string }>(`
			SELECT t.name AS table_name, c.name AS column_name
			FROM sqlite_schema t JOIN pragma_table_info(t.name) c WHERE t.type = 'table' ORDER BY t.name, c.cid`)
		.all();
	const columns = new Map<string, Set<string>>();
	for (const { table_name, column_name } of rows) {
		const names = columns.get(table_name) ?? new Set();
		columns.set(table_name, names.add(column_name));
	}
	return columns;
}

function require(path: string, columns: Map<string, Set<string>>, table: string, names: readonly string[]): void {
	const missing = names.filter((name) => !columns.get(table)?.has(name));
	if (missing.length === 0) return;
	const what = columns.has(table) ? `its table ${table} lacks ${missing.join(", ")}` : `it has no table ${table}`;
	const whose = table in REQUIRED_V2 ? "as OpenCode 2's database was when this was written" : "as OpenCode's database";
	throw new OutboxError("unknown_schema", `${path} is not laid out ${whose}: ${what}.`);
}
