import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { durationFlag, parseDuration } from "../../src/cli/duration.ts";
import { jsonFault } from "../../src/cli/json-fault.ts";
import { pathsIn } from "../../src/cli/paths.ts";
import { remoteServer, resolveSettings, settingsArgs } from "../../src/cli/settings.ts";
import { SETTING_NAMES, variableOf } from "../../src/cli/settings-table.ts";
import { OutboxError } from "../../src/model/errors.ts";
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
			...{ dataDir: `${HOME}/.local/share/opencode-outbox`, opencodeDb: undefined, opencodeUrl: undefined },
			...{ server: undefined, serverKeyFile: undefined, share: "auto", port: 4590, pollMs: 500, logLevel: "info" },
			outboxMaxBytes: 2 * 1024 ** 3,
			opencodeBin: "opencode",
		});
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
	for (const server of ["ftp://example.com", "example.com", "https://example.com/?a=1", "https://example.com/#a"])
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
