import { copyFileSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { openOutbox } from "../../src/outbox/outbox.ts";
import { openDatabase } from "../../src/sqlite/database.ts";
import { KINDS, kindNamed } from "./child/kinds.ts";
import { Child } from "./child/spawn.ts";
import { rowsOf, S, tempFolder } from "./fixture.ts";

/** Times that a child is killed; at different places of its work each time. */
const KILLS = 20;

describe("kill -9", () => {
	test("in a stream of appends loses nothing that append had returned, and watermark and ops agree", async () => {
		const path = join(tempFolder(), "outbox.db");
		let last = 0;
		for (let kill = 0; kill < KILLS; kill++) {
			const child = new Child("append", path, S, 1e9);
			expect(await child.next()).toBe("open");
			for (let lines = 0; lines <= kill % 7; lines++) last = Number(await child.next());
			await child.murder();
			last = Number(child.said.at(-1) ?? last);

			const outbox = await openOutbox(path);
			const seq = outbox.session(S)?.watermark?.seq ?? 0;
			outbox.close();
			expect(seq - last).toBeGreaterThanOrEqual(0);
			expect(seq - last).toBeLessThanOrEqual(1);
			const keys = await rowsOf<{ op_id: string }>(path, "SELECT op_id FROM op ORDER BY id");
			expect(keys.map((row) => row.op_id)).toEqual(Array.from({ length: seq }, (_, n) => `e${n + 1}`));
			last = seq;
		}
		expect(last).toBeGreaterThanOrEqual(KILLS);
	}, 90_000);

	test.each(Object.entries(KINDS))("while a new database (%s) is made leaves a file that opens", async (name, kind) => {
		const folder = tempFolder();
		for (let kill = 0; kill < KILLS / 2; kill++) {
			const prefix = join(folder, `${kill}-`);
			const child = new Child("open", prefix, 1e9, name);
			while (Number(await child.next()) < kill % 5);
			await child.murder();
			const last = Number(child.said.at(-1) ?? kill % 5);
			for (let n = Math.max(0, last - 1); n <= last; n++) {
				const sqlite = await openDatabase(`${prefix}${n}.db`, kind);
				expect(sqlite.prepare("SELECT * FROM share").all()).toEqual([]);
				sqlite.close();
			}
			expect(existsSync(`${prefix}${last + 1}.db`)).toBe(false);
		}
	});

	test("in the middle of a migration leaves the file as it was, and the next start migrates it", async () => {
		const folder = tempFolder();
		const template = join(folder, "old.db");
		const old = await openDatabase(template, kindNamed(migrationsIn(folder, 1)));
		old.transaction(() => {
			const insert = old.prepare("INSERT INTO thing (text) VALUES (?)");
			for (let n = 0; n < THINGS; n++) insert.run("x".repeat(200));
		});
		old.close();
		const kind = kindNamed(migrationsIn(folder, 2));
		let interrupted = 0;
		for (let kill = 0; kill < KILLS / 2; kill++) {
			const prefix = join(folder, `${kill}-`);
			copyFileSync(template, `${prefix}0.db`);
			const child = new Child("open", prefix, 1, kind.migrations);
			await child.next();
			await delay(kill * 6);
			await child.murder();
			const wasDone = child.said.includes("done");
			const columns = await rowsOf(`${prefix}0.db`, "SELECT name FROM pragma_table_info('thing') WHERE name = 'copy'");
			if (wasDone) expect(columns.length).toBe(1);
			if (columns.length === 0) interrupted++;
			const sqlite = await openDatabase(`${prefix}0.db`, kind);
			const counts = sqlite.prepare("SELECT count(*) AS things, sum(copy = text) AS copied FROM thing").get();
			expect(counts).toEqual({ things: THINGS, copied: THINGS });
			expect(sqlite.prepare("PRAGMA integrity_check").get()).toEqual({ integrity_check: "ok" });
			sqlite.close();
		}
		expect(interrupted).toBeGreaterThan(KILLS / 10);
	}, 60_000);
});

/** Rows that the second migration rewrites: enough to be killed among them. */
const THINGS = 20_000;
const STEPS = [
	"CREATE TABLE thing (id integer PRIMARY KEY, text text NOT NULL);",
	"ALTER TABLE thing ADD copy text;--> statement-breakpoint\nUPDATE thing SET copy = text;--> statement-breakpoint\nCREATE INDEX thing_copy ON thing (copy);",
];

/** Makes a folder with the first `steps` migrations, as drizzle-kit does. @returns it relative to our own folder of them. */
function migrationsIn(folder: string, steps: number): string {
	const path = join(folder, `migrations-${steps}`);
	mkdirSync(join(path, "meta"), { recursive: true });
	const entries = STEPS.slice(0, steps).map((sql, idx) => {
		const tag = `000${idx}_step`;
		writeFileSync(join(path, `${tag}.sql`), sql);
		return { idx, version: "6", when: idx + 1, tag, breakpoints: true };
	});
	writeFileSync(join(path, "meta/_journal.json"), JSON.stringify({ version: "7", dialect: "sqlite", entries }));
	return relative(fileURLToPath(new URL("../../migration", import.meta.url)), path);
}

describe("several processes at once", () => {
	test("append to one outbox without a lock error, a lost op or a double one", async () => {
		const path = join(tempFolder(), "outbox.db");
		const EACH = 60;
		const children = ["ses_a", "ses_b", "both", "both"].map((session) => new Child("append", path, session, EACH));
		await Promise.all(children.map((child) => child.exited));
		const said = children.map((child) => child.said.filter((line) => line !== "open").map(Number));
		const all = Array.from({ length: EACH }, (_, n) => n + 1);
		expect(said.slice(0, 2)).toEqual([all, all]);
		expect([...(said[2] ?? []), ...(said[3] ?? [])].sort((a, b) => a - b)).toEqual(all);
		for (const session of ["ses_a", "ses_b", "both"]) {
			const rows = await rowsOf<{ op_id: string }>(
				path,
				"SELECT op_id FROM op WHERE session_id = ? ORDER BY id",
				session,
			);
			expect(rows.map((row) => row.op_id)).toEqual(all.map((n) => `e${n}`));
		}
	});

	test("make one new outbox together, with one migration", async () => {
		const folder = tempFolder();
		for (let round = 0; round < 3; round++) {
			const prefix = join(folder, `${round}-`);
			const children = Array.from({ length: 4 }, () => new Child("open", prefix, 5));
			await Promise.all(children.map((child) => child.exited));
			expect(children.map((child) => child.said.at(-1))).toEqual(["done", "done", "done", "done"]);
			const rows = await rowsOf(
				`${prefix}0.db`,
				"SELECT count(*) AS n, count(DISTINCT created_at) AS d FROM __drizzle_migrations",
			);
			expect(rows).toEqual([expect.objectContaining(await countOfOne(folder))]);
		}
	});
});

/** What the migrations table holds in an outbox that one process made alone. */
async function countOfOne(folder: string): Promise<object> {
	const path = join(folder, "alone.db");
	(await openOutbox(path)).close();
	const [row] = await rowsOf<object>(
		path,
		"SELECT count(*) AS n, count(DISTINCT created_at) AS d FROM __drizzle_migrations",
	);
	return row ?? {};
}
