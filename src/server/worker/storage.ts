import type { DurableObjectStorage } from "@cloudflare/workers-types";
import { drizzle } from "drizzle-orm/durable-sqlite";
import type { BaseSQLiteDatabase } from "drizzle-orm/sqlite-core";
import initial from "../../../migration/share/0000_initial.sql";
import lastBatch from "../../../migration/share/0001_last_batch.sql";
import auditTimes from "../../../migration/share/0002_audit_times.sql";
import claim from "../../../migration/share/0003_claim.sql";
import quota from "../../../migration/share/0004_quota.sql";
import ledger from "../../../migration/share/0005_ledger.sql";

/** In the order of the journal; a test holds that none is missing. */
const MIGRATIONS = [initial, lastBatch, auditTimes, claim, quota, ledger];

/** How many of them a database has. */
const APPLIED = "migrations";
const BREAKPOINT = "--> statement-breakpoint";

/** True when the object has tables, of whatever version. One that was only asked for what is not there has none. */
export function hasTables({ kv }: DurableObjectStorage): boolean {
	return kv.get(APPLIED) !== undefined;
}

/**
 * The object's database in this version's schema; all migrations that it lacks in one transaction. Not drizzle's own
 * migrator, which is asynchronous for no reason and hides SQLite's error behind its own.
 */
export function openTables(storage: DurableObjectStorage): BaseSQLiteDatabase<"sync", unknown> {
	const applied = storage.kv.get<number>(APPLIED) ?? 0;
	if (applied > MIGRATIONS.length) throw new Error("a newer version of opencode-outbox wrote this object");
	if (applied < MIGRATIONS.length)
		storage.transactionSync(() => {
			for (const statement of MIGRATIONS.slice(applied).flatMap((sql) => sql.split(BREAKPOINT)))
				storage.sql.exec(statement);
			storage.kv.put(APPLIED, MIGRATIONS.length);
		});
	return drizzle(storage as never) as unknown as BaseSQLiteDatabase<"sync", unknown>;
}
