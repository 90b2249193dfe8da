import type { OpIntent } from "../model/op.ts";
import { isAsHashed } from "../model/op-hash.ts";
import type { Sqlite, SqlValue } from "../sqlite/driver.ts";
import { pendingCount } from "./pending.ts";
import { WANTED } from "./session.ts";

type Row = Record<string, SqlValue>;

/** What became of one table's rows. */
export interface Salvaged {
	readonly table: string;
	readonly saved: number;
	/** Read, and not what was once written. */
	readonly unsound: number;
	/** Places that could not be read: at least one row each. */
	readonly unreadable: number;
}

/** How far a place that cannot be read is stepped over at most, in row ids; then the rest of the table counts as lost. */
const STEP_MAX = 2 ** 40;
/** After so many places in one table the rest of it counts as lost: what is left is not worth an agent that hangs. */
const GAPS_MAX = 1000;

/**
 * Brings what can be read of a damaged outbox into a new one, table by table, row by row.
 *
 * Positions are not believed: every session of which something was captured is compared with its share before anything is sent, and
 * captured anew as a whole. Ops come along only with a matching hash: they are what a share can be rebuilt from, and the
 * removals that it may not have yet. What belongs to no session that could be read stays behind.
 *
 * @param reason for a person: why the sessions are compared.
 */
export function salvage(old: Sqlite, sqlite: Sqlite, reason: string): Salvaged[] {
	const known = new Set<SqlValue>();
	const sessions = copy(old, sqlite, "session", (row) => {
		if (typeof row.session_id !== "string") return undefined;
		known.add(row.session_id);
		const isWish = WANTED.some((wish) => wish === row.wanted);
		// Nobody is shared against a wish that cannot be read any more.
		const parked = isWish ? {} : { wanted: "auto", parked_code: "wish_lost", last_error: "the outbox was damaged" };
		return { ...row, ...START, ...parked };
	});
	const isKnown = (row: Row) => known.has(row.session_id ?? null);
	const shares = copy(old, sqlite, "share", (row) => {
		const texts = [row.session_id, row.server_url, row.create_key];
		if (!texts.every((text) => typeof text === "string")) return undefined;
		// Its session's row may be among those that could not be read.
		if (!isKnown(row) && sessions.unreadable === 0) return undefined;
		sqlite.prepare("INSERT OR IGNORE INTO session (session_id) VALUES (?)").run(row.session_id ?? null);
		known.add(row.session_id ?? null);
		return row;
	});
	const dead = copy(old, sqlite, "dead", (row) => (isKnown(row) ? row : undefined));
	const entities = copy(old, sqlite, "entity", (row) => {
		const { digest = null } = row;
		// A file of before has it as text.
		return isKnown(row)
			? { ...row, digest: typeof digest === "string" ? Buffer.from(digest, "hex") : digest }
			: undefined;
	});
	const removed = copy(old, sqlite, "removed", (row) => (isKnown(row) ? row : undefined));
	const ops = copy(old, sqlite, "op", (row) => {
		const { op_id, type, key, payload } = row;
		const isSound = [op_id, type, key, payload].every((text) => typeof text === "string");
		if (!isSound || !isKnown(row) || !isAsHashed(row as unknown as OpIntent, String(row.hash))) return undefined;
		return { ...row, depends_id: null };
	});
	pendingCount(sqlite).recount();
	copy(old, sqlite, "agent", (row) => ({ id: 1, pid: 0, state: "stopped", since: 0, ...identityOf(row) }));
	sqlite
		.prepare(`UPDATE session SET compare_reason = ? WHERE wanted <> 'never' AND (
			EXISTS (SELECT 1 FROM share WHERE share.session_id = session.session_id)
			OR EXISTS (SELECT 1 FROM op WHERE op.session_id = session.session_id)
			OR EXISTS (SELECT 1 FROM entity WHERE entity.session_id = session.session_id))`)
		.run(reason);
	return [sessions, shares, dead, entities, removed, ops];
}

/** A session's line from the start: nothing is known to be at the server, and all of it is captured again. */
const START: Row = {
	...{ watermark_seq: null, watermark_event_id: null, acked_op_id: null },
	...{ acked_id: 0, sealed_id: 0, acked_cursor: 0, sealed_cursor: 0, attempts: 0, next_retry_at: 0 },
};

/** The database that was captured from, which makes deletions certain, and by which rules. */
function identityOf({ opencode_identity = null, share_mode = null, selection = null, redaction = null }: Row): Row {
	return { opencode_identity, share_mode, selection, redaction };
}

/** Copies a table's rows as `sound` gives them back; undefined leaves a row behind. */
function copy(old: Sqlite, sqlite: Sqlite, table: string, sound: (row: Row) => Row | undefined): Salvaged {
	const columns = sqlite.prepare<{ name: string }>(`SELECT name FROM pragma_table_info('${table}')`).all();
	const counts = { table, saved: 0, unsound: 0, unreadable: 0 };
	const rows = hasRowIds(old, table) ? readable : readableByKey;
	for (const row of rows(old, table, () => counts.unreadable++)) {
		const kept = sound(row);
		const given = columns.map((column) => column.name).filter((name) => kept && name in kept);
		if (kept === undefined || given.length === 0) {
			counts.unsound++;
			continue;
		}
		const places = given.map(() => "?").join(", ");
		const insert = sqlite.prepare(`INSERT OR IGNORE INTO ${table} (${given.join(", ")}) VALUES (${places})`);
		const { changes } = insert.run(...given.map((name) => kept[name] ?? null));
		if (changes > 0) counts.saved++;
		else counts.unsound++;
	}
	return counts;
}

/** The rows of a table that can be read, in the order of their ids: what cannot is stepped over, ever further. */
function* readable(sqlite: Sqlite, table: string, onGap: () => void): Generator<Row> {
	let [after, step] = [-1, 1];
	for (let gaps = 0; step <= STEP_MAX && gaps < GAPS_MAX; ) {
		try {
			const rows = sqlite.prepare<Row & { rowid_: number }>(
				`SELECT rowid AS rowid_, * FROM ${table} NOT INDEXED WHERE rowid > ? ORDER BY rowid`,
			);
			for (const { rowid_, ...row } of rows.iterate(after)) {
				if (rowid_ <= after) throw new Error("a damaged page leads back");
				after = rowid_;
				step = 1;
				yield row;
			}
			return;
		} catch {
			if (step === 1) {
				onGap();
				gaps++;
			}
			after += step;
			step *= 2;
		}
	}
}

/** False for `entity`, in files since its schema 0006, and where nothing can be told. */
function hasRowIds(sqlite: Sqlite, table: string): boolean {
	try {
		const found = sqlite.prepare<{ wr: number }>("SELECT wr FROM pragma_table_list WHERE name = ?").get(table);
		return found?.wr !== 1;
	} catch {
		return true;
	}
}

/** The rows of a table whose key is its session and key: from both of its ends, up to what cannot be read. */
function* readableByKey(sqlite: Sqlite, table: string, onGap: () => void): Generator<Row> {
	let after: readonly [SqlValue, SqlValue] = ["", ""];
	for (const order of ["ASC", "DESC"]) {
		try {
			const rows = sqlite.prepare<Row>(`
				SELECT * FROM ${table} WHERE (session_id, key) > (?, ?) ORDER BY session_id ${order}, key ${order}`);
			for (const row of rows.iterate(...after)) {
				yield row;
				if (order === "ASC") after = [row.session_id ?? null, row.key ?? null];
			}
			return;
		} catch {
			if (order === "ASC") onGap();
		}
	}
}
