import { existsSync, readFileSync, statSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Outbox } from "../../src/outbox/outbox.ts";
import { acquireLock } from "../../src/sqlite/lock.ts";
import { after, append, message, part, S, sealAndReserve } from "../outbox/fixture.ts";
import { type Machine, machine } from "./lab.ts";

const HOSTILE = "\u001b[2J\u202eevil";

/** m1 was refused, its part was set aside with it; and a part of another session could not be read. Numbers 1, 2, 3. */
async function withLetters(): Promise<Machine & { outbox: Outbox }> {
	const home = machine();
	const outbox = await home.openOutbox();
	append(outbox, [message("e1", "m1", HOSTILE), part("e2", "m1", "p1")]);
	sealAndReserve(outbox);
	outbox.reject(S, 0, "invalid_payload", `not liked ${HOSTILE}`, Date.now());
	const poison = { op_id: "e9", type: "part", key: "part/m9/p9", code: "invalid_payload", reason: "no JSON" } as const;
	append(outbox, [poison], Date.now(), "ses_2");
	return { ...home, outbox };
}

async function json({ cli }: Machine, ...args: string[]) {
	const { code, stdout, stderr } = await cli(["dead", ...args, "--json"]);
	expect(stderr).toBe("");
	return { code, value: JSON.parse(stdout) };
}

test("list names every letter with its reason and size, and never its payload", async () => {
	const home = await withLetters();
	const { code, value } = await json(home, "list");
	expect(code).toBe(0);
	expect(value).toEqual([
		expect.objectContaining({
			id: 1,
			session_id: S,
			op_id: "e1",
			key: "message/m1",
			code: "invalid_payload",
			parent_id: null,
			has_payload: true,
		}),
		expect.objectContaining({ id: 2, session_id: S, op_id: "e2", code: "missing_dependency", parent_id: 1 }),
		expect.objectContaining({ id: 3, session_id: "ses_2", bytes: 0, has_payload: false }),
	]);
	expect(value.some((letter: object) => "payload" in letter)).toBe(false);
	expect((await json(home, "list", "--session", "ses_2")).value).toHaveLength(1);

	const { stdout } = await home.cli(["dead", "list"]);
	expect(stdout.split("\n")).toHaveLength(5);
	expect(stdout).toMatch(/^1 +ses_1 +message\/m1 .*invalid_payload +not liked +evil$/m);
	expect(stdout.replaceAll("\n", "")).not.toMatch(/[\p{Cc}\p{Cf}]/u);
});

test("show prints the payload without what steers a terminal; the JSON has it whole", async () => {
	const home = await withLetters();
	const { stdout } = await home.cli(["dead", "show", "1"]);
	expect(stdout).toContain("evil");
	expect(stdout.replaceAll("\n", "")).not.toMatch(/[\p{Cc}\p{Cf}]/u);
	const { value } = await json(home, "show", "1");
	expect(JSON.parse(value.payload)).toEqual({ text: HOSTILE });
	expect((await home.cli(["dead", "show", "3"])).stdout).toContain("none: it could not be read");
});

test("export writes letters whole, a line each, and leaves them where they are", async () => {
	const { outbox, ...home } = await withLetters();
	const { code, stdout, stderr } = await home.cli(["dead", "export", "3", "1", "1"]);
	expect([code, stderr]).toEqual([0, "2 dead letters exported.\n"]);
	const letters = stdout
		.trimEnd()
		.split("\n")
		.map((line) => JSON.parse(line));
	expect(letters).toEqual([
		expect.objectContaining({ id: 1, code: "invalid_payload", payload: JSON.stringify({ text: HOSTILE }) }),
		expect.objectContaining({ id: 3, session_id: "ses_2", payload: null }),
	]);
	expect(stdout.replaceAll("\n", "")).not.toMatch(/[\p{Cc}\p{Cf}]/u);
	expect(outbox.deadLetters()).toHaveLength(3);
});

