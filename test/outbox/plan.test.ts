import { join } from "node:path";
import { describe, expect, test } from "vitest";
import * as verbs from "../../src/outbox/outbox.ts";
import { openOutbox } from "../../src/outbox/outbox.ts";
import { openSqlite, type Sqlite } from "../../src/sqlite/driver.ts";
import { after, tempFolder } from "./fixture.ts";

/** Every statement that the outbox prepares when it is opened, with SQLite's plan for it. */
async function plans(): Promise<Map<string, string[]>> {
	const path = join(tempFolder(), "outbox.db");
	(await openOutbox(path)).close();
	const sqlite = await openSqlite(path);
	after(() => sqlite.close());
	const statements = new Set<string>();
	const listening: Sqlite = {
		...sqlite,
		prepare(sql: string) {
			statements.add(sql);
			return sqlite.prepare(sql);
		},
	};
	verbs.outboxOn(listening);
	const planOf = (sql: string) => {
		const marks = sql.split("?").length - 1;
		const rows = sqlite.prepare<{ detail: string }>(`EXPLAIN QUERY PLAN ${sql}`).all(...Array(marks).fill(0));
		return rows.map((row) => row.detail);
	};
	return new Map([...statements].map((sql) => [sql.replace(/\s+/g, " ").trim(), planOf(sql)]));
}

describe("the outbox's statements", () => {
	test("never scan the ops, the entities or the batches", async () => {
		const scans = [...(await plans())].flatMap(([sql, plan]) =>
			plan.filter((step) => /^SCAN (op|entity|batch)\b/.test(step)).map((step) => `${step}: ${sql}`),
		);
		expect(scans).toEqual([
			expect.stringMatching(/^SCAN batch: UPDATE batch SET lease_owner = NULL.* lease_owner IS NOT NULL$/),
		]);
	});

	test("find ops by their id or by the session's line", async () => {
		const steps = [...(await plans()).values()].flat().filter((step) => / op\b/.test(step));
		expect(steps.length).toBeGreaterThan(10);
		for (const step of steps) expect(step).toMatch(/INTEGER PRIMARY KEY|op_session_id_idx/);
	});
});
