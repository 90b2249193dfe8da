import { canonicalJson, faultOf } from "../model/json.ts";
import { keys, type OpType } from "../model/op.ts";
import type { SqlValue } from "../sqlite/driver.ts";
import { ROW_BYTES_MAX } from "./intents.ts";
import type { Change, Poison } from "./source.ts";

/** A row of `message` or `part`. `data` is null when it was too large to load. */
export interface DataRow {
	readonly id: string;
	readonly session_id: string;
	readonly bytes: number;
	readonly data: string | null;
	/** What kind of message it is, where the row says so beside the data: in OpenCode 2. */
	readonly type?: string | null;
}
export interface MessageRow extends DataRow {
	/** What orders it in its session, before its id. */
	readonly place: number;
}
export interface PartRow extends DataRow {
	readonly message_id: string;
}
export interface TodoRow {
	readonly content: string;
	readonly status: string;
	readonly priority: string;
}
/** A row of `session`, all columns that this OpenCode has. */
export type SessionRow = Readonly<Record<string, SqlValue>>;

/**
 * The session as OpenCode itself reads it from its row (1.18.33). Columns that an older version lacks leave their members
 * out, as that version does.
 */
export function sessionEntity(row: SessionRow): Change | Poison {
	return entity("session", keys.session, "session row", () => {
		const revert = json(row.revert);
		const model = json(row.model);
		const summarised = [row.summary_additions, row.summary_deletions, row.summary_files].some((count) => count != null);
		return {
			id: row.id,
			slug: row.slug,
			projectID: row.project_id,
			workspaceID: row.workspace_id ?? undefined,
			directory: row.directory,
			path: row.path ?? undefined,
			parentID: row.parent_id ?? undefined,
			title: row.title,
			agent: row.agent ?? undefined,
			model: model ? { id: model.id, providerID: model.providerID, variant: model.variant } : undefined,
			version: row.version,
			summary: summarised
				? {
						additions: row.summary_additions ?? 0,
						deletions: row.summary_deletions ?? 0,
						files: row.summary_files ?? 0,
						diffs: json(row.summary_diffs) ?? undefined,
					}
				: undefined,
			cost: row.cost,
			tokens: "tokens_input" in row ? tokensOf(row) : undefined,
			share: row.share_url ? { url: row.share_url } : undefined,
			metadata: json(row.metadata) ?? undefined,
			revert: revert
				? { messageID: revert.messageID, partID: revert.partID, snapshot: revert.snapshot, diff: revert.diff }
				: undefined,
			permission: json(row.permission) ?? undefined,
			time: {
				created: row.time_created,
				updated: row.time_updated,
				compacting: row.time_compacting ?? undefined,
				archived: row.time_archived ?? undefined,
			},
		};
	});
}

function tokensOf(row: SessionRow) {
	const cache = { read: row.tokens_cache_read, write: row.tokens_cache_write };
	return { input: row.tokens_input, output: row.tokens_output, reasoning: row.tokens_reasoning, cache };
}

export function messageEntity(row: DataRow): Change | Poison {
	const name = `row of message ${row.id}`;
	return entity(
		"message",
		keys.message(row.id),
		name,
		() => ({
			...json(row.data),
			...(row.type == null ? {} : { type: row.type }),
			id: row.id,
			sessionID: row.session_id,
		}),
		row,
	);
}

export function partEntity(row: PartRow): Change | Poison {
	const name = `row of part ${row.id}`;
	return entity(
		"part",
		keys.part(row.message_id, row.id),
		name,
		() => ({
			...json(row.data),
			id: row.id,
			sessionID: row.session_id,
			messageID: row.message_id,
		}),
		row,
	);
}

/** The todo list in its order; `[]` when there is none. */
export function todoEntity(rows: readonly TodoRow[]): Change {
	const todos = rows.map(({ content, status, priority }) => ({ content, status, priority }));
	return { event_id: null, seq: null, type: "todo", key: keys.todo, payload: canonicalJson(todos) };
}

/** What stands for a row that was not loaded. */
export function tooLarge(type: OpType, key: string, name: string, bytes: number): Poison {
	const reason = `the ${name} is ${bytes} bytes; at most ${ROW_BYTES_MAX} are read`;
	return { event_id: null, seq: null, type, key, code: "too_large", reason };
}

function entity(type: OpType, key: string, name: string, build: () => object, row?: DataRow): Change | Poison {
	if (row?.data === null) return tooLarge(type, key, name, row.bytes);
	try {
		return { event_id: null, seq: null, type, key, payload: canonicalJson(build()) };
	} catch (error) {
		const reason = `the ${name} cannot be read: ${faultOf(error)}`;
		return { event_id: null, seq: null, type, key, code: "invalid_payload", reason };
	}
}

// biome-ignore lint/suspicious/noExplicitAny: OpenCode's JSON columns, taken over member by member.
function json(text: SqlValue | undefined): any {
	if (text === null || text === undefined) return null;
	const value: unknown = JSON.parse(String(text));
	if (typeof value !== "object") throw new Error("it holds no JSON object");
	return value;
}
