import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Needles } from "./needles.ts";
import { EVIDENCE } from "./record.ts";
import { report, scan } from "./scan.ts";

const run = promisify(execFile);
const VITEST = fileURLToPath(new URL("../../node_modules/vitest/vitest.mjs", import.meta.url));
const here = (name: string) => fileURLToPath(new URL(`./planted/${name}`, import.meta.url));

/** Each needs another kind of escaping. */
const SERVER_KEY = "server/key+of=the%planted-kind-0123456789";
const CREATE_KEY = 'create "key" \\of the planted kind-0123456789';
const SECRET = "b64url_of-the-planted-kind-0123456789-abcde";

let folder: string;
beforeEach(() => {
	folder = mkdtempSync(join(tmpdir(), "outbox-planted-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

describe("a secret that was told", () => {
	test("is found wherever it is, by kind and place, and is not told again", async () => {
		const evidence = join(folder, "evidence");
		await run(process.execPath, [here("everywhere.ts"), join(folder, "lab"), SERVER_KEY, CREATE_KEY, SECRET], {
			env: { PATH: process.env.PATH, [EVIDENCE]: evidence },
		});
		const verdict = scan(evidence);
		expect(verdict.secrets).toEqual(
			new Map(
				[
					["server key", 1],
					["create key", 1],
					["share secret", 1],
				].sort() as never,
			),
		);
		const found = verdict.findings.map(({ kind, label, place }) =>
			`${kind}: ${label.replace(/ of node -e.*/s, "")}, ${place}`.replace(
				/(process|errors|lines|rows of .*), line .*/,
				"$1",
			),
		);
		expect(new Set(found.filter((place) => !place.includes("share database")))).toEqual(
			new Set([
				...(process.platform === "linux" ? ["create key: environment, line 1"] : []),
				"server key: command lines",
				"create key: stdout, line 3",
				"server key: stderr, line 1",
				"create key: rows of outbox.db",
				"server key: file some.log, line 2",
				"create key: log of this process",
				"share secret: errors",
			]),
		);
		expect(found).toContainEqual(expect.stringMatching(/^share secret: share database share\.db(-wal)?, byte \d+$/));
		for (const secret of [SERVER_KEY, CREATE_KEY, SECRET]) expect(report(verdict)).not.toContain(secret);
	}, 60_000);

	test("fails the run of the tests, all of which have passed", async () => {
		const failing = run(process.execPath, [VITEST, "run", "--config", here("vitest.config.ts")], {
			env: { PATH: process.env.PATH, PLANTED: SERVER_KEY },
		});
		const { code, stdout, stderr } = await failing.then(
			() => expect.unreachable("it passed"),
			(error) => error,
		);
		expect(code).toBe(1);
		expect(stdout).toMatch(/1 passed/);
		expect(stdout + stderr).toMatch(/a server key, as it is, in stdout of node -e .*tells\.ts\), line 2/);
		expect(stdout + stderr).toMatch(/a server key, URL-encoded, in console of the tests, line 1/);
		expect(stdout + stderr).not.toContain(SERVER_KEY);
	}, 60_000);
});

describe("the needles", () => {
	const found = (secret: string, text: string) =>
		[...new Needles([{ kind: "password", value: secret }]).in(Buffer.from(text))].map(({ at }) => at);

	test.each([
		["as it is", (text: string) => text],
		["as base64", (text: string) => Buffer.from(text).toString("base64")],
		["as base64url", (text: string) => Buffer.from(text).toString("base64url")],
		["in hexadecimal", (text: string) => Buffer.from(text).toString("hex")],
		["URL-encoded", encodeURIComponent],
		["JSON-escaped", (text: string) => JSON.stringify(text)],
		["as JSON in JSON", (text: string) => JSON.stringify(JSON.stringify(text))],
	])("find every secret %s, whatever stands around it, and nothing else", (_, encode) => {
		for (const secret of [SERVER_KEY, CREATE_KEY, SECRET, "žluťoučký kůň úpěl ďábelské ódy"])
			for (let before = 0; before < 4; before++) {
				expect(found(secret, encode(`${"x".repeat(before)}${secret}yz`))).not.toEqual([]);
				expect(found(secret, encode(`${"x".repeat(before)}${secret.slice(0, -3)}yz`))).toEqual([]);
			}
	});
});
