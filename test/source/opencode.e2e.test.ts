import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { findOpencodeDatabase } from "../../src/source/discovery.ts";
import { type ScriptedModel, startModel } from "../fixture/model.ts";
import { exportSession, importInto, type Opencode, startOpencode } from "../fixture/opencode.ts";
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
			const kinds = new Set((await replica.followed(id)).map((read) => read.kind));
			expect([...kinds], name).toEqual(["log"]);
		}
		expect(Object.keys(replica.told(id)).length).toBeGreaterThan(20);
		expect(replica.told(id).todo).toBe("[]");
	}, 120_000);

	it("has the content that OpenCode's API and export tell", async () => {
		const { id } = (await opencode.sessions()).find((session) => session.title === "A title of its own") ?? { id: "" };
		const entities = Object.values(await replica.tables(id)).map((payload) => JSON.parse(payload));
		const exported = await exportSession(opencode, id);
		expect(entities).toContainEqual(exported.info);
		expect(entities).toContainEqual(await opencode.session(id));
		for (const { info, parts } of [...exported.messages, ...(await opencode.messages(id))]) {
			expect(entities).toContainEqual(info);
			for (const part of parts) expect(entities).toContainEqual(part);
		}
	}, 60_000);

	it("is told the same to one who comes late, in one read", async () => {
		const late = await Replica.of(opencode.databasePath);
		await late.follow();
		for (const id of replica.sessions) expect(late.told(id)).toEqual(await replica.tables(id));
		late.close();
	});

	it("is one change per entity, however often it was updated while it was streamed", async () => {
		const { id } = await opencode.createSession();
		await opencode.prompt(id, "run: for i in $(seq 1 40); do echo line $i; sleep 0.02; done");
		const [read] = await replica.followed(id);
		const changes = read?.kind === "log" ? read.changes : [];
		expect(read).toMatchObject({ kind: "log" });
		expect(new Set(changes.map((change) => change.key)).size).toBe(changes.length);
		expect(read?.kind === "log" && read.to?.seq).toBeGreaterThan(changes.length + 10);
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
			if (replica.source.changed()) reads += (await replica.follow()).length;
			await new Promise((resolve) => setImmediate(resolve));
		}
		expect(reads).toBeGreaterThan(3);
		await replica.followed(id);
	}, 60_000);
});

describe("sessions of other kinds", () => {
	it("are told from their logs: a fork and a child", async () => {
		const { id } = await opencode.createSession();
		await opencode.prompt(id, "say: to be forked");
		const fork = await opencode.fork(id);
		const child = await opencode.createSession({ parentID: id });
		for (const session of [id, fork.id, child.id]) {
			await replica.followed(session);
			expect(Object.keys(replica.told(session))).toContain("session");
		}
		expect((await replica.source.snapshot(child.id))?.session.parent_id).toBe(id);
		expect(Object.keys(replica.told(fork.id)).length).toBe(Object.keys(replica.told(id)).length);
	}, 60_000);

	it("are told as deleted when OpenCode deleted them, children and all", async () => {
		const { id } = await opencode.createSession();
		const child = await opencode.createSession({ parentID: id });
		await replica.follow();
		await opencode.deleteSession(id);
		const reads = (await replica.follow()).filter((read) => read.kind !== "log");
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
		const data = Object.values(await replica.tables(id)).map((payload) => JSON.parse(payload));
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

		const there = await Replica.of(imported.databasePath);
		expect(await there.follow()).toMatchObject([{ kind: "snapshot", to: null }]);
		expect(await there.follow()).toEqual([]);
		const [theirs, ours] = [await there.tables(id), await replica.tables(id)];
		delete theirs.session;
		delete ours.session;
		expect(theirs).toEqual(ours);

		const second = await startOpencode({ root, model });
		await second.prompt(id, "say: and on it goes");
		const [first] = await there.followed(id);
		expect(first).toMatchObject({ kind: "snapshot", to: { seq: expect.any(Number) } });
		await second.prompt(id, "say: and on");
		expect((await there.followed(id)).map((read) => read.kind)).toContain("log");
		there.close();
		await second.stop();
	}, 120_000);
});
