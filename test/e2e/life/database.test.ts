import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { openSqlite } from "../../../src/sqlite/driver.ts";
import { OpencodeDatabase } from "../../source/opencode-database.ts";
import { mountSmallDisk } from "../../storage/small-disk.ts";
import { Lab } from "../lab.ts";
import { PATIENCE_MS } from "./share.ts";
import { World } from "./world.ts";
import { startWriter } from "./writer.ts";

vi.setConfig({ testTimeout: PATIENCE_MS, hookTimeout: PATIENCE_MS });

const lab = new Lab();
/** A real OpenCode's database at two moments: a session in the first, that session gone on and another in the second. */
let [older, newer] = ["", ""];
let [first, second] = ["", ""];
let folders = 0;

beforeAll(async () => {
	const opencode = await lab.opencode();
	const copy = async (name: string) => {
		const live = await openSqlite(opencode.databasePath, { readonly: true });
		live.prepare("VACUUM INTO ?").run(lab.path(name));
		live.close();
		const made = await openSqlite(lab.path(name));
		made.exec("PRAGMA journal_mode = WAL");
		made.close();
		return lab.path(name);
	};
	first = (await opencode.createSession()).id;
	await opencode.prompt(first, "say: one");
	older = await copy("older.db");
	await opencode.prompt(first, "say: two");
	second = (await opencode.createSession()).id;
	await opencode.prompt(second, "say: three");
	newer = await copy("newer.db");
	await opencode.stop();
});
afterAll(() => lab.close());

/** A folder of its own with the newer database in it. */
function placed(from: string | undefined = newer): string {
	const path = lab.path(`place-${folders++}`, "opencode.db");
	mkdirSync(dirname(path));
	if (from !== undefined) copyFileSync(from, path);
	return path;
}

/** An agent beside a database; none of its shares is ever deleted, though it would where OpenCode has deleted a session. */
async function beside(path: string): Promise<World> {
	const world = await World.beside(path, { onDelete: "delete" });
	onTestFinished(() => world.close());
	return world;
}

/** Puts another file under the name, as a restored backup is. */
function replace(path: string, by: string): void {
	copyFileSync(by, `${path}.new`);
	for (const side of ["-wal", "-shm"]) rmSync(path + side, { force: true });
	renameSync(`${path}.new`, path);
}

const digest = (path: string) => createHash("sha256").update(readFileSync(path)).digest("hex");
const stateOf = (world: World, id: string) => world.agent.outbox.session(id)?.source_state;
const paused = (world: World) => world.agent.outbox.agent()?.capture_paused ?? null;

/** The agent says what is wrong, once, in words and without a stack, and `status` has it. */
async function expectSaid(world: World, code: string, words: RegExp): Promise<void> {
	await world.until(code, () => paused(world) === code);
	expect(world.agent.outbox.agent()?.last_error).toMatch(words);
	const told = world.log.filter(({ message }) => message === "capture is stopped");
	expect(told.map(({ facts }) => String(facts.err))).toEqual([expect.stringMatching(words)]);
	expect(String(told[0]?.facts.err)).not.toMatch(/\n\s+at /);
	expect(String(told[0]?.facts.hint)).toMatch(/\w/);
	world.log.length = 0;
}

/** It goes on by itself, with all that was captured before. */
async function expectMended(world: World): Promise<void> {
	await world.until("capture to go on", () => paused(world) === null && world.said(/capture goes on/));
	await world.untilEqual(first, second);
	expect([first, second].map((id) => stateOf(world, id))).toEqual(["present", "present"]);
}

