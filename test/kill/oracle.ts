import { createHash } from "node:crypto";
import { openSqlite, type Sqlite } from "../../src/sqlite/driver.ts";
import { type Files, rowsIfMade } from "./files.ts";

/**
 * What must hold of three files, whoever was killed when: OpenCode's database, the outbox, the server's database. Read
 * as they lie, by none of the code that wrote them.
 */

export interface Verdict {
	/** What does not hold; empty when all is well. */
	readonly faults: readonly string[];
	readonly sessions: number;
	/** Ops in the ledgers. */
	readonly applied: number;
	/** Entities whose bytes were compared. */
	readonly compared: number;
}

/**
 * Holds at any moment, between two writes of anybody: the server has what this outbox counts as acknowledged, and no
 * kill has made anybody distrust a position (the epoch is bumped before anything sealed is set aside).
 */
export async function faultsAtAnyTime({ outbox, shares }: Pick<Files, "outbox" | "shares">): Promise<string[]> {
	const acked = await rowsIfMade<{ session_id: string; share_id: string | null; acked_cursor: number }>(
		outbox,
		"SELECT session_id, share_id, acked_cursor FROM session JOIN share USING (session_id)",
	);
	// After the outbox: what is acknowledged later is applied later still.
	const applied = await rowsIfMade<{ share_id: string; cursor: number; capability_epoch: number }>(
		shares,
		"SELECT share_id, cursor, capability_epoch FROM share",
	);
	const byId = new Map(applied.map((share) => [share.share_id, share]));
	const faults: string[] = [];
	for (const { session_id, share_id, acked_cursor } of acked) {
		if (share_id === null) continue;
		const share = byId.get(share_id);
		if (share === undefined) faults.push(`${session_id}: the server does not have the share that it granted`);
		else if (share.cursor < acked_cursor)
			faults.push(`${session_id}: ${acked_cursor} ops are acknowledged, the server has ${share.cursor}`);
		else if (share.capability_epoch !== 1) faults.push(`${session_id}: it was fenced, so a position was distrusted`);
	}
	return faults;
}

/** Holds once everything is drained; `ledgers` is what an earlier check saw of each share, and is brought up to date. */
export async function checkDrained(files: Files, ledgers: Map<string, readonly string[]>): Promise<Verdict> {
	const faults: string[] = await faultsAtAnyTime(files);
	const opencode = await openSqlite(files.opencode, { readonly: true, mustExist: true });
	const outbox = await openSqlite(files.outbox, { readonly: true, mustExist: true });
	const shares = await openSqlite(files.shares, { readonly: true, mustExist: true });
	let [applied, compared] = [0, 0];
	try {
		const dead = outbox.prepare<{ n: number }>("SELECT count(*) AS n FROM dead").get()?.n;
		if (dead !== 0) faults.push(`${dead} dead letters`);
		const refused = shares.prepare<{ code: string }>("SELECT code FROM audit WHERE event = 'refused'").all();
		if (refused.length > 0) faults.push(`the server refused ${refused.map(({ code }) => code).join(", ")}`);
		const rowsOfShares = shares
			.prepare<Share>("SELECT share_id, session_id, cursor, last_op_id, source_seq FROM share")
			.all();
		const twice = rowsOfShares.filter(
			({ session_id: id }, n) => rowsOfShares.findIndex((s) => s.session_id === id) < n,
		);
		for (const { session_id } of twice) faults.push(`${session_id}: it has two shares`);
		const bySession = new Map(rowsOfShares.map((share) => [share.session_id, share]));
		for (const { id, seq } of opencode
			.prepare<{ id: string; seq: number }>("SELECT id, seq FROM session JOIN event_sequence ON aggregate_id = id")
			.all()) {
			const share = bySession.get(id);
			if (share === undefined) faults.push(`${id}: it has no share`);
			else if (share.source_seq === null || share.source_seq > seq)
				faults.push(`${id}: covered up to ${share.source_seq}, OpenCode is at ${seq}`);
		}
		for (const share of rowsOfShares) {
			const told = (fault: string) => void faults.push(`${share.session_id}: ${fault}`);
			const ledger = ledgerOf(shares, share, told);
			const before = ledgers.get(share.share_id) ?? [];
			if (before.some((op, position) => ledger[position] !== op))
				told("an applied op has another position than before");
			ledgers.set(share.share_id, ledger);
			applied += ledger.length;
			const events = eventsOf(opencode, share.session_id);
			const isThere = opencode.prepare("SELECT 1 FROM session WHERE id = ?").get(share.session_id) !== undefined;
			if (isThere) {
				checkOrder(ledger, events, told);
				checkCovered(share, events, told);
				compared += checkEntities(opencode, shares, share, ledger, events, told);
			} else if (!entitiesOf(shares, share.share_id).has("session_deleted")) told("its deletion is not on the share");
		}
		return { faults, sessions: rowsOfShares.length, applied, compared };
	} finally {
		for (const sqlite of [opencode, outbox, shares]) sqlite.close();
	}
}

