import { readFileSync } from "node:fs";
import { join } from "node:path";
import { OutboxError } from "../model/errors.ts";
import { PACKAGE_FOLDER } from "../model/package.ts";
import type { Sqlite } from "./driver.ts";

/** The migrations of each kind of database, a folder for each, as drizzle-kit generated them. */
export const MIGRATIONS = join(PACKAGE_FOLDER, "migration");

/** The table in which drizzle's own migrator counts, so that its tools read our files. */
export const TABLE = "__drizzle_migrations";

/** When the last migration that was applied was generated, in epoch ms; undefined when none was. */
export function lastMigration(sqlite: Sqlite): number | undefined {
	if (!sqlite.prepare("SELECT 1 FROM sqlite_schema WHERE name = ?").get(TABLE)) return undefined;
	const row = sqlite.prepare<{ last: number | null }>(`SELECT max(created_at) AS last FROM ${TABLE}`).get();
	return row?.last ?? undefined;
}

/** When the newest migration that this version knows was generated, in epoch ms; by drizzle-kit's list of them. */
export function newestMigration(folder: string): number {
	const journal = readFileSync(join(MIGRATIONS, folder, "meta", "_journal.json"), "utf8");
	const { entries } = JSON.parse(journal) as { entries: readonly { when: number }[] };
	return Math.max(...entries.map(({ when }) => when));
}

export function refuseNewer(path: string, last: number, newest: number): void {
	if (last > newest)
		throw new OutboxError("newer_database", `${path} was written by a newer version of opencode-outbox.`);
}
