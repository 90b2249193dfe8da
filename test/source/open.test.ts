import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openLocalSource } from "../../src/source/open.ts";
import type { Captured, SessionRead, Source } from "../../src/source/source.ts";
import { type Folder, OpencodeDatabase, takeAll, temporaryFolder } from "./opencode-database.ts";

let folder: Folder;
let data: string;
let databases: OpencodeDatabase[];
let sources: Source[];

beforeEach(() => {
	folder = temporaryFolder();
	data = join(folder.path, "opencode");
	mkdirSync(data);
	[databases, sources] = [[], []];
});
afterEach(() => {
	for (const source of sources) source.close();
	for (const { sql } of databases) sql.close();
	folder.remove();
});

async function open(identity?: string, explicitDb?: string): Promise<Source> {
	const source = await openLocalSource({ XDG_DATA_HOME: folder.path }, explicitDb, { identity });
	sources.push(source);
	return source;
}

function files(id = "ses_file", title = "In a file"): void {
	mkdirSync(join(data, "storage/session/global"), { recursive: true });
	const session = { id, directory: "/project", title, time: { created: 1, updated: 1 } };
	writeFileSync(join(data, `storage/session/global/${id}.json`), JSON.stringify(session));
}

async function database(...ids: string[]): Promise<OpencodeDatabase> {
	const made = await OpencodeDatabase.create(join(data, "opencode.db"));
	databases.push(made);
	for (const id of ids) made.session(id, false);
	return made;
}

async function read(source: Source, captured = new Map<string, Captured>()): Promise<string[]> {
	const told: string[] = [];
	for await (const read of source.read(captured, takeAll, new AbortController().signal)) told.push(said(read));
	return told;
}
const said = (read: SessionRead) => `${read.kind} ${"session" in read ? read.session.session_id : read.session_id}`;

const fromFiles = async () => {
	files();
	const source = await open();
	return source.identity;
};

describe("what OpenCode keeps its sessions in", () => {
	it("is its database, where that has a session; files beside it are left from before", async () => {
		files();
		await database("ses_row");
		expect(await read(await open())).toEqual(["snapshot ses_row"]);
		expect(await read(await open(await fromFiles()))).toEqual(["snapshot ses_row"]);
	});

	it("is its files, where there is no database", async () => {
		files();
		expect(await read(await open())).toEqual(["snapshot ses_file"]);
		expect(await read(await open(await fromFiles()))).toEqual(["snapshot ses_file"]);
	});

	it("is the database that has no session yet, unless the files were captured from", async () => {
		files();
		await database();
		expect(await read(await open())).toEqual([]);
		expect(await read(await open("1:2:3"))).toEqual([]);
		expect((await open()).identity).not.toContain("json");
	});

	it("is still the files that were captured from, while their database has no session", async () => {
		const identity = await fromFiles();
		await database();
		expect(await read(await open(identity))).toEqual(["snapshot ses_file"]);
	});

	it("is not the files that an upgrade left, when the database that was captured from is gone", async () => {
		files();
		await expect(open("1:2:3")).rejects.toMatchObject({ code: "no_source" });
	});

	it("is nothing where there is neither, and where a database was named that is not there", async () => {
		await expect(open()).rejects.toMatchObject({ code: "no_source" });
		mkdirSync(join(data, "storage/session/global"), { recursive: true });
		await expect(open()).rejects.toMatchObject({ code: "no_source" });
		files();
		await expect(open(undefined, join(data, "named.db"))).rejects.toMatchObject({ code: "no_source" });
		expect(existsSync(join(data, "named.db"))).toBe(false);
	});
});

describe("an upgrade while the agent runs", () => {
	it("is noticed: the files until the database has a session, then the database, and nothing twice or gone", async () => {
		files();
		const source = await open();
		const captured = new Map<string, Captured>();
		expect(await read(source, captured)).toEqual(["snapshot ses_file"]);
		captured.set("ses_file", { watermark: null, deleted: false });
		const [before, opencode] = [source.identity, await database()];
		expect(source.changed()).toBe(true);
		expect(await read(source, captured)).toEqual([]);
		expect(source.identity).toBe(before);
		opencode.session("ses_file", false);
		opencode.message("ses_file", "msg_1", "moved", false);
		expect(source.changed()).toBe(true);
		expect(await read(source, captured)).toEqual(["snapshot ses_file"]);
		expect(source.identity).not.toBe(before);
		expect((await source.snapshot("ses_file"))?.entities.map(({ key }) => key)).toContain("message/msg_1");
		expect(await read(source, captured)).toEqual([]);
	});

	it("that moved only some sessions takes none of the others for deleted", async () => {
		files();
		files("ses_other");
		const source = await open();
		const captured = new Map<string, Captured>();
		await read(source, captured);
		for (const id of ["ses_file", "ses_other"]) captured.set(id, { watermark: null, deleted: false });
		await database("ses_file");
		expect((await read(source, captured)).sort()).toEqual(["snapshot ses_file", "vanished ses_other"]);
	});
});
