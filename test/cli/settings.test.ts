import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { gathered } from "../../src/cli/arguments.ts";
import { durationFlag, parseDuration } from "../../src/cli/duration.ts";
import { jsonFault } from "../../src/cli/json-fault.ts";
import { opencodeOf, sourceKind } from "../../src/cli/opencode.ts";
import { pathsIn } from "../../src/cli/paths.ts";
import { remoteServer, resolveSettings, settingsArgs } from "../../src/cli/settings.ts";
import { isList, SETTING_NAMES, variableOf } from "../../src/cli/settings-table.ts";
import { OutboxError } from "../../src/model/errors.ts";
import { RATES } from "../../src/protocol/rates.ts";
import { tempFolder } from "../outbox/fixture.ts";

const HOME = "/home/someone";

/** Settings of a machine whose config file is `config`. */
function resolve(from: { flags?: Record<string, unknown>; env?: Record<string, string>; config?: unknown }) {
	const folder = tempFolder();
	const file = join(folder, "opencode-outbox", "config.json");
	if (from.config !== undefined) {
		mkdirSync(dirname(file));
		writeFileSync(file, typeof from.config === "string" ? from.config : JSON.stringify(from.config));
	}
	const settings = () => resolveSettings(from.flags ?? {}, { HOME, XDG_CONFIG_HOME: folder, ...from.env });
	return { file, folder: dirname(file), settings };
}

function failure(body: () => unknown): OutboxError {
	try {
		body();
	} catch (error) {
		if (error instanceof OutboxError) return error;
		throw error;
	}
	throw new Error("nothing was thrown");
}

describe("a setting", () => {
	test("has its default when nothing sets it", () => {
		expect(resolve({}).settings()).toEqual({
			...{
				dataDir: `${HOME}/.local/share/opencode-outbox`,
				opencodeDb: undefined,
				opencodeUrl: undefined,
				source: "auto",
			},
			...{ server: undefined, serverKeyFile: undefined, share: "auto", port: 4590, pollMs: 500, logLevel: "info" },
			...{ onDelete: "keep", outboxMaxBytes: 2 * 1024 ** 3, checkpointMs: 2000 },
			outboxMaxBytes: 2 * 1024 ** 3,
			...{ include: [], exclude: [], includeTitle: [], excludeTitle: [], maxAgeMs: undefined },
			...{ redact: [], redactPattern: [] },
			opencodeBin: "opencode",
			opencodeShare: false,
			...{ limitCreates: RATES.creates, limitRedemptions: RATES.redemptions },
			...{ retainMs: undefined, shareBytesMax: undefined, ownerBytesMax: undefined, ownerSharesMax: undefined },
			...{ limitGuesses: RATES.guesses, limitAppend: RATES.appendBytes },
		});
	});

	test.each([
		["limit-creates", "600/1m", { amount: 600, ms: 60_000 }],
		["limit-creates", "off", undefined],
		["limit-guesses", "0/1s", undefined],
		["limit-append", "1.5MiB/500ms", { amount: 1.5 * 1024 ** 2, ms: 500 }],
		["limit-append", "0", undefined],
	] as const)("%s may be %s", (name, text, rate) => {
		const field = {
			"limit-creates": "limitCreates",
			"limit-guesses": "limitGuesses",
			"limit-append": "limitAppend",
		} as const;
		expect(resolve({ flags: { [name]: text } }).settings()[field[name]]).toEqual(rate);
	});

	test.each([
		["limit-creates", "600"],
		["limit-creates", "600/1h"],
		["limit-creates", "1MiB/1s"],
		["limit-append", "600/1m"],
		["limit-append", "1MiB/1s/1s"],
	])("%s may not be %s", (name, text) => {
		expect(() => resolve({ flags: { [name]: text } }).settings()).toThrow(`--${name} ${text}: expected a`);
	});

	test.each([
		["off", 0],
		["0", 0],
		["0s", 0],
		["1500ms", 1500],
	])("checkpoint may be %s", (text, ms) => {
		expect(resolve({ flags: { checkpoint: text } }).settings()).toMatchObject({ checkpointMs: ms });
	});

	test("is taken from the flag before the environment before the config file", () => {
		const config = { port: 1, share: "manual", poll: "1s" };
		const env = { OPENCODE_OUTBOX_PORT: "2", OPENCODE_OUTBOX_POLL: "2s" };
		expect(resolve({ flags: { port: "3" }, env, config }).settings()).toMatchObject({
			...{ port: 3, pollMs: 2000, share: "manual" },
		});
	});

	test("is unset by an empty variable", () => {
		expect(resolve({ env: { OPENCODE_OUTBOX_PORT: "" }, config: { port: 7 } }).settings().port).toBe(7);
	});

	for (const name of SETTING_NAMES)
		test(`${name} has a variable, a key and a flag, and says what it expects of each`, () => {
			const wrong = name === "data-dir" || name.includes("file") || name.endsWith("db") ? "a\0b" : "?";
			const variable = variableOf(name);
			const flag = failure(resolve({ flags: { [name]: wrong } }).settings);
			const env = failure(resolve({ env: { [variable]: wrong } }).settings);
			const { file, settings } = resolve({ config: { [name]: wrong } });
			const key = failure(settings);
			expect(flag.code).toBe("usage");
			expect(flag.message).toMatch(new RegExp(`^--${name} .*: expected `));
			expect(env.code).toBe("config");
			expect(env.message).toMatch(new RegExp(`^${variable}=.*: expected .*from the environment`));
			expect(key.code).toBe("config");
			expect(key.message.startsWith(`${name}: expected `)).toBe(true);
			expect(key.message).toContain(file);
		});

	test("of the wrong type in the config file is refused", () => {
		for (const value of [true, null, ["4590"], {}])
			expect(failure(resolve({ config: { port: value } }).settings).message).toContain("expected a port, 0-65535");
	});

	test("that is wrong does not matter where another origin wins", () => {
		expect(resolve({ flags: { port: "0" }, env: { OPENCODE_OUTBOX_PORT: "x" } }).settings().port).toBe(0);
	});
});

