import { spawnSync } from "node:child_process";
import { expect, test } from "vitest";
import { ERRORS, type ErrorCode } from "../../src/model/errors.ts";

const FAILURE = new URL("../../src/cli/failure.ts", import.meta.url).href;
const ERRORS_FILE = new URL("../../src/model/errors.ts", import.meta.url).href;

/** Ends a process with what `complain` makes of `thrown`, an expression. */
function complain(thrown: string, argv: readonly string[] = [], env: Record<string, string> = {}) {
	const script = `
		import { complain } from ${JSON.stringify(FAILURE)};
		import { OutboxError } from ${JSON.stringify(ERRORS_FILE)};
		process.exit(complain(${thrown}, ${JSON.stringify(argv)}));`;
	const options = { encoding: "utf8", env: { PATH: process.env.PATH ?? "", ...env } } as const;
	const { status, stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", script], options);
	return { status, stdout, stderr };
}

test("a defect is told in two lines without its stack, which the debug log has", () => {
	const { status, stdout, stderr } = complain('new TypeError("x is not a function")');
	expect([status, stdout]).toEqual([70, ""]);
	expect(stderr).toBe(`error: x is not a function\n  ${ERRORS.internal.hint}\n`);
	const debug = complain('new TypeError("x")', [], { OPENCODE_OUTBOX_LOG_LEVEL: "debug" });
	expect(JSON.parse(debug.stderr.split("\n")[0] ?? "")).toMatchObject({
		stack: expect.stringMatching(/TypeError: x\n +at /),
	});
});

test("what is thrown that is no error is told too", () => {
	expect(complain('"just text"')).toMatchObject({ status: 70, stderr: expect.stringMatching(/^error: just text\n/) });
	expect(complain("undefined").status).toBe(70);
	expect(complain("null").status).toBe(70);
});

test("what the file system threw names the file and has its own exit code", () => {
	const { status, stderr } = complain(
		'Object.assign(new Error("no space left"), { code: "ENOSPC", path: "/d/outbox.db" })',
	);
	expect([status, stderr]).toEqual([
		74,
		expect.stringMatching(/^error: \/d\/outbox\.db could not be written: the disk is full/),
	]);
});

test("what SQLite threw names the outbox and has its own exit code", () => {
	const { status, stderr } = complain('Object.assign(new Error("database or disk is full"), { code: "SQLITE_FULL" })');
	expect([status, stderr]).toEqual([
		74,
		expect.stringMatching(/^error: The outbox could not be written: the disk is full/),
	]);
});

test("a message cannot steer the terminal", () => {
	expect(complain('new OutboxError("io", "a\\u001b[2J\\u202eb")').stderr).toBe(`error: ab\n  ${ERRORS.io.hint}\n`);
});

test("--json makes it an object on stdout, unless it comes after --", () => {
	const thrown = 'new OutboxError("owned", "taken", { hint: "wait" })';
	const { status, stdout, stderr } = complain(thrown, ["run", "--json"]);
	expect([status, stderr]).toEqual([75, ""]);
	expect(JSON.parse(stdout)).toEqual({ error: { code: "owned", message: "taken", hint: "wait" } });
	expect(complain(thrown, ["run", "--", "--json"]).stdout).toBe("");
});

test("every kind of trouble has a sysexits code and a hint", () => {
	for (const code of Object.keys(ERRORS) as ErrorCode[]) {
		expect(ERRORS[code].exit).toBeGreaterThanOrEqual(64);
		expect(ERRORS[code].exit).toBeLessThanOrEqual(78);
		expect(ERRORS[code].hint).toMatch(/\.$/);
	}
});
