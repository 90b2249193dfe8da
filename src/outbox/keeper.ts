import { existsSync, renameSync, rmSync, statSync } from "node:fs";
import { basename } from "node:path";
import type { Clock } from "../model/clock.ts";
import { messageOf } from "../model/errors.ts";
import type { Logger } from "../model/logger.ts";
import { openDatabase } from "../sqlite/database.ts";
import { openSqlite, type Sqlite } from "../sqlite/driver.ts";
import { isDamage, isFull } from "../sqlite/errors.ts";
import { type Ballast, ballastPath } from "./ballast.ts";
import { brokenLines, findDamage, isSqlError, setAside, wasOurs } from "./damage.ts";
import { OUTBOX_KIND } from "./kind.ts";
import { type Outbox, outboxOn } from "./outbox.ts";
import { pendingCount } from "./pending.ts";
import { type Salvaged, salvage } from "./salvage.ts";

export interface KeeperOptions {
	readonly path: string;
	/** Files of ours lay beside the outbox before this process came. */
	readonly hasTraces: boolean;
	readonly ballast: Ballast | undefined;
	readonly clock: Clock;
	readonly log: Logger;
}

/**
 * Opens the outbox for the holder of the agent's lock, who alone may set a damaged one aside.
 *
 *     opens, sound ------------------------------------------------> outbox
 *     opens, a line does not add up -> that session is compared ---> outbox
 *     damaged, was ours -> salvage into a new one -> set aside ----> outbox
 *     anything else -----------------------------------------------> refused, untouched
 *
 * A kill at any point leaves the damaged file in its place, or the new one complete. Nothing is ever deleted.
 *
 * @param found what an outbox that was open threw, which is the cause to open it again.
 * @throws OutboxError foreign_database, newer_database, corrupt, read_only, disk_full, io.
 */
export async function openKeptOutbox(options: KeeperOptions, found?: unknown): Promise<Outbox> {
	try {
		return await open(options, found);
	} catch (error) {
		// A full disk cannot even be opened on; what is held for acks is held for this.
		if (!isFull(error) || options.ballast?.giveUp() !== true) throw error;
		return await open(options, found);
	}
}

async function open(options: KeeperOptions, found: unknown): Promise<Outbox> {
	const { path, log } = options;
	finishReplacement(path);
	const isGone = !(statSync(path, { throwIfNoEntry: false })?.size ?? 0);
	// An empty file beside a WAL is what is left of one that was cut: opening it would delete the WAL.
	const isCut = isGone && existsSync(path) && (statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0) > 0;
	if (isCut && options.hasTraces) return replace(options, "it was cut to nothing");
	if (isGone && options.hasTraces)
		log.warn({ path }, "there is no outbox any more; a new one is made, and shares that were made are compared");

	let sqlite: Sqlite;
	try {
		sqlite = await openDatabase(path, OUTBOX_KIND);
	} catch (error) {
		if (!(await wasOurs(path, error, options.hasTraces))) throw error;
		return replace(options, messageOf(error));
	}
	try {
		// SQLite itself has met the damage; what reserve's hashes tell is only cause to look.
		const certain = isDamage(found) && !isOurs(found) ? messageOf(found) : undefined;
		const damage = certain ?? findDamage(sqlite, found) ?? schemaDamage(sqlite);
		if (damage !== undefined) {
			sqlite.close();
			return await replace(options, damage);
		}
		const outbox = outboxOn(sqlite);
		pendingCount(sqlite).recount();
		for (const sessionId of brokenLines(sqlite)) {
			log.error({ session: sessionId }, "what is stored of it contradicts itself; the session will be compared");
			outbox.mustCompare(sessionId, "what the outbox stores of it does not add up: it was damaged");
		}
		return outbox;
	} catch (error) {
		sqlite.close();
		throw error;
	}
}

