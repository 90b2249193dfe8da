import { readMigrationFiles } from "drizzle-orm/migrator";
import type { Sqlite } from "./driver.ts";
import { lastMigration, MIGRATIONS, newestMigration, refuseNewer, TABLE } from "./schema-version.ts";

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
	const migrations = readMigrationFiles({ migrationsFolder: `${MIGRATIONS}/${folder}` });
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
