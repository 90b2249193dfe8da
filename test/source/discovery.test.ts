import { mkdirSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { findOpencodeDatabase, noSource } from "../../src/source/discovery.ts";
import { temporaryFolder } from "./opencode-database.ts";

let folder: ReturnType<typeof temporaryFolder>;
let directory: string;
const at = (name: string) => join(directory, name);
const touch = (...names: string[]) => {
	for (const name of names) writeFileSync(at(name), "");
};
const find = (env: Record<string, string> = {}) => findOpencodeDatabase({ XDG_DATA_HOME: folder.path, ...env });

beforeEach(() => {
	folder = temporaryFolder();
	directory = join(folder.path, "opencode");
	mkdirSync(directory);
});
afterEach(() => folder.remove());

it("takes opencode.db in the data folder, beside whatever channel databases", () => {
	touch("opencode.db", "opencode-dev.db", "opencode.db-wal");
	expect(find()).toMatchObject({ path: at("opencode.db") });
});

it("takes the only channel database where there is no opencode.db", () => {
	touch("opencode-dev.db");
	expect(find()).toMatchObject({ path: at("opencode-dev.db") });
	expect(find({ OPENCODE_DISABLE_CHANNEL_DB: "true" })).toMatchObject({ path: at("opencode.db") });
});

it("guesses none of several channel databases, and names them", () => {
	touch("opencode-dev.db", "opencode-stable.db");
	const found = find();
	expect(found).toEqual({ path: at("opencode.db"), looked: [at("opencode.db")] });
	expect(noSource(found).message).toBe(
		`There is no OpenCode database yet. Looked for ${at("opencode.db")}. Not guessed between ${at("opencode-dev.db")} and ${at("opencode-stable.db")}.`,
	);
});

it("follows OPENCODE_DB: an absolute path, or a name in the data folder", () => {
	expect(find({ OPENCODE_DB: "/elsewhere/my.db" }).path).toBe("/elsewhere/my.db");
	expect(find({ OPENCODE_DB: "my.db" }).path).toBe(at("my.db"));
	expect(find({ OPENCODE_DB: "" }).path).toBe(at("opencode.db"));
	expect(() => find({ OPENCODE_DB: ":memory:" })).toThrow("in memory");
});

it("prefers what the person named", () => {
	expect(findOpencodeDatabase({ OPENCODE_DB: "/elsewhere/my.db" }, at("mine.db"))).toEqual({
		path: at("mine.db"),
		looked: [at("mine.db")],
	});
});

it("looks in the home folder without XDG_DATA_HOME", () => {
	expect(findOpencodeDatabase({ HOME: "/home/a" }).looked).toEqual(["/home/a/.local/share/opencode/opencode.db"]);
	expect(findOpencodeDatabase({}).looked[0]).toBe(join(homedir(), ".local/share/opencode/opencode.db"));
});