test("export makes a file of one's own, and overwrites none, nor follows a link", async () => {
	const home = await withLetters();
	const path = join(home.home, "letters.jsonl");
	expect((await json(home, "export", "--all", "--out", path)).value).toEqual({ exported: 3, path });
	expect(statSync(path).mode & 0o777).toBe(0o600);
	const before = readFileSync(path, "utf8");
	expect(before.trimEnd().split("\n")).toHaveLength(3);
	const link = join(home.home, "link");
	symlinkSync(join(home.home, "elsewhere"), link);
	for (const taken of [path, link]) {
		const { code, stderr } = await home.cli(["dead", "export", "--all", "--out", taken]);
		expect([code, stderr]).toEqual([73, expect.stringContaining("is there already")]);
	}
	expect([readFileSync(path, "utf8"), existsSync(join(home.home, "elsewhere"))]).toEqual([before, false]);
	const nowhere = await home.cli(["dead", "export", "1", "--out", join(home.home, "no", "folder")]);
	expect([nowhere.code, nowhere.stderr]).toEqual([74, expect.stringMatching(/^error: .*no\/folder/)]);
});

test("revive puts a letter and those set aside with it back, beside a running agent", async () => {
	const { dataDir, outbox, ...home } = await withLetters();
	const lock = await acquireLock(`${dataDir}/agent.lock`);
	after(() => "release" in lock && lock.release());
	const before = outbox.version();
	const { code, value } = await json({ dataDir, ...home }, "revive", "1");
	expect([code, value]).toEqual([0, [{ id: 1, outcome: "revived", ops: 2 }]]);
	expect(outbox.session(S)?.pending).toBe(2);
	expect(outbox.deadLetters().map((letter) => letter.id)).toEqual([3]);
	// That is what wakes the agent.
	expect(outbox.version()).not.toBe(before);
});

test("revive tells what was superseded", async () => {
	const { outbox, ...home } = await withLetters();
	append(outbox, [message("e3", "m1", "newer"), part("e4", "m1", "p1", "newer")], 6000);
	const { code, value } = await json(home, "revive", "1");
	expect([code, value]).toEqual([0, [{ id: 1, outcome: "superseded", ops: 0 }]]);
});

test("revive --all takes each letter once and keeps what has nothing to send, with exit code 1", async () => {
	const { outbox, ...home } = await withLetters();
	const { code, stdout } = await home.cli(["dead", "revive", "--all"]);
	expect(code).toBe(1);
	expect(stdout).toMatch(/^1: revived, 2 ops pending again\.\n3: has no payload/);
	expect(outbox.deadLetters().map((letter) => letter.id)).toEqual([3]);
	expect((await json(home, "revive", "--all", "--session", S)).value).toEqual([]);
});

test("discard takes one without asking, and more only with --yes", async () => {
	const { outbox, ...home } = await withLetters();
	for (const choice of [["--all"], ["1", "3"]]) {
		const { code, stderr } = await home.cli(["dead", "discard", ...choice]);
		expect([code, stderr]).toEqual([64, expect.stringContaining("--yes")]);
	}
	expect(outbox.deadLetters()).toHaveLength(3);
	expect(await json(home, "discard", "1")).toEqual({ code: 0, value: { discarded: 2 } });
	expect(await json(home, "discard", "--all", "--yes")).toEqual({ code: 0, value: { discarded: 1 } });
	expect(outbox.deadLetters()).toEqual([]);
});

test("a number that is not there ends with 66, and none of the others is touched", async () => {
	const { outbox, ...home } = await withLetters();
	for (const verb of [
		["revive", "1", "42"],
		["discard", "1", "42", "-y"],
		["show", "42"],
		["export", "1", "42"],
	]) {
		const { code, stderr } = await home.cli(["dead", ...verb]);
		expect([code, stderr]).toEqual([
			66,
			expect.stringMatching(/^error: There is no dead letter 42\.\n {2}`opencode-outbox dead list`/),
		]);
	}
	expect(outbox.deadLetters()).toHaveLength(3);
});

test("a choice of nothing, of both, or of a session's single letter is a wrong use", async () => {
	const { cli } = await withLetters();
	for (const choice of [[], ["1", "--all"], ["1", "--session", S]])
		expect((await cli(["dead", "revive", ...choice])).code).toBe(64);
});

test("where nothing has run yet there are no letters, and nothing is made by asking", async () => {
	const home = machine();
	expect((await home.cli(["dead", "list"])).stdout).toBe("No dead letters.\n");
	expect((await home.cli(["dead", "revive", "1"])).code).toBe(66);
	expect((await json(home, "discard", "--all", "--yes")).value).toEqual({ discarded: 0 });
	expect(existsSync(home.dataDir)).toBe(false);
});