interface Share {
	readonly share_id: string;
	readonly session_id: string;
	readonly cursor: number;
	readonly last_op_id: string | null;
	readonly source_seq: number | null;
}

interface SourceEvent {
	readonly seq: number;
	/** The key of the entity that it writes or removes. */
	readonly key: string;
	/** The entity as it was logged; undefined for a removal. */
	readonly entity: unknown;
}

type Tell = (fault: string) => void;

/** Op ids by position. */
function ledgerOf(shares: Sqlite, { share_id, cursor, last_op_id }: Share, told: Tell): string[] {
	const rows = shares
		.prepare<{ position: number; op_id: string }>(
			"SELECT position, op_id FROM ledger WHERE share_id = ? ORDER BY position",
		)
		.all(share_id);
	const ledger = rows.map(({ op_id }) => op_id);
	if (rows.some(({ position }, n) => position !== n) || rows.length !== cursor)
		told(`its ledger of ${rows.length} ops has gaps below its cursor ${cursor}`);
	if (last_op_id !== (ledger.at(-1) ?? null)) told(`${last_op_id} is not its last op`);
	return ledger;
}

/**
 * In source order: entities appear in the order in which OpenCode made them, and of each entity the events never go back.
 * An op may stand for several events of one entity; then it has the place of the first and the id of the last.
 */
function checkOrder(ledger: readonly string[], events: ReadonlyMap<string, SourceEvent>, told: Tell): void {
	const firstSeqs = new Map<string, number>();
	for (const { key, seq } of events.values()) if (!firstSeqs.has(key)) firstSeqs.set(key, seq);
	const lastSeqs = new Map<string, number>();
	let newest = -1;
	for (const [position, op] of ledger.entries()) {
		const event = events.get(op);
		if (event === undefined) {
			if (op.startsWith("evt_")) told(`${op} was applied and is not in OpenCode's log`);
			continue;
		}
		const { key, seq } = event;
		if (seq <= (lastSeqs.get(key) ?? -1)) told(`${key}: event ${seq} at position ${position} comes after a later one`);
		if (!lastSeqs.has(key)) {
			const first = firstSeqs.get(key) ?? 0;
			if (first < newest) told(`${key}, made by event ${first}, appears after what event ${newest} made`);
			newest = Math.max(newest, first);
		}
		lastSeqs.set(key, seq);
	}
}

/**
 * What OpenCode logged behind the share's watermark changes nothing: a watermark comes with ops, and OpenCode ends many a
 * turn with an event that says again what an earlier one said.
 */
function checkCovered({ source_seq }: Share, events: ReadonlyMap<string, SourceEvent>, told: Tell): void {
	const said = new Map<string, string>();
	for (const { seq, key, entity } of events.values()) {
		const text = sorted(entity);
		if (seq > (source_seq ?? -1) && said.get(key) !== text)
			told(`covered up to ${source_seq}, and event ${seq} of OpenCode changes ${key}`);
		said.set(key, text);
	}
}

