import { readFileSync } from "node:fs";
import { join } from "node:path";
import { readMigrationFiles } from "drizzle-orm/migrator";
import { PACKAGE_FOLDER } from "../../src/model/package.ts";
import type { DatabaseKind } from "../../src/sqlite/database.ts";
import { openSqlite, type Sqlite, type SqlValue } from "../../src/sqlite/driver.ts";

type Rows = Readonly<Record<string, readonly Readonly<Record<string, SqlValue>>[]>>;

/**
 * What an outbox and its share server hold half-way: a session that is level; one with a batch whose reply was lost, a batch
 * that was never sent, and changes that wait; one that was never shared; and a dead letter. Frozen: what is stored must stay
 * readable, its hashes and digests included.
 */
const ROWS = JSON.parse(readFileSync(join(import.meta.dirname, "rows.json"), "utf8")) as Record<
	"outbox" | "share",
	Rows
>;

/** The schemas that they were stored in. What came later was made of them by its migration. */
const FROZEN_AT = { outbox: "0005_pending", share: "0003_claim" } as const;

/** The schemas that there ever were, oldest first, by the names of the files that make them. */
export function schemasOf({ migrations }: DatabaseKind): string[] {
	const path = join(PACKAGE_FOLDER, "migration", migrations, "meta", "_journal.json");
	const { entries } = JSON.parse(readFileSync(path, "utf8")) as { entries: { tag: string }[] };
	return entries.map(({ tag }) => tag);
}

/** Makes a database as the version did whose newest schema was `schema`, with what it could hold of the rows. */
export async function makeAt(path: string, kind: DatabaseKind, schema: string): Promise<void> {
	const name = kind.migrations as keyof typeof ROWS;
	const schemas = schemasOf(kind);
	const index = schemas.indexOf(schema);
	const filledAt = Math.min(index, schemas.indexOf(FROZEN_AT[name]));
	const sqlite = await openSqlite(path);
	try {
		for (const pragma of ["auto_vacuum = INCREMENTAL", "journal_mode = WAL"]) sqlite.exec(`PRAGMA ${pragma}`);
		sqlite.exec("CREATE TABLE __drizzle_migrations (id SERIAL PRIMARY KEY, hash text NOT NULL, created_at numeric)");
		const migrations = readMigrationFiles({ migrationsFolder: join(PACKAGE_FOLDER, "migration", kind.migrations) });
		for (const [at, { sql, hash, folderMillis }] of migrations.slice(0, index + 1).entries()) {
			for (const statement of sql) sqlite.exec(statement);
			sqlite.prepare("INSERT INTO __drizzle_migrations (hash, created_at) VALUES (?, ?)").run(hash, folderMillis);
			if (at === filledAt) for (const [table, rows] of Object.entries(ROWS[name])) insert(sqlite, table, rows);
		}
		sqlite.exec(`PRAGMA application_id = ${kind.applicationId}`);
	} finally {
		sqlite.close();
	}
}

function insert(sqlite: Sqlite, table: string, rows: Rows[string]): void {
	const known = sqlite.prepare<{ name: string }>(`SELECT name FROM pragma_table_info('${table}')`).all();
	const columns = known.map(({ name }) => name).filter((name) => rows[0] && name in rows[0]);
	for (const row of rows) {
		if (columns.length === 0) return;
		const places = columns.map(() => "?").join(", ");
		const values = columns.map((name) => row[name] ?? null);
		sqlite.prepare(`INSERT INTO ${table} (${columns.join(", ")}) VALUES (${places})`).run(...values);
	}
}
