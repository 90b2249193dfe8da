import { execFile } from "node:child_process";
import { hash } from "node:crypto";
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { ensureServerKey, readServerKey } from "../../src/cli/server-key.ts";
import { tempFolder } from "../outbox/fixture.ts";

const KEY = "k".repeat(43);

function keyFile(text: string, mode = 0o600): string {
	const path = join(tempFolder(), "key");
	writeFileSync(path, text);
	chmodSync(path, mode);
	return path;
}

test("a key is 256 random bits in a file and a folder of its user alone", () => {
	const path = join(tempFolder(), "server", "key");
	const key = ensureServerKey(path);
	expect(key).toMatch(/^[A-Za-z0-9_-]{43}$/);
	expect(statSync(path).mode & 0o777).toBe(0o600);
	expect(statSync(dirname(path)).mode & 0o777).toBe(0o700);
	expect(readdirSync(dirname(path))).toEqual(["key"]);
	expect(ensureServerKey(path)).toBe(key);
	expect(readServerKey(path)).toBe(key);
});

test("several processes at once end with one key", async () => {
	const path = join(tempFolder(), "server", "key");
	const module = new URL("../../src/cli/server-key.ts", import.meta.url).href;
	const script = `import { hash } from "node:crypto"; import { ensureServerKey } from ${JSON.stringify(module)};
		console.log(hash("sha256", ensureServerKey(${JSON.stringify(path)})))`;
	const run = () => promisify(execFile)(process.execPath, ["--input-type=module", "-e", script]);
	const keys = (await Promise.all(Array.from({ length: 6 }, run))).map(({ stdout }) => stdout.trim());
	expect(new Set(keys)).toEqual(new Set([hash("sha256", readServerKey(path))]));
	expect(readdirSync(dirname(path))).toEqual(["key"]);
});

test("a key that is there already is left alone, even when it is no good", () => {
	const path = keyFile("short");
	expect(() => ensureServerKey(path)).toThrow(/no key/);
	expect(readFileSync(path, "utf8")).toBe("short");
});

test("white space around a key does not count", () => {
	expect(readServerKey(keyFile(`  ${KEY}\r\n`))).toBe(KEY);
});

test.skipIf(process.platform === "win32")("a key file that others can read is refused, as ssh does", () => {
	const path = keyFile("o".repeat(43), 0o640);
	expect(() => readServerKey(path)).toThrow(
		expect.objectContaining({
			code: "config",
			hint: expect.stringContaining(`chmod 600 ${path}.`),
			message: expect.stringContaining("0640"),
		}),
	);
});

test("a missing, empty, short or long key file, or a folder, is refused without its content", () => {
	const folder = join(tempFolder(), "folder");
	mkdirSync(folder);
	const long = "secretly-long ".repeat(50);
	for (const path of [join(folder, "none"), keyFile(""), keyFile("\n"), keyFile("pass"), keyFile(long), folder]) {
		const thrown = expect.objectContaining({ code: "config", message: expect.stringContaining(path) });
		expect(() => readServerKey(path)).toThrow(thrown);
		expect(() => readServerKey(path)).not.toThrow(/secretly|pass/);
	}
});