/** The share's messages, parts and todos are OpenCode's rows, and each has the bytes of the event that its op names. */
function checkEntities(
	opencode: Sqlite,
	shares: Sqlite,
	{ share_id, session_id }: Share,
	ledger: readonly string[],
	events: ReadonlyMap<string, SourceEvent>,
	told: Tell,
): number {
	const truth = rowsOfOpencode(opencode, session_id);
	const shared = entitiesOf(shares, share_id);
	for (const [key, { payload, digest, position }] of shared) {
		if (digest !== createHash("sha256").update(payload).digest("hex")) told(`${key}: its digest is not its payload's`);
		const event = events.get(ledger[position] ?? "");
		if (event !== undefined && (event.key !== key || sorted(JSON.parse(payload)) !== sorted(event.entity)))
			told(`${key}: its bytes are not those of the event that it was made from`);
		if (key === "session") continue;
		if (sorted(JSON.parse(payload)) !== truth.get(key)) told(`${key}: the share and OpenCode differ`);
	}
	for (const key of truth.keys()) if (!shared.has(key)) told(`${key}: it is missing on the share`);
	return truth.size;
}

function entitiesOf(
	shares: Sqlite,
	shareId: string,
): Map<string, { payload: string; digest: string; position: number }> {
	const rows = shares
		.prepare<{ key: string; payload: string; digest: string; position: number }>(
			"SELECT key, payload, digest, position FROM entity WHERE share_id = ? AND payload IS NOT NULL",
		)
		.all(shareId);
	return new Map(rows.map(({ key, ...entity }) => [key, entity]));
}

/** What a share of the session must hold, by key; without the session's own entity, which `verify` compares. */
function rowsOfOpencode(opencode: Sqlite, sessionId: string): Map<string, string> {
	const truth = new Map<string, string>();
	type Row = { id: string; message_id: string; data: string };
	for (const { id, data } of opencode.prepare<Row>("SELECT * FROM message WHERE session_id = ?").all(sessionId))
		truth.set(`message/${id}`, sorted({ ...JSON.parse(data), id, sessionID: sessionId }));
	for (const { id, message_id, data } of opencode
		.prepare<Row>("SELECT * FROM part WHERE session_id = ?")
		.all(sessionId))
		truth.set(
			`part/${message_id}/${id}`,
			sorted({ ...JSON.parse(data), id, messageID: message_id, sessionID: sessionId }),
		);
	const todos = opencode
		.prepare("SELECT content, status, priority FROM todo WHERE session_id = ? ORDER BY position")
		.all(sessionId);
	if (todos.length > 0) truth.set("todo", sorted(todos));
	return truth;
}

/** The session's events by id, in order. */
function eventsOf(opencode: Sqlite, sessionId: string): Map<string, SourceEvent> {
	const events = new Map<string, SourceEvent>();
	for (const { id, seq, data } of opencode
		.prepare<{ id: string; seq: number; data: string }>(
			"SELECT id, seq, data FROM event WHERE aggregate_id = ? ORDER BY seq",
		)
		.all(sessionId)) {
		const { info, part, messageID, partID } = JSON.parse(data);
		const entity = info ?? part;
		const key = keyOf(sessionId, { info, part, messageID, partID });
		// Others are not about what a share holds.
		if (key !== undefined) events.set(id, { seq, key, entity });
	}
	return events;
}

interface EventData {
	readonly info?: { readonly id: string };
	readonly part?: { readonly id: string; readonly messageID: string };
	readonly messageID?: string;
	readonly partID?: string;
}

function keyOf(sessionId: string, { info, part, messageID, partID }: EventData): string | undefined {
	if (part) return `part/${part.messageID}/${part.id}`;
	if (partID) return `part/${messageID}/${partID}`;
	if (messageID) return `message/${messageID}`;
	if (info === undefined) return undefined;
	return info.id === sessionId ? "session" : `message/${info.id}`;
}

/** JSON text that does not depend on the order of members. */
function sorted(value: unknown): string {
	return JSON.stringify(value, (_, member) =>
		typeof member === "object" && member !== null && !Array.isArray(member)
			? Object.fromEntries(Object.entries(member).sort(([a], [b]) => (a < b ? -1 : 1)))
			: member,
	);
}