describe("a list", () => {
	const lists = (from: Parameters<typeof resolve>[0]) => {
		const { exclude, excludeTitle } = resolve(from).settings();
		return { exclude, excludeTitle };
	};

	test("is an array in the config file, or one text", () => {
		expect(lists({ config: { exclude: ["/a", "/b,c"], "exclude-title": "x,{1,3}y" } })).toEqual({
			...{ exclude: ["/a", "/b,c"], excludeTitle: ["x,{1,3}y"] },
		});
		expect(lists({ config: { exclude: [] } }).exclude).toEqual([]);
	});

	test("has an item per line in its variable, and in a flag that was repeated", () => {
		expect(lists({ env: { OPENCODE_OUTBOX_EXCLUDE: "/a\n**/b\n" } }).exclude).toEqual(["/a", "**/b"]);
		const args = settingsArgs("exclude", "port");
		const given = ["--exclude", "/a", "--port=1", "--exclude=/b", "x", "--", "--exclude"];
		const raw = gathered(args, given, isList);
		expect(raw).toEqual(["--exclude=/a\n/b", "--port=1", "x", "--", "--exclude"]);
		expect(lists({ flags: { exclude: "/a\n/b" } }).exclude).toEqual(["/a", "/b"]);
	});

	test("comes from one place as a whole", () => {
		expect(lists({ flags: { exclude: "/a" }, config: { exclude: ["/b"] } }).exclude).toEqual(["/a"]);
	});

	test("names the item that is wrong", () => {
		const { message, code } = failure(resolve({ config: { "redact-pattern": ["ok", "(?=no)"] } }).settings);
		expect(code).toBe("config");
		expect(message).toMatch(/^redact-pattern: expected a regular expression in RE2's syntax .*, not "\(\?=no\)"/);
		expect(failure(resolve({ config: { exclude: ["/a", 7] } }).settings).message).toContain("begins with /, ~/ or **/");
		expect(failure(resolve({ config: { exclude: ["/a", null] } }).settings).message).toContain("not null");
		expect(failure(resolve({ flags: { exclude: "/a[" } }).settings).message).toContain("--exclude /a[");
		const unknown = failure(resolve({ flags: { redact: "github" } }).settings);
		expect(unknown.message).toMatch(/--redact github: expected all, aws-access-key, /);
	});

	test("of globs has ~ expanded, where it stands for no glob", () => {
		const { settings } = resolve({ config: { include: ["~/a*", "~"] }, env: { HOME: "/home/a(b)" } });
		expect(settings().include).toEqual(["/home/a\\(b\\)/a*", "/home/a\\(b\\)"]);
	});
});

test("an age is in days, if need be", () => {
	expect(resolve({ flags: { "max-age": "30d" } }).settings().maxAgeMs).toBe(30 * 86_400_000);
	for (const age of ["30", "1s", "20000d"])
		expect(failure(resolve({ flags: { "max-age": age } }).settings).code).toBe("usage");
});

test("a wrong port is named with its origin", () => {
	const { message, exitCode } = failure(resolve({ env: { OPENCODE_OUTBOX_PORT: "abc" } }).settings);
	expect(message).toBe("OPENCODE_OUTBOX_PORT=abc: expected a port, 0-65535 (from the environment).");
	expect(exitCode).toBe(78);
});

test("an unknown variable is refused with the nearest known one", () => {
	const error = failure(resolve({ env: { OPENCODE_OUTBOX_PROT: "1" } }).settings);
	expect(error).toMatchObject({ code: "config", hint: "Did you mean OPENCODE_OUTBOX_PORT?" });
	expect(error.message).toContain("OPENCODE_OUTBOX_PROT");
	const far = failure(resolve({ env: { OPENCODE_OUTBOX_TIMEZONE: "1" } }).settings);
	expect(far.hint).toMatch(/^Unset it\./);
});

test("an unknown config key is refused with the nearest known one", () => {
	const { file, settings } = resolve({ config: { serverkeyfile: "x" } });
	const error = failure(settings);
	expect(error).toMatchObject({ code: "config", hint: "Did you mean server-key-file?" });
	expect(error.message).toContain(file);
});

test("a config file that is not JSON is refused with its place", () => {
	const { file, settings } = resolve({ config: '{\n\t"port": 1,\n\t"share": auto\n}' });
	expect(failure(settings).message).toBe(`${file}:3:11 is not JSON: expected a value.`);
	expect(failure(resolve({ config: "[1]" }).settings).message).toMatch(/no JSON object/);
});

test("the place of a fault in JSON is found", () => {
	const place = (text: string) => {
		const { line, column, expected } = jsonFault(text);
		return `${line}:${column} ${expected}`;
	};
	expect(place("")).toBe("1:1 a value");
	expect(place('{"a":1,}')).toBe("1:8 a name in double quotes");
	expect(place('{"a" 1}')).toBe("1:6 a colon");
	expect(place('{"a":[1 2]}')).toBe("1:9 a comma or ]");
	expect(place('{"a":"b}')).toBe("1:6 a value");
	expect(place('{"a":1}\nx')).toBe("2:1 the end of the file");
	expect(place('{"a":01}')).toBe("1:7 a comma or }");
});

test("a password in an address is refused and not repeated", () => {
	for (const from of [
		{ flags: { server: "https://user:hunter2@example.com" } },
		{ env: { OPENCODE_OUTBOX_SERVER: "https://user:hunter2@example.com" } },
		{ config: { server: "https://user:hunter2@example.com" } },
	]) {
		const { message, hint } = failure(resolve(from).settings);
		expect(message + hint).not.toContain("hunter2");
	}
});

test("an address loses its trailing slashes", () => {
	const { server } = resolve({ flags: { server: "HTTPS://Example.com/base//" } }).settings();
	expect(server).toBe("https://example.com/base");
	for (const server of [
		"ftp://example.com",
		"example.com",
		"http:example.com",
		"https://example.com/?a=1",
		"https://example.com/#a",
	])
		expect(failure(resolve({ flags: { server } }).settings).code).toBe("usage");
});

test("a relative path is below the working directory, in the config file below its folder, and ~ is home", () => {
	expect(resolve({ flags: { "data-dir": "here" } }).settings().dataDir).toBe(join(process.cwd(), "here"));
	expect(resolve({ env: { OPENCODE_OUTBOX_DATA_DIR: "~/there" } }).settings().dataDir).toBe(`${HOME}/there`);
	const { folder, settings } = resolve({ config: { "server-key-file": "key" } });
	expect(settings().serverKeyFile).toBe(join(folder, "key"));
});

test("a server without its key file is refused with what to do", () => {
	const error = failure(() => remoteServer(resolve({ flags: { server: "https://a.example" } }).settings()));
	expect(error.code).toBe("config");
	expect(error.hint).toContain("--server-key-file");
	const flags = { server: "https://a.example", "server-key-file": "/k" };
	expect(remoteServer(resolve({ flags }).settings())).toEqual({ url: "https://a.example", keyFile: "/k" });
	expect(remoteServer(resolve({}).settings())).toBeUndefined();
});

test("a duration needs its unit", () => {
	expect(["500ms", "2s", "1.5s", "2m", "1h"].map(parseDuration)).toEqual([500, 2000, 1500, 120_000, 3_600_000]);
	expect(durationFlag("timeout", "24h")).toBe(86_400_000);
	const tooLong = failure(() => durationFlag("timeout", "25h"));
	expect(tooLong).toMatchObject({ code: "usage", message: "--timeout 25h: expected 24h at most." });
	expect(["500", "", "-1s", "s", "1 day", "1e3s"].map(parseDuration)).toEqual(Array(6).fill(undefined));
	for (const poll of ["1ms", "2h"]) expect(failure(resolve({ flags: { poll } }).settings).code).toBe("usage");
});

test("the flags of settings are generated from the table", () => {
	const args = settingsArgs("port", "data-dir");
	expect(Object.keys(args)).toEqual(["port", "data-dir"]);
	expect(args.port).toMatchObject({ type: "string", valueHint: "PORT" });
});

test("everything lies below the data folder", () => {
	expect(pathsIn("/d")).toMatchObject({
		...{ outbox: "/d/outbox.db", lock: "/d/agent.lock" },
		...{ serverDatabase: "/d/server/share.db", serverKey: "/d/server/key" },
	});
});

test("the source is OpenCode's server where that is on another host, unless it is said otherwise", () => {
	const at = (url: string) => ({ url: new URL(url) });
	for (const url of ["http://localhost:4096", "http://127.0.0.1", "http://127.1.2.3", "http://[::1]:4096"])
		expect(sourceKind("auto", at(url))).toBe("database");
	for (const url of [
		"http://build-host:4096",
		"https://opencode.example.org",
		"http://10.0.0.1",
		"http://127.example.org",
	])
		expect(sourceKind("auto", at(url))).toBe("server");
	expect(sourceKind("auto", undefined)).toBe("database");
	expect(sourceKind("server", at("http://localhost"))).toBe("server");
	expect(sourceKind("database", at("http://build-host"))).toBe("database");
	const { settings } = resolve({ flags: { source: "server" } });
	expect(() => opencodeOf(settings())).toThrow("source is server, and opencode-url is not set.");
});