describe("OpenCode's database", () => {
	it("that is missing is waited for; whose folder is removed is waited for again, and nothing is taken for deleted", async () => {
		const path = placed();
		const away = `${dirname(path)}-away`;
		renameSync(dirname(path), away);
		const world = await beside(path);
		await world.start();
		await world.until("the agent to wait", () => world.agent.outbox.agent()?.state === "waiting");
		expect(world.said(/waiting for OpenCode There is no OpenCode database yet/)).toBe(true);
		renameSync(away, dirname(path));
		await world.untilEqual(first, second);
		renameSync(dirname(path), away);
		await world.until("the agent to wait", () => world.agent.outbox.agent()?.state === "waiting");
		renameSync(away, dirname(path));
		await world.until("the agent to run", () => world.agent.outbox.agent()?.state === "running");
		await world.untilEqual(first, second);
		expect([first, second].map((id) => stateOf(world, id))).toEqual(["present", "present"]);
	});

	it("that is locked as a whole is said to be; a transaction that lasts keeps nobody out", async () => {
		const path = placed();
		const holder = await startWriter(path, second);
		await holder.says("PRAGMA locking_mode = EXCLUSIVE");
		await holder.says("while it is locked");
		const world = await beside(path);
		await world.start();
		await expectSaid(world, "busy", /is locked by another program/);
		await holder.close();
		await expectMended(world);

		const writer = await startWriter(path, second);
		await writer.says("BEGIN EXCLUSIVE");
		await writer.says("in a transaction that lasts");
		await world.agent.capture(new AbortController().signal);
		expect(paused(world)).toBeNull();
		await world.untilEqual(second);
		await writer.says("COMMIT");
		await world.until("what it wrote", () =>
			world.server.applied.some(({ payload }) => payload.includes("that lasts")),
		);
		await world.untilEqual(second);
		await writer.close();
	});

	it("that is replaced by an older backup, or by another machine's, costs no share; what is back is as it was", async () => {
		const path = placed();
		const world = await beside(path);
		await world.start();
		await world.untilEqual(first, second);
		replace(path, older);
		await world.until("it to vanish", () => stateOf(world, second) === "vanished");
		// The first one is followed to where the backup has it.
		await world.untilEqual(first);
		expect(world.shareOf(second)?.size).toBeGreaterThan(3);
		expect(world.said(/its share is kept/)).toBe(true);
		replace(path, newer);
		await world.until("it to be back", () => stateOf(world, second) === "present");
		await world.untilEqual(first, second);

		const others = await OpencodeDatabase.create(lab.path("others.db"));
		others.session("ses_other");
		others.sql.exec("PRAGMA wal_checkpoint(TRUNCATE)");
		others.sql.close();
		replace(path, lab.path("others.db"));
		await world.untilEqual("ses_other");
		// What is there is read before what is not.
		await world.until("both to vanish", () => [first, second].every((id) => stateOf(world, id) === "vanished"));
		replace(path, newer);
		await world.until("it to be back", () => stateOf(world, second) === "present");
		await world.untilEqual(first, second);
		for (const id of [first, second, "ses_other"]) expect(world.shareOf(id)?.size).toBeGreaterThan(0);
	});

	it("that is corrupt or cut short is named, is not written to, and is read again once it is mended", async () => {
		const path = placed();
		const world = await beside(path);
		await world.start();
		await world.untilEqual(first, second);
		await world.agent.stop();
		const sound = readFileSync(path);
		const damages: [string, () => void][] = [
			[
				"pages are overwritten",
				() => writeFileSync(path, Buffer.concat([sound.subarray(0, 4096), Buffer.alloc(sound.length - 4096, 0xa5)])),
			],
			["it is cut to a half", () => truncateSync(path, Math.floor(sound.length / 2))],
			[
				"it is no database any more",
				() => writeFileSync(path, "not a database, but long enough to be one ".repeat(500)),
			],
		];
		for (const [name, damage] of damages) {
			damage();
			const before = digest(path);
			await world.start();
			await expectSaid(world, "corrupt", /is damaged, or no SQLite database/);
			expect(digest(path), name).toBe(before);
			writeFileSync(path, sound);
			await expectMended(world);
			await world.agent.stop();
		}
		truncateSync(path, 0);
		await world.start();
		await world.until("the agent to wait", () => world.agent.outbox.agent()?.state === "waiting");
		writeFileSync(path, sound);
		await world.until("the agent to run", () => world.agent.outbox.agent()?.state === "running");
		await world.untilEqual(first, second);
		expect([first, second].map((id) => stateOf(world, id))).toEqual(["present", "present"]);
	});

	it("that lost its WAL under a running agent is opened anew, and followed to where it stands now", async () => {
		const path = placed();
		const writer = await startWriter(path, second);
		await writer.says("of this nothing will be left");
		const world = await beside(path);
		await world.start();
		await world.untilEqual(second);
		await writer.kill();
		for (const side of ["-wal", "-shm"]) rmSync(path + side);
		const next = await startWriter(path, second);
		await next.says("after the loss");
		await world.until("what came later", () =>
			world.server.applied.some(({ payload }) => payload.includes("after the loss")),
		);
		await world.untilEqual(first, second);
		expect(stateOf(world, second)).toBe("present");
		await next.close();
	});
});

const isRoot = process.getuid?.() === 0 && process.platform === "linux";
if (!isRoot) console.log("skipped: only root can mount a read-only volume, or a small disk");

describe.skipIf(!isRoot)("OpenCode's database on a volume", () => {
	it("that is read-only is read while OpenCode has it open, and said not to be readable otherwise", async () => {
		const path = placed();
		const mount = `${dirname(path)}-mounted`;
		mkdirSync(mount);
		execFileSync("mount", ["--bind", dirname(path), mount]);
		onTestFinished(() => void execFileSync("umount", ["-l", mount]));
		execFileSync("mount", ["-o", "remount,bind,ro", mount]);
		const before = digest(path);
		const world = await beside(join(mount, "opencode.db"));
		await world.start();
		await expectSaid(world, "io", /cannot be read/);
		const writer = await startWriter(path, second);
		await writer.says("on a volume that others only read");
		await expectMended(world);
		await writer.says("and on");
		await world.until("it", () => world.server.applied.some(({ payload }) => payload.includes('"and on"')));
		await world.untilEqual(first, second);
		expect(digest(path)).toBe(before);
		await writer.close();
	});

	it("that is full is named, and read as soon as there is room for the -shm file", async () => {
		const disk = mountSmallDisk(8 * 1024 * 1024);
		if (typeof disk === "string") throw new Error(disk);
		onTestFinished(() => disk.unmount());
		const path = join(disk.path, "opencode.db");
		copyFileSync(newer, path);
		const before = digest(path);
		disk.fill();
		const world = await beside(path);
		await world.start();
		await expectSaid(world, "io", /cannot be read/);
		disk.clear();
		await expectMended(world);
		expect(digest(path)).toBe(before);
		await world.agent.stop();
	});
});
