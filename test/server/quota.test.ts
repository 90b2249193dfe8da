import { join } from "node:path";
import { readMigrationFiles } from "drizzle-orm/migrator";
import { expect, test } from "vitest";
import { PACKAGE_FOLDER } from "../../src/model/package.ts";
import { Quotas } from "../../src/server/quota.ts";
import { SHARE_DATABASE } from "../../src/server/share-database.ts";
import { openDatabase } from "../../src/sqlite/database.ts";
import { openSqlite } from "../../src/sqlite/driver.ts";
import { mulberry32 } from "../fixture/random.ts";
import { after, rowsOf, tempFolder } from "../outbox/fixture.ts";
import { batchOf, createKey, type Draft, SERVER_KEY } from "./client.ts";
import { quotaContract } from "./contract/quota.ts";
import { startHost } from "./host.ts";
import { startRules } from "./rules.ts";

quotaContract("Node", (quotas) => startHost({ quotas }));

test("the bytes that are counted are those that are there, whatever is done to a share", async () => {
	const { share, sqlite, close } = await startRules({ sealedOps: 400, ledgerOps: 800 });
	after(close);
	const random = mulberry32(1);
	const pick = (n: number) => Math.floor(random() * n);
	const held = () => {
		const counted = sqlite
			.prepare("SELECT sum(bytes) AS bytes, count(*) AS shares FROM share WHERE deleted_at IS NULL")
			.get();
		const there = sqlite.prepare("SELECT coalesce(sum(length(CAST(payload AS blob))), 0) AS bytes FROM entity").get();
		return { counted, there, owner: sqlite.prepare("SELECT bytes, shares FROM owner").get() };
	};
	const draft = (): Draft => {
		const [m, p, bytes] = [pick(4), pick(3), pick(200)];
		const payload = JSON.stringify("ä".repeat(bytes));
		return [
			{ key: `message/m${m}`, payload },
			{ type: "part", key: `part/m${m}/p${p}`, payload } as const,
			{ type: "message_removed", key: `message/m${m}`, payload: "{}" } as const,
			{ type: "part_removed", key: `part/m${m}/p${p}`, payload: "{}" } as const,
			{ type: "session_deleted", key: "session_deleted", payload } as const,
			{ type: "session", key: "session", payload } as const,
		][pick(6)] as Draft;
	};
	for (let round = 0; round < 3; round++) {
		const grant = share.createShare(SERVER_KEY, { session_id: `ses_${round}`, create_key: createKey() });
		const holder = share.redeemShare(grant.share_id, grant.secret);
		for (let cursor = 0; cursor < 300; ) {
			const ack = share.appendOps(holder, batchOf(cursor, Array.from({ length: 1 + pick(20) }, draft)));
			expect(ack.rejected).toEqual([]);
			cursor = ack.cursor;
			const { counted, there, owner } = held();
			expect(counted).toMatchObject(there ?? {});
			expect(owner).toEqual(counted);
		}
		if (round === 1) share.deleteShare(holder);
	}
	expect(held()).toMatchObject({ owner: { shares: 2 } });
});

test("who is over a quota that was lowered may still make room", async () => {
	const { sqlite, close } = await startRules({ sealedOps: 4, ledgerOps: 8 });
	after(close);
	const before = new Quotas(await sqlite.orm());
	before.open("owner");
	before.resize("owner", 0, 100);
	for (const limits of [{ shareBytes: 10 }, { ownerBytes: 10 }]) {
		const now = new Quotas(await sqlite.orm(), limits);
		expect(() => now.resize("owner", 90, 91)).toThrow(expect.objectContaining({ code: "over_quota" }));
		now.resize("owner", 90, 80);
	}
	expect(sqlite.prepare("SELECT bytes FROM owner").get()).toEqual({ bytes: 80 });
});

test("a database from before there were quotas is counted when it is opened", async () => {
	const path = join(tempFolder(), "share.db");
	const sqlite = await openSqlite(path);
	const before = readMigrationFiles({ migrationsFolder: join(PACKAGE_FOLDER, "migration", "share") }).slice(0, 4);
	sqlite.exec("CREATE TABLE __drizzle_migrations (id SERIAL PRIMARY KEY, hash text NOT NULL, created_at numeric)");
	for (const { sql, hash, folderMillis } of before) {
		for (const statement of sql) sqlite.exec(statement);
		sqlite.prepare("INSERT INTO __drizzle_migrations (hash, created_at) VALUES (?, ?)").run(hash, folderMillis);
	}
	sqlite.exec(`PRAGMA application_id = ${SHARE_DATABASE.applicationId}`);
	const make = sqlite.prepare(
		"INSERT INTO share (share_id, owner, session_id, create_key_hash, slug, secret_hash, capability_epoch, cursor, created_at, deleted_at) VALUES (?, ?, 's', ?, ?, 'h', 1, 1, 1, ?)",
	);
	for (const [id, owner, deleted] of [
		["a", "one", null],
		["b", "one", null],
		["c", "one", 5],
		["d", "two", null],
	] as const)
		make.run(id, owner, id, id, deleted);
	const put = sqlite.prepare(
		"INSERT INTO entity (share_id, key, type, bytes, position) VALUES (?, ?, 'message', ?, ?)",
	);
	for (const [id, key, bytes, position] of [
		["a", "k", 10, 0],
		["a", "l", 20, 1],
		["b", "k", 5, 0],
	] as const)
		put.run(id, key, bytes, position);
	sqlite.close();
	const startedAt = Math.floor(Date.now() / 1000) * 1000;
	(await openDatabase(path, SHARE_DATABASE)).close();
	expect(await rowsOf(path, "SELECT * FROM owner ORDER BY owner")).toEqual([
		{ owner: "one", bytes: 35, shares: 2 },
		{ owner: "two", bytes: 0, shares: 1 },
	]);
	const shares = await rowsOf<{ bytes: number; changed_at: number }>(
		path,
		"SELECT bytes, changed_at FROM share ORDER BY share_id",
	);
	expect(shares.map(({ bytes }) => bytes)).toEqual([30, 5, 0, 0]);
	// Nothing is known of when they changed, so retention begins to count now.
	for (const { changed_at } of shares) expect(changed_at).toBeGreaterThanOrEqual(startedAt);
});
