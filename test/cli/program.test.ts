import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { checkArguments } from "../../src/cli/arguments.ts";
import { calledCommand, commandList } from "../../src/cli/commands.ts";
import { lessonOf } from "../../src/cli/teach.ts";
import { usage } from "../../src/cli/usage.ts";
import { asOutboxError } from "../../src/model/errors.ts";
import { MAIN } from "../fixture/cli.ts";
import { ended, machine } from "./lab.ts";

const COMMANDS = {
	run: [
		"--data-dir",
		"--opencode-db",
		"--opencode-url",
		"--source",
		"--server",
		"--server-key-file",
		"--share",
		"--port",
		"--poll",
	],
	flush: ["--timeout", "--json", "--data-dir"],
	status: ["--json", "--all", "--watch", "--interval", "--until-drained", "--data-dir"],
	doctor: ["--quick", "--expect", "--timeout", "--json", "--data-dir", "--server-key-file"],
	serve: ["--port", "--host", "--public-url", "--data-dir", "--server-key-file", "--json"],
	uninstall: ["--data-dir", "--force", "--purge", "--dry-run", "--json"],
	share: ["--data-dir"],
	unshare: ["--data-dir"],
	verify: ["--data-dir", "--json"],
	restore: ["--all", "--directory", "--continue", "--fork", "--dry-run", "--opencode-bin", "--json"],
	"dead list": ["--session", "--json"],
	"dead show": ["--json"],
	"dead export": ["--all", "--session", "--out", "--json"],
	"dead revive": ["--all", "--session", "--json"],
	"dead discard": ["--all", "--session", "--yes", "--json"],
};

describe("help", () => {
	for (const [name, flags] of Object.entries(COMMANDS))
		test(`of ${name} teaches its flags, exit codes and examples`, async () => {
			const stdout = await help(name.split(" "));
			for (const flag of flags) expect(stdout).toMatch(new RegExp(`^  (-., )?${flag}\\b`, "m"));
			expect(stdout).toContain(`opencode-outbox ${name}`);
			for (const title of ["Usage", "Flags", "Settings", "Exit codes", "Examples"])
				expect(stdout).toContain(`\n${title}\n`);
			expect(stdout).toMatch(/^ {2}64 +a wrong command, flag or value$/m);
			expect(Math.max(...stdout.split("\n").map((line) => line.length))).toBeLessThanOrEqual(120);
		});

	test("of the program lists every command", async () => {
		const { code, stdout } = await machine().cli(["--help"]);
		expect(code).toBe(0);
		for (const name of Object.keys(COMMANDS)) expect(stdout).toMatch(new RegExp(`^  ${name.split(" ")[0]} `, "m"));
	});

	test("comes on stderr, as a wrong use, when no command is named", async () => {
		const { code, stdout, stderr } = await machine().cli([]);
		expect([code, stdout]).toEqual([64, ""]);
		expect(stderr).toContain("Commands");
	});
});

/** No config folder of its own, so that the help names the usual one. */
const BARE = { XDG_CONFIG_HOME: "" };

test("--help and help are the same, on stdout", async () => {
	const { cli } = machine();
	const [flag, word] = [await cli(["dead", "list", "--help"], BARE), await cli(["help", "dead", "list"], BARE)];
	expect(flag).toEqual({ code: 0, stdout: await help(["dead", "list"]), stderr: "" });
	expect(word).toEqual(flag);
});

test("--version prints the package's version", async () => {
	const manifest = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
	expect(await machine().cli(["--version"])).toEqual({ code: 0, stdout: `${manifest.version}\n`, stderr: "" });
});

