import { join } from "node:path";
import { readMigrationFiles } from "drizzle-orm/migrator";
import { OutboxError } from "../model/errors.ts";
import { PACKAGE_FOLDER } from "../model/package.ts";
import type { Sqlite } from "./driver.ts";

const MIGRATIONS = join(PACKAGE_FOLDER, "migration");

/** The table in which drizzle's own migrator counts, so that its tools read our files. */
const TABLE = "__drizzle_migrations";

/**
 * Brings a database to this version's schema and marks it with `applicationId`, in one transaction.
 *
 * A kill leaves it as it was or as it shall be; of several processes one migrates, the others find it done. drizzle's own
 * migrator does neither (it decides before it locks), and hides SQLite's error behind its own.
 *
 * @param folder below `migration/`, as drizzle-kit generated it.
 * @throws OutboxError newer_database when it was migrated further than this version knows.
 */
export function migrate(sqlite: Sqlite, folder: string, applicationId: number): void {
	const newest = newestMigration(folder);
	if (lastMigration(sqlite) === newest) return;
	const migrations = migrationsIn(folder);
	sqlite.transaction(() => {
		const last = lastMigration(sqlite) ?? 0;
		refuseNewer(sqlite.path, last, newest);
		sqlite.exec(`CREATE TABLE IF NOT EXISTS ${TABLE} (id SERIAL PRIMARY KEY, hash text NOT NULL, created_at numeric)`);
		for (const { sql, hash, folderMillis } of migrations) {
			if (folderMillis <= last) continue;
			for (const statement of sql) sqlite.exec(statement);
			sqlite.prepare(`INSERT INTO ${TABLE} (hash, created_at) VALUES (?, ?)`).run(hash, folderMillis);
		}
		sqlite.exec(`PRAGMA application_id = ${applicationId}`);
	}, "immediate");
}

/** When the last migration that was applied was generated, in epoch ms; undefined when none was. */
export function lastMigration(sqlite: Sqlite): number | undefined {
	if (!sqlite.prepare("SELECT 1 FROM sqlite_schema WHERE name = ?").get(TABLE)) return undefined;
	const row = sqlite.prepare<{ last: number | null }>(`SELECT max(created_at) AS last FROM ${TABLE}`).get();
	return row?.last ?? undefined;
}

function migrationsIn(folder: string) {
	return readMigrationFiles({ migrationsFolder: `${MIGRATIONS}/${folder}` });
}

/** By folder; reading all files of one takes 2 ms, and whoever opens a database asks again. */
const newestIn = new Map<string, number>();

/** When the newest migration that this version knows was generated, in epoch ms. */
export function newestMigration(folder: string): number {
	const known = newestIn.get(folder);
	if (known !== undefined) return known;
	const newest = Math.max(...migrationsIn(folder).map((migration) => migration.folderMillis));
	newestIn.set(folder, newest);
	return newest;
}

export function refuseNewer(path: string, last: number, newest: number): void {
	if (last > newest)
		throw new OutboxError("newer_database", `${path} was written by a newer version of opencode-outbox.`);
}
