import { join } from "node:path";
import { expect, test } from "vitest";
import { OUTBOX_KIND } from "../../src/outbox/kind.ts";
import { lookAt } from "../../src/sqlite/database.ts";
import { openSqlite, type Sqlite } from "../../src/sqlite/driver.ts";
import { migrate } from "../../src/sqlite/migrate.ts";
import { after, tempFolder } from "../outbox/fixture.ts";

async function connect(path: string): Promise<Sqlite> {
	const sqlite = await openSqlite(path);
	after(() => sqlite.close());
	// No power is lost here, and a busy disk takes seconds for each sync.
	sqlite.exec("PRAGMA synchronous = OFF");
	return sqlite;
}

const bring = (sqlite: Sqlite) => migrate(sqlite, OUTBOX_KIND.migrations, OUTBOX_KIND.applicationId);

test("a process that waited for the lock finds what another one has migrated meanwhile", async () => {
	const path = join(tempFolder(), "outbox.db");
	const [late, other] = [await connect(path), await connect(path)];
	bring({
		...late,
		transaction: (body, mode) => {
			bring(other);
			return late.transaction(body, mode);
		},
	});
	const alone = await connect(join(tempFolder(), "outbox.db"));
	bring(alone);
	const count = (sqlite: Sqlite) => sqlite.prepare("SELECT count(*) AS n FROM __drizzle_migrations").get();
	expect(count(late)).toEqual(count(alone));
});

test("a migration that fails at any of its statements leaves the file as it was", async () => {
	let statements = 0;
	for (let failing = 1, done = false; !done; failing++) {
		const path = join(tempFolder(), "outbox.db");
		const sqlite = await connect(path);
		let executed = 0;
		const exec = (sql: string) => {
			if (++executed === failing) throw new Error("it fails here");
			sqlite.exec(sql);
		};
		try {
			bring({ ...sqlite, exec });
			done = true;
			statements = executed;
		} catch (error) {
			expect(error).toMatchObject({ message: "it fails here" });
			expect(await lookAt(path, OUTBOX_KIND)).toMatch(/^(none|blank)$/);
		}
	}
	expect(statements).toBeGreaterThan(5);
});
