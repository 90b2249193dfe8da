import { isDeepStrictEqual } from "node:util";
import { DatabaseSource } from "../../../src/source/database.ts";
import { findOpencodeDatabase } from "../../../src/source/discovery.ts";
import { isPoison } from "../../../src/source/source.ts";
import type { SqlValue } from "../../../src/sqlite/driver.ts";
import { eventually } from "../../fixture/cli.ts";
import type { Machine } from "../lab.ts";

/** Two cores shared by many: what takes a second alone may take this long, in ms. */
export const PATIENCE_MS = 240_000;

/** An item of what a share's link gives to `opencode import`. */
export interface Item {
	readonly type: string;
	readonly data: Readonly<Record<string, unknown>>;
}

/** What the share behind a link holds. */
export async function itemsOf(url: string): Promise<Item[]> {
	const response = await fetch(`${url.replace("/share/", "/api/share/")}/data`, {
		signal: AbortSignal.timeout(60_000),
	});
	if (!response.ok) throw new Error(`${url} answered ${response.status}`);
	return (await response.json()) as Item[];
}

/** How a link answers a person: 200 while the share is there. */
export async function statusOf(url: string): Promise<number> {
	return (await fetch(url, { signal: AbortSignal.timeout(60_000) })).status;
}

/** Waits until a query of the outbox's file answers with something, and gives the first row. */
export async function rowOf<Row>(machine: Machine, sql: string, ...values: SqlValue[]): Promise<Row> {
	let row: Row | undefined;
	const look = async () => {
		[row] = await machine.rows<Row>(sql, ...values).catch(() => []);
		return row !== undefined;
	};
	await eventually(`${sql} (${values})`, look, { withinMs: PATIENCE_MS });
	return row as Row;
}

/** The link of a session's share, as soon as it has one. */
export async function linkOf(machine: Machine, sessionId: string): Promise<string> {
	const sql = "SELECT url FROM share WHERE session_id = ? AND url IS NOT NULL";
	return (await rowOf<{ url: string }>(machine, sql, sessionId)).url;
}

/**
 * Waits until the share holds exactly the session, messages and parts that OpenCode's tables hold; gives what it holds.
 * Looks at both ends alone: neither the outbox nor a command of it is asked.
 */
export async function untilEqual(machine: Machine, databasePath: string, sessionId: string): Promise<Item[]> {
	const url = await linkOf(machine, sessionId);
	let items: Item[] = [];
	const look = async () => {
		const source = await DatabaseSource.open(findOpencodeDatabase({}, databasePath));
		const entities = (await source.snapshot(sessionId))?.entities ?? [];
		source.close();
		const truth = entities.filter(({ type }) => ["session", "message", "part"].includes(type));
		items = (await itemsOf(url)).filter(({ type }) => ["session", "message", "part"].includes(type));
		const told = truth.map((entity) => (isPoison(entity) ? entity.reason : JSON.parse(entity.payload)));
		return isDeepStrictEqual(byId(told), byId(items.map(({ data }) => data)));
	};
	await eventually(`the share of ${sessionId} to be equal`, look, { withinMs: PATIENCE_MS });
	return items;
}

const byId = (all: readonly { id: string }[] | readonly Readonly<Record<string, unknown>>[]) =>
	new Map(all.map((one) => [String(one.id), one]));

export const textsOf = (items: readonly Item[]) =>
	items.filter(({ type }) => type === "part").map(({ data }) => String(data.text ?? ""));

export const sessionOf = (items: readonly Item[]) => items.find(({ type }) => type === "session")?.data;
