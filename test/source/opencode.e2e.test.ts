import { createHash } from "node:crypto";
import { chmodSync, copyFileSync, existsSync, readFileSync, rmSync, statSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { findOpencodeDatabase } from "../../src/source/discovery.ts";
import { ServerExtras } from "../../src/source/extras.ts";
import { serverAddress } from "../../src/source/http.ts";
import { OpencodeServer } from "../../src/source/server.ts";
import { isPoison, type SessionRead } from "../../src/source/source.ts";
import { openSqlite } from "../../src/sqlite/driver.ts";
import { type ScriptedModel, startModel } from "../fixture/model.ts";
import { exportSession, importInto, type Opencode, prepareOpencode, startOpencode } from "../fixture/opencode.ts";
import { Reader, temporaryFolder } from "./opencode-database.ts";

let folder: ReturnType<typeof temporaryFolder>;
let model: ScriptedModel;
let opencode: Opencode;
/** Reads while the sessions are lived. */
let reader: Reader;
/** What a share would hold, by session: every change applied in the order it was told. */
const replica = new Map<string, Map<string, string>>();

beforeAll(async () => {
	folder = temporaryFolder();
	model = await startModel();
	opencode = await startOpencode({ root: join(folder.path, "a"), model, git: true });
	const found = findOpencodeDatabase(opencode.env);
	expect(found).toMatchObject({ path: opencode.databasePath, exists: true });
	reader = await Reader.open(found.path, { now: Date.now });
}, 120_000);
afterAll(async () => {
	reader?.source.close();
	await opencode?.stop();
	await model?.close();
	folder?.remove();
});

async function follow(from: Reader = reader, into = replica): Promise<SessionRead[]> {
	const reads = await from.read();
	for (const read of reads) apply(read, into);
	return reads;
}

function apply(read: SessionRead, into: typeof replica): void {
	if (read.kind === "deleted") into.delete(read.session_id);
	if (!("session" in read)) return;
	const changes = read.kind === "log" ? [...read.changes, ...read.state] : read.entities;
	const entities = read.kind === "log" ? (into.get(read.session.session_id) ?? new Map()) : new Map();
	into.set(read.session.session_id, entities);
	for (const change of changes) {
		if (isPoison(change)) throw new Error(change.reason);
		if (change.type === "part_removed" || change.type === "message_removed") entities.delete(change.key);
		else entities.set(change.key, change.payload);
		if (change.type !== "message_removed") continue;
		const below = `part/${change.key.slice("message/".length)}/`;
		for (const key of entities.keys()) if (key.startsWith(below)) entities.delete(key);
	}
}

/**
 * Reads until nothing changed between a read and a look at the tables, since OpenCode still writes after it has answered;
 * then both must be equal.
 */
async function followed(id: string, from: Reader = reader, into = replica): Promise<SessionRead[]> {
	const reads: SessionRead[] = [];
	for (;;) {
		reads.push(...(await follow(from, into)));
		const truth = tables(id, from);
		if (from.source.changed()) continue;
		expect(Object.fromEntries(into.get(id) ?? [])).toEqual(truth);
		return reads.filter((read) => "session" in read && read.session.session_id === id);
	}
}

/** The session in OpenCode's tables, as `verify` sees it. */
function tables(sessionId: string, from: Reader = reader): Record<string, string> {
	const entities = from.source.snapshot(sessionId)?.entities ?? [];
	return Object.fromEntries(entities.map((entity) => [entity.key, isPoison(entity) ? entity.reason : entity.payload]));
}

const told = (sessionId: string) => Object.fromEntries(replica.get(sessionId) ?? []);

describe("a session that is lived while it is tailed", () => {
	it("is told by its log exactly as OpenCode's tables hold it, after every step", async () => {
		const { id } = await opencode.createSession();
		const users = async () => (await opencode.messages(id)).filter((message) => message.info.role === "user");
		const lastUser = async () => (await users()).at(-1)?.info.id ?? "";
		const steps: [string, () => Promise<unknown>][] = [
			["text", () => opencode.prompt(id, "say: hello brave new world")],
			[
				"a streamed tool call",
				() => opencode.prompt(id, "run: for i in $(seq 1 30); do echo line $i; sleep 0.01; done"),
			],
			["a failing command", () => opencode.prompt(id, "run: echo no >&2; exit 3")],
			["todos", () => opencode.prompt(id, "todo: one, two, three")],
			["a written file", () => opencode.prompt(id, "write: a.txt hello there")],
			["revert", async () => opencode.revert(id, await lastUser())],
			["unrevert", () => opencode.unrevert(id)],
			["revert again", async () => opencode.revert(id, await lastUser())],
			["a prompt after the revert", () => opencode.prompt(id, "say: another way")],
			["fewer todos", () => opencode.prompt(id, "todo: four")],
			["no todos", () => opencode.prompt(id, "todo: ,")],
			[
				"a deleted part",
				async () => {
					const [, answer] = await opencode.messages(id);
					await opencode.deletePart(
						id,
						answer?.info.id ?? "",
						answer?.parts.find((part) => part.type === "text")?.id ?? "",
					);
				},
			],
			["a deleted message", async () => opencode.deleteMessage(id, (await opencode.messages(id))[2]?.info.id ?? "")],
			["compaction", () => opencode.summarize(id)],
			["a prompt after compaction", () => opencode.prompt(id, 'say: so far so good \u{1f600} \u0000 \\ "')],
			["another title", () => opencode.rename(id, "A title of its own")],
			["archived", () => opencode.archive(id)],
		];
		for (const [name, step] of steps) {
			await step();
			const kinds = new Set((await followed(id)).map((read) => read.kind));
			expect([...kinds], name).toEqual(["log"]);
		}
		expect(Object.keys(told(id)).length).toBeGreaterThan(20);
		expect(told(id).todo).toBe("[]");
	}, 120_000);

	it("has the content that OpenCode's API and export tell", async () => {
		const { id } = (await opencode.sessions()).find((session) => session.title === "A title of its own") ?? { id: "" };
		const entities = Object.values(tables(id)).map((payload) => JSON.parse(payload));
		const exported = await exportSession(opencode, id);
		expect(entities).toContainEqual(exported.info);
		expect(entities).toContainEqual(await opencode.session(id));
		for (const { info, parts } of [...exported.messages, ...(await opencode.messages(id))]) {
			expect(entities).toContainEqual(info);
			for (const part of parts) expect(entities).toContainEqual(part);
		}
	}, 60_000);

	it("is told the same to one who comes late, in one read", async () => {
		const late = await Reader.open(opencode.databasePath, { now: Date.now });
		const into = new Map<string, Map<string, string>>();
		await follow(late, into);
		for (const id of replica.keys()) expect(Object.fromEntries(into.get(id) ?? [])).toEqual(tables(id));
		late.source.close();
	});

	it("is one change per entity, however often it was updated while it was streamed", async () => {
		const { id } = await opencode.createSession();
		await opencode.prompt(id, "run: for i in $(seq 1 40); do echo line $i; sleep 0.02; done");
		const [read] = await followed(id);
		const changes = read?.kind === "log" ? read.changes : [];
		expect(read).toMatchObject({ kind: "log" });
		expect(new Set(changes.map((change) => change.key)).size).toBe(changes.length);
		expect(read?.kind === "log" && read.to.seq).toBeGreaterThan(changes.length + 10);
	}, 60_000);

	it("is equal when it was read again and again while a turn was under way", async () => {
		const { id } = await opencode.createSession();
		const turn = opencode.prompt(id, "run: for i in $(seq 1 40); do echo line $i; sleep 0.02; done");
		let over = false;
		void turn.then(() => {
			over = true;
		});
		let reads = 0;
		while (!over) {
			if (reader.source.changed()) reads += (await follow()).length;
			await new Promise((resolve) => setImmediate(resolve));
		}
		expect(reads).toBeGreaterThan(3);
		await followed(id);
	}, 60_000);
});

describe("sessions of other kinds", () => {
	it("are told from their logs: a fork and a child", async () => {
		const { id } = await opencode.createSession();
		await opencode.prompt(id, "say: to be forked");
		const fork = await opencode.fork(id);
		const child = await opencode.createSession({ parentID: id });
		for (const session of [id, fork.id, child.id]) {
			await followed(session);
			expect(Object.keys(told(session))).toContain("session");
		}
		expect(reader.source.snapshot(child.id)?.session.parent_id).toBe(id);
		expect(Object.keys(told(fork.id)).length).toBe(Object.keys(told(id)).length);
	}, 60_000);

	it("are told as deleted when OpenCode deleted them, children and all", async () => {
		const { id } = await opencode.createSession();
		const child = await opencode.createSession({ parentID: id });
		await follow();
		await opencode.deleteSession(id);
		const reads = (await follow()).filter((read) => read.kind !== "log");
		expect(reads.map((read) => [read.kind, "session_id" in read && read.session_id]).sort()).toEqual(
			[
				["deleted", id],
				["deleted", child.id],
			].sort(),
		);
	});

	it("are captured by snapshot when they were imported, and go on in their log", async () => {
		const { id } = await opencode.createSession();
		await opencode.prompt(id, "run: echo imported");
		const data = Object.values(tables(id)).map((payload) => JSON.parse(payload));
		const items = [
			...data.filter((item) => item.projectID).map((item) => ({ type: "session", data: item })),
			...data.filter((item) => item.role).map((item) => ({ type: "message", data: item })),
			...data.filter((item) => item.messageID).map((item) => ({ type: "part", data: item })),
		];
		const share = createServer((_, response) => response.end(JSON.stringify(items)));
		await new Promise<void>((resolve) => share.listen(0, "127.0.0.1", resolve));
		const root = join(folder.path, "b");
		const imported = await importInto(root, `http://127.0.0.1:${(share.address() as AddressInfo).port}/share/slug`);
		await new Promise((resolve) => share.close(resolve));
		expect(imported.sessionId).toBe(id);

		const there = await Reader.open(imported.databasePath, { now: Date.now });
		const into = new Map<string, Map<string, string>>();
		expect(await follow(there, into)).toMatchObject([{ kind: "snapshot", to: null }]);
		expect(await follow(there, into)).toEqual([]);
		const [theirs, ours] = [tables(id, there), tables(id)];
		delete theirs.session;
		delete ours.session;
		expect(theirs).toEqual(ours);

		const second = await startOpencode({ root, model });
		await second.prompt(id, "say: and on it goes");
		const [first] = await followed(id, there, into);
		expect(first).toMatchObject({ kind: "snapshot", to: { seq: expect.any(Number) } });
		await second.prompt(id, "say: and on");
		expect((await followed(id, there, into)).map((read) => read.kind)).toContain("log");
		there.source.close();
		await second.stop();
	}, 120_000);
});

describe("a local server", () => {
	it("rings for what happens, and tells the models and the diff", async () => {
		const env = { OPENCODE_SERVER_PASSWORD: "a secret" };
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

describe("OpenCode's database", () => {
	const digest = (path: string) => createHash("sha256").update(readFileSync(path)).digest("hex");

	it("is read after OpenCode was killed, with the WAL that it left; neither file changes", async () => {
		const { id } = await opencode.createSession();
		const turn = opencode
			.prompt(id, "run: for i in $(seq 1 1000); do echo line $i; sleep 0.02; done")
			.catch(() => undefined);
		const isStreaming = () => Object.values(tables(id)).some((payload) => payload.includes("line 3"));
		while (!isStreaming()) await new Promise((resolve) => setTimeout(resolve, 10));
		await opencode.kill();
		await turn;
		reader.source.close();
		rmSync(`${opencode.databasePath}-shm`, { force: true });
		const files = [opencode.databasePath, `${opencode.databasePath}-wal`];
		expect(files.map((file) => statSync(file).size > 0)).toEqual([true, true]);
		const before = files.map(digest);
		reader = await Reader.open(opencode.databasePath, { now: Date.now });
		await followed(id);
		expect(Object.values(told(id)).some((payload) => payload.includes("line 3"))).toBe(true);
		reader.source.close();
		expect(files.map(digest)).toEqual(before);
		reader = await Reader.open(opencode.databasePath, { now: Date.now });
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
		const there = await Reader.open(path, { now: Date.now });
		const reads = await there.read();
		expect(reads.length).toBe(replica.size);
		there.source.close();
		expect(digest(path)).toBe(before);
		expect(statSync(path).mode & 0o777).toBe(0o400);
		chmodSync(home.directory, 0o700);
		expect(existsSync(path)).toBe(true);
	});

	it("is tailed through a stop and a new start of OpenCode", async () => {
		opencode = await startOpencode({ root: join(folder.path, "a"), model });
		const { id } = await opencode.createSession();
		await opencode.prompt(id, "say: back again");
		await followed(id);
		await opencode.stop();
		await followed(id);
		expect(reader.source.sessions()[0]?.session_id).toBe(id);
	}, 60_000);
});