describe("a wrong use", () => {
	const WRONG: [args: string, says: RegExp][] = [
		["stauts", /no command "stauts"[\s\S]*Did you mean status\?/],
		["dead lsit", /dead has no command "lsit"[\s\S]*Did you mean list\?/],
		["status --jsn", /no flag --jsn[\s\S]*Did you mean --json\?/],
		["status --dataDir x", /no flag --dataDir/],
		["--json status", /no flag --json/],
		["status -x", /no flag -x/],
		["status --no-json", /no flag --no-json/],
		["status --data-dir", /--data-dir needs a value/],
		["status --data-dir --json", /--data-dir needs a value/],
		["status --data-dir=", /--data-dir needs a value/],
		["status --all=yes", /--all takes no value/],
		["status now", /does not know what to do with "now"/],
		["status -- --json", /does not know what to do with "--json"/],
		["dead show", /needs NUMBER/],
		["dead show 1 2", /does not know what to do with "2"/],
	];
	for (const [args, says] of WRONG)
		test(`is named: ${args}`, async () => {
			const refusal = await understand(args.split(" ")).then(
				() => undefined,
				(error: unknown) => asOutboxError(error),
			);
			expect(refusal?.code).toBe("usage");
			expect(`${refusal?.message}\n${refusal?.hint}`).toMatch(says);
		});

	for (const args of ["stauts", "serve --port 70000", "dead show one"])
		test(`ends with 64, on stderr, without a stack: ${args}`, async () => {
			const { cli, openOutbox } = machine();
			await openOutbox();
			const { code, stdout, stderr } = await cli(args.split(" "));
			expect([code, stdout]).toEqual([64, ""]);
			expect(stderr).toMatch(/^error: .+\n {2}.+\n$/);
		});

	test("is a JSON object on stdout under --json, with the same exit code", async () => {
		const { code, stdout, stderr } = await machine().cli(["status", "--json", "--al"]);
		expect([code, stderr]).toEqual([64, ""]);
		expect(JSON.parse(stdout)).toEqual({
			error: { code: "usage", message: expect.stringContaining("--al"), hint: expect.stringContaining("--all") },
		});
	});
});

test("a wrong setting is told with its origin and ends with 78", async () => {
	const { cli, writeConfig, configFile } = machine();
	writeConfig('{"shares": "auto"}');
	const { code, stderr } = await cli(["status"]);
	expect(code).toBe(78);
	expect(stderr).toBe(
		`error: "shares" is no setting of opencode-outbox (from ${configFile}).\n  Did you mean share?\n`,
	);
});

test("what the file system says is told without a stack", async () => {
	const { cli, dataDir } = machine();
	mkdirSync(join(dataDir, "outbox.db"), { recursive: true });
	const { code, stderr } = await cli(["status"]);
	expect(code).toBeGreaterThan(0);
	expect(stderr).toMatch(/^error: .*outbox\.db.*\n {2}.*\n$/);
	expect(stderr).not.toMatch(/^\s+at /m);
});

test("a file that is no outbox is named and left alone", async () => {
	const { cli, dataDir } = machine();
	mkdirSync(dataDir, { recursive: true });
	writeFileSync(join(dataDir, "outbox.db"), "notes, and not a database at all ".repeat(100));
	for (const args of [["status"], ["dead", "list"]]) {
		const { code, stderr } = await cli(args);
		expect(code).toBe(65);
		expect(stderr).toMatch(/^error: .*outbox\.db is not an SQLite database/);
	}
});

test("a reader of stdout who has gone is no error", async () => {
	const { start } = machine();
	const child = start(["--help"]);
	child.stdout?.destroy();
	const [code, stderr] = await new Promise<[number | null, string]>((resolve) => {
		let err = "";
		child.stderr?.on("data", (chunk) => {
			err += chunk;
		});
		child.once("close", (exit) => resolve([exit, err]));
	});
	expect([code, stderr]).toEqual([0, ""]);
});

test("an asked-for secret setting does not exist: keys come from files", async () => {
	const { code, stderr } = await ended(machine().start(["run", "--server-key", "q".repeat(43)]));
	expect(code).toBe(64);
	expect(stderr).toContain("Did you mean --server-key-file?");
	expect(stderr).not.toContain("q".repeat(43));
});

const old = ["/usr/bin/node", "/usr/local/bin/node"].find((path) => existsSync(path) && isOld(path));
describe.skipIf(old === undefined)("on a runtime that is too old (skipped where none is installed)", () => {
	test("it says so in one line and ends with 78, before anything else is loaded", () => {
		const { status, stdout, stderr } = spawnSync(old ?? "", [MAIN, "run"], { encoding: "utf8" });
		expect([status, stdout]).toEqual([78, ""]);
		expect(stderr).toMatch(
			/^error: opencode-outbox needs Node 22\.14 or newer, or Bun; this is Node \d+\.\d+\.\d+\.\n$/,
		);
	});
});

function isOld(path: string): boolean {
	const [major = 0, minor = 0] = execFileSync(path, ["-p", "process.versions.node"], { encoding: "utf8" })
		.split(".")
		.map(Number);
	return major < 22 || (major === 22 && minor < 12);
}

async function understand(argv: readonly string[]): Promise<void> {
	const { name, command, args, rawArgs } = await calledCommand(argv);
	checkArguments(name, args, rawArgs, lessonOf(command)?.repeats ?? false);
}

async function help(argv: readonly string[]): Promise<string> {
	const called = await calledCommand(argv);
	return usage({ ...called, commands: await commandList(called) }, (_style, text) => text);
}
