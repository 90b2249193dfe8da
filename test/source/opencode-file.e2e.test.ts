import { createHash } from "node:crypto";
import { chmodSync, copyFileSync, existsSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { findOpencodeDatabase } from "../../src/source/discovery.ts";
import { ServerExtras } from "../../src/source/extras.ts";
import { serverAddress } from "../../src/source/http.ts";
import { OpencodeServer } from "../../src/source/server.ts";
import { openSqlite } from "../../src/sqlite/driver.ts";
import { IS_LONG } from "../fixture/extent.ts";
import { type ScriptedModel, startModel } from "../fixture/model.ts";
import { type Opencode, prepareOpencode, startOpencode } from "../fixture/opencode.ts";
import { temporaryFolder } from "./opencode-database.ts";
import { Replica } from "./replica.ts";

let folder: ReturnType<typeof temporaryFolder>;
let model: ScriptedModel;
let opencode: Opencode;
/** Reads while the sessions are lived. */
let replica: Replica;

beforeAll(async () => {
	folder = temporaryFolder();
	model = await startModel();
	opencode = await startOpencode({ root: join(folder.path, "a"), model, git: true });
	const found = findOpencodeDatabase(opencode.env);
	expect(found).toMatchObject({ path: opencode.databasePath });
	replica = await Replica.of(found.path);
}, 120_000);
afterAll(async () => {
	replica?.close();
	await opencode?.stop();
	await model?.close();
	folder?.remove();
});

describe.skipIf(!IS_LONG)("a local server", () => {
	it("rings for what happens, and tells the models and the diff", async () => {
		const env = { OPENCODE_SERVER_PASSWORD: "password of an opencode, 2" };
		const guarded = await startOpencode({ root: join(folder.path, "c"), model, env });
		const address = serverAddress(guarded.url, env);
		const server = new OpencodeServer(address);
		const leave = new AbortController();
		const heard: string[] = [];
		let onConnected: () => void = () => undefined;
		const connected = new Promise<void>((resolve) => {
			onConnected = resolve;
		});
		let onSettled: (id: string) => void = () => undefined;
		const listening = (async () => {
			for await (const ring of server.rings(leave.signal)) {
				heard.push(ring.session_id ?? "any");
				if (ring.settled && ring.session_id) onSettled(ring.session_id);
				if (ring.session_id === undefined) onConnected();
			}
		})();
		await connected;
		expect(server.connected).toBe(true);
		const { id } = await guarded.createSession();
		const settled = new Promise<string>((resolve) => {
			onSettled = resolve;
		});
		await guarded.prompt(id, "say: ring");
		expect(await settled).toBe(id);
		expect(heard[0]).toBe("any");

		const extras = await new ServerExtras(address).extras(id, guarded.directory);
		expect(extras.map((extra) => extra.key)).toEqual(["session_diff", "model"]);
		expect(extras[0]?.payload).toBe("[]");
		const [scripted] = JSON.parse(extras[1]?.payload ?? "[]");
		expect(scripted).toMatchObject({ id: "scripted", providerID: "scripted", name: "Scripted" });
		expect(Object.keys(scripted)).not.toContain("options");
		leave.abort();
		await listening;
		expect(server.connected).toBe(false);
		await guarded.stop();
	}, 60_000);
});

describe.skipIf(!IS_LONG)("OpenCode's database", () => {
	const digest = (path: string) => createHash("sha256").update(readFileSync(path)).digest("hex");

	it("is read after OpenCode was killed, with the WAL that it left; neither file changes", async () => {
		const { id } = await opencode.createSession();
		const turn = opencode
			.prompt(id, "run: for i in $(seq 1 1000); do echo line $i; sleep 0.02; done")
			.catch(() => undefined);
		const isStreaming = async () =>
			Object.values(await replica.tables(id)).some((payload) => payload.includes("line 3"));
		while (!(await isStreaming())) await new Promise((resolve) => setTimeout(resolve, 10));
		await opencode.kill();
		await turn;
		replica.close();
		rmSync(`${opencode.databasePath}-shm`, { force: true });
		const files = [opencode.databasePath, `${opencode.databasePath}-wal`];
		expect(files.map((file) => statSync(file).size > 0)).toEqual([true, true]);
		const before = files.map(digest);
		await replica.reopen();
		await replica.followed(id);
		expect(Object.values(replica.told(id)).some((payload) => payload.includes("line 3"))).toBe(true);
		replica.close();
		expect(files.map(digest)).toEqual(before);
		await replica.reopen();
	}, 60_000);

	it("is read when no WAL is there, from a file and a folder that may only be read", async () => {
		const home = prepareOpencode({ root: join(folder.path, "readonly") });
		const writer = await openSqlite(opencode.databasePath);
		writer.exec("PRAGMA wal_checkpoint(TRUNCATE)");
		writer.close();
		const path = join(home.directory, "opencode.db");
		copyFileSync(opencode.databasePath, path);
		chmodSync(path, 0o400);
		chmodSync(home.directory, 0o500);
		const before = digest(path);
		const there = await Replica.of(path);
		const reads = await there.follow();
		expect(reads.length).toBe(replica.sessions.length);
		there.close();
		expect(digest(path)).toBe(before);
		expect(statSync(path).mode & 0o777).toBe(0o400);
		chmodSync(home.directory, 0o700);
		expect(existsSync(path)).toBe(true);
	});

	it("is tailed through a stop and a new start of OpenCode", async () => {
		opencode = await startOpencode({ root: join(folder.path, "a"), model });
		const { id } = await opencode.createSession();
		await opencode.prompt(id, "say: back again");
		await replica.followed(id);
		await opencode.stop();
		await replica.followed(id);
	}, 60_000);
});
