import {
	copyFileSync,
	existsSync,
	mkdirSync,
	readdirSync,
	readFileSync,
	renameSync,
	truncateSync,
	writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { systemClock } from "../../src/model/clock.ts";
import { openKeptOutbox } from "../../src/outbox/keeper.ts";
import type { Outbox } from "../../src/outbox/outbox.ts";
import { openSqlite } from "../../src/sqlite/driver.ts";
import {
	after,
	append,
	freshOutbox,
	message,
	messageRemoved,
	S,
	sealAndReserve,
	tamper,
	tempFolder,
} from "./fixture.ts";

const GRANT = {
	share_id: "shr_1",
	slug: "slug",
	url: "http://h/share/slug",
	secret: "s".repeat(43),
	capability_epoch: 1,
};

/** Opens as an agent does, on a machine that had one before. */
async function keep(path: string, { hasTraces = true, found }: { hasTraces?: boolean; found?: unknown } = {}) {
	const told: { message: string }[] = [];
	const tell = (facts: object, text: string) => void told.push({ ...facts, message: text });
	const log = { debug: tell, info: tell, warn: tell, error: tell };
	const outbox = await openKeptOutbox({ path, hasTraces, ballast: undefined, clock: systemClock, log }, found);
	after(() => outbox.close());
	return { outbox, told };
}

/** A session with acknowledged, sealed and unsealed ops, a removal, a dead letter, and one that nobody wants shared. */
async function used(): Promise<string> {
	const { outbox, path } = await freshOutbox();
	append(outbox, [message("e1", "m1"), message("e2", "m2"), message("e3", "m3")]);
	outbox.ask(S, "embedded", "k".repeat(43), 1000);
	outbox.granted(S, GRANT);
	sealAndReserve(outbox);
	outbox.ack(S, 2, 3000);
	append(outbox, [messageRemoved("e4", "m1"), message("e5", "m5", "x".repeat(20_000))]);
	append(outbox, [{ op_id: "e6", type: "part", key: "part/m5/p", code: "too_large", reason: "large" }]);
	outbox.want("ses_never", "never");
	outbox.say({ opencode_identity: "inode:made" }, 1000);
	outbox.close();
	return path;
}

function asideOf(path: string): string[] {
	return readdirSync(dirname(path)).filter(
		(name) => name.startsWith(`${basename(path)}.damaged-`) && name.endsWith("Z"),
	);
}

function expectRebuilt(outbox: Outbox): void {
	expect(outbox.session(S)).toMatchObject({
		...{ acked_cursor: 0, sealed_cursor: 0, watermark: null, wanted: "auto" },
		compare_reason: "the outbox was damaged and is rebuilt",
	});
	expect(outbox.share(S)).toMatchObject({ ...GRANT, create_key: "k".repeat(43) });
	expect(outbox.session("ses_never")).toMatchObject({ wanted: "never", compare_reason: null });
	expect(outbox.removedKeys(S)).toEqual(["message/m1"]);
	expect(outbox.agent()).toMatchObject({ opencode_identity: "inode:made", damage: expect.stringContaining("kept as") });
}

/** Overwrites `length` bytes; the file must be closed. */
function scribble(path: string, offset: number, length: number, byte = 0): void {
	const bytes = readFileSync(path);
	bytes.fill(byte, offset, offset + length);
	writeFileSync(path, bytes);
}

describe("a damaged outbox is set aside and salvaged", () => {
	test("when its table of migrations is lost", async () => {
		const path = await used();
		await tamper(path, "DROP TABLE __drizzle_migrations");
		const before = readFileSync(path);
		const { outbox, told } = await keep(path);
		expectRebuilt(outbox);
		expect(outbox.deadLetters()).toHaveLength(1);
		const [aside] = asideOf(path);
		expect(readFileSync(join(dirname(path), aside ?? ""))).toEqual(before);
		const line = told.find(({ message: text }) => text.includes("was damaged"))?.message;
		expect(line).toContain(aside);
		expect(line).toMatch(
			/Saved: 2 sessions, 1 shares, 1 dead letters, \d+ entities, 1 removals, 5 ops\. Nothing was lost/,
		);
	});

	test("when a verb of an open outbox has met the damage", async () => {
		const path = await used();
		const { outbox } = await keep(path, { found: Object.assign(new Error("malformed"), { code: "SQLITE_CORRUPT" }) });
		expectRebuilt(outbox);
		expect(asideOf(path)).toHaveLength(1);
	});

	test("when its schema names other columns than it was made with", async () => {
		const path = await used();
		const bytes = readFileSync(path);
		// Each migration that alters a table leaves the text that it replaces behind.
		for (let at = bytes.indexOf("acked_op_id"); at !== -1; at = bytes.indexOf("acked_op_id"))
			bytes.write("acked_op_ie", at);
		writeFileSync(path, bytes);
		expectRebuilt((await keep(path)).outbox);
	});

	test("when an index does not match its table", async () => {
		const path = await used();
		const sqlite = await openSqlite(path);
		sqlite.exec("PRAGMA writable_schema = ON");
		const [row] = sqlite
			.prepare<{ rootpage: number }>("SELECT rootpage FROM sqlite_schema WHERE name = 'op_session_id_idx'")
			.all();
		sqlite.close();
		// The number of cells of the index's root page.
		scribble(path, ((row?.rootpage ?? 0) - 1) * 4096 + 3, 2);
		const { outbox } = await keep(path);
		expectRebuilt(outbox);
	});

	test("row by row: what an unreadable page held is told, the rest comes along", async () => {
		const { outbox: first, path } = await freshOutbox();
		for (let n = 0; n < 60; n++) append(first, [message(`e${n}`, `m${n}`, "x".repeat(1500))]);
		first.ask(S, "embedded", "k".repeat(43), 1000);
		first.granted(S, GRANT);
		first.close();
		const bytes = readFileSync(path);
		const inside = bytes.indexOf(Buffer.from('"text":"xxx'), bytes.length / 2);
		scribble(path, Math.floor(inside / 4096) * 4096, 4096);
		const { outbox, told } = await keep(path);
		const { pending } = outbox.session(S) ?? { pending: 0 };
		expect(pending).toBeGreaterThan(40);
		expect(pending).toBeLessThan(60);
		expect(outbox.share(S)).toMatchObject(GRANT);
		expect(told.at(-1)?.message).toMatch(/Lost: ops \(1 unreadable places/);
	});

	test("entities from both ends of what cannot be read of them", async () => {
		const { outbox: first, path } = await freshOutbox();
		append(
			first,
			Array.from({ length: 600 }, (_, n) => message(`e${n}`, `m${String(n).padStart(3, "0")}`)),
		);
		first.close();
		// Its op is in another page; the row of the entity is the one without the op's name beside the key.
		const bytes = readFileSync(path);
		const key = Buffer.from(`${S}message/m300`);
		const at = bytes.indexOf(key);
		expect(bytes.indexOf(key, at + 1)).toBe(-1);
		scribble(path, Math.floor(at / 4096) * 4096, 4096);
		const { outbox, told } = await keep(path);
		const keys = [...outbox.capturedDigests(S).keys()];
		expect(keys).toContain("message/m000");
		expect(keys).toContain("message/m599");
		expect(keys).not.toContain("message/m300");
		expect(keys.length).toBeGreaterThan(500);
		expect(outbox.capturedDigests(S).get("message/m599")).toMatch(/^[0-9a-f]{64}$/);
		expect(told.at(-1)?.message).toMatch(/Lost: entities \(1 unreadable places/);
	});

	test("an op whose bytes do not match its hash stays behind", async () => {
		const path = await used();
		await tamper(path, "UPDATE op SET payload = '{}' WHERE op_id = 'e5'");
		await tamper(path, "DROP TABLE __drizzle_migrations");
		const { outbox, told } = await keep(path);
		expectRebuilt(outbox);
		expect(told.at(-1)?.message).toMatch(/4 ops\. Lost: ops \(1 unsound rows\)/);
	});

	test("a wish that cannot be read keeps its session back until a person says it again", async () => {
		const path = await used();
		await tamper(path, "UPDATE session SET wanted = 'nevep' WHERE session_id = 'ses_never'");
		await tamper(path, "DROP TABLE __drizzle_migrations");
		const { outbox } = await keep(path);
		expect(outbox.session("ses_never")).toMatchObject({ wanted: "auto", parked_code: "wish_lost" });
	});

	test("with nothing saved when its header is gone, where only we can have been", async () => {
		const path = await used();
		scribble(path, 0, 4096);
		const { outbox, told } = await keep(path);
		expect(outbox.work()).toEqual([]);
		expect(asideOf(path)).toHaveLength(1);
		expect(told.at(-1)?.message).toContain("Nothing in it could be read");
	});

	test("a file that was cut to nothing beside its WAL is set aside with it", async () => {
		const path = await used();
		truncateSync(path, 0);
		writeFileSync(`${path}-wal`, "what is left");
		await keep(path);
		expect(readFileSync(join(dirname(path), `${asideOf(path)[0]}-wal`), "utf8")).toBe("what is left");
	});
});

describe("a kill while an outbox is replaced", () => {
	test("before the damaged file is moved leaves it in its place, to be salvaged again", async () => {
		const path = await used();
		await tamper(path, "DROP TABLE __drizzle_migrations");
		writeFileSync(`${path}.salvaged`, "half of a new one");
		expectRebuilt((await keep(path)).outbox);
	});

	test("after it is found by the next start, and no WAL of the old file is read into the new one", async () => {
		const path = await used();
		const wal = join(tempFolder(), "wal");
		const live = await openSqlite(path);
		live.exec("CREATE TABLE later (x)");
		copyFileSync(`${path}-wal`, wal);
		live.close();
		await tamper(path, "DELETE FROM op");
		renameSync(path, `${path}.salvaged`);
		copyFileSync(wal, `${path}-wal`);
		const { outbox } = await keep(path);
		expect(outbox.session(S)?.pending).toBe(0);
		expect(existsSync(`${path}.salvaged`)).toBe(false);
	});
});

describe("what never was ours is refused and left as it is", () => {
	async function expectRefused(path: string, code: string, hasTraces: boolean): Promise<void> {
		const before = readFileSync(path);
		await expect(keep(path, { hasTraces })).rejects.toThrow(expect.objectContaining({ code }));
		expect(readFileSync(path)).toEqual(before);
		expect(asideOf(path)).toEqual([]);
	}

	test("a working database of another program, even beside our files", async () => {
		const path = join(tempFolder(), "outbox.db");
		const sqlite = await openSqlite(path);
		sqlite.exec("PRAGMA application_id = 42; CREATE TABLE session (id)");
		sqlite.close();
		await expectRefused(path, "foreign_database", true);
	});

	test("an outbox of a newer version", async () => {
		const path = await used();
		await tamper(path, "INSERT INTO __drizzle_migrations (hash, created_at) VALUES ('x', 9e12)");
		await expectRefused(path, "newer_database", true);
	});

	test("a file that is no database, where none of our files lie", async () => {
		const path = join(tempFolder(), "outbox.db");
		writeFileSync(path, "# a letter to a friend\n".repeat(500));
		await expectRefused(path, "foreign_database", false);
	});

	test("a directory", async () => {
		const path = join(tempFolder(), "outbox.db");
		mkdirSync(path);
		await expect(keep(path)).rejects.toThrow(expect.objectContaining({ code: "foreign_database" }));
	});
});

test("a session whose positions or link do not add up is compared, and the others go on", async () => {
	for (const damage of ["sealed_id = sealed_id + 1", "acked_id = 0", "sealed_cursor = 7"]) {
		const path = await used();
		await tamper(path, `UPDATE session SET ${damage} WHERE session_id = ?`, S);
		const { outbox } = await keep(path);
		expect(outbox.session(S)?.compare_reason, damage).toContain("does not add up");
		expect(asideOf(path)).toEqual([]);
	}
	const linked = await used();
	await tamper(linked, "UPDATE share SET slug = 'slvg'");
	expect((await keep(linked)).outbox.session(S)?.compare_reason).toContain("does not add up");
	const { outbox } = await keep(await used());
	expect(outbox.session(S)?.compare_reason).toBeNull();
});