/** What the verbs cannot be prepared for: a schema that was migrated to the end has every name they use. */
function schemaDamage(sqlite: Sqlite): string | undefined {
	try {
		outboxOn(sqlite);
		return undefined;
	} catch (error) {
		if (!isSqlError(error)) throw error;
		return `its schema does not fit: ${messageOf(error)}`;
	}
}

/** Makes a new outbox of what can be read of the damaged one, and puts it in its place. */
async function replace({ path, clock, log }: KeeperOptions, damage: string): Promise<Outbox> {
	const aside = `${path}.damaged-${new Date(clock.now()).toISOString().replaceAll(":", "-")}`;
	const next = nextPath(path);
	for (const suffix of ["", "-wal", "-shm"]) rmSync(`${next}${suffix}`, { force: true });
	const sqlite = await openDatabase(next, OUTBOX_KIND);
	let note: string;
	try {
		const salvaged = await salvageFrom(path, sqlite);
		note = `The outbox was damaged (${damage}). It is kept as ${basename(aside)}. ${tell(salvaged)}`;
		outboxOn(sqlite).say({ pid: process.pid, state: "starting", damage: note }, clock.now());
	} finally {
		sqlite.close();
	}
	setAside(path, aside);
	finishReplacement(path);
	log.error({ path, kept_as: aside }, note);
	return outboxOn(await openDatabase(path, OUTBOX_KIND));
}

/** Undefined when nothing at all could be read. */
async function salvageFrom(path: string, sqlite: Sqlite): Promise<Salvaged[] | undefined> {
	// SQLite would delete the WAL beside it.
	if (statSync(path).size === 0) return undefined;
	let old: Sqlite | undefined;
	try {
		const damaged = await openSqlite(path, { readonly: true });
		old = damaged;
		damaged.prepare("SELECT count(*) FROM sqlite_schema").get();
		return sqlite.transaction(() => salvage(damaged, sqlite, "the outbox was damaged and is rebuilt"));
	} catch (error) {
		if (isFull(error)) throw error;
		return undefined;
	} finally {
		old?.close();
	}
}

/** Puts a new outbox in its place that a kill has kept from it. It is complete once the old one is gone. */
function finishReplacement(path: string): void {
	if (!existsSync(path) && existsSync(nextPath(path))) {
		// What a WAL of the old file holds must not be read into the new one.
		for (const suffix of ["-wal", "-shm"])
			if (existsSync(`${path}${suffix}`)) renameSync(`${path}${suffix}`, `${path}.damaged${suffix}`);
		renameSync(nextPath(path), path);
	}
}

function nextPath(path: string): string {
	return `${path}.salvaged`;
}

/** True when a hash of ours told it, and not SQLite. */
function isOurs(found: unknown): boolean {
	return found instanceof Error && found.name === "OutboxError";
}

function tell(salvaged: readonly Salvaged[] | undefined): string {
	if (salvaged === undefined)
		return "Nothing in it could be read; its shares are found again by this machine's identity, and compared.";
	const names: Record<string, string> = { entity: "entities", dead: "dead letters", removed: "removals" };
	const saved = salvaged.map(({ table, saved }) => `${saved} ${names[table] ?? `${table}s`}`).join(", ");
	const lost = salvaged.filter(({ unsound, unreadable }) => unsound + unreadable > 0);
	const what = lost.map(({ table, unsound, unreadable }) => {
		const places = unreadable > 0 ? [`${unreadable} unreadable places`] : [];
		return `${names[table] ?? `${table}s`} (${[...places, ...(unsound > 0 ? [`${unsound} unsound rows`] : [])].join(", ")})`;
	});
	return `Saved: ${saved}. ${what.length === 0 ? "Nothing was lost" : `Lost: ${what.join(", ")}`}; what was shared is compared.`;
}

/** Whether only we can have been here. */
export function hasTraces(outboxPath: string, identityPath: string): boolean {
	return existsSync(identityPath) || existsSync(ballastPath(outboxPath));
}
