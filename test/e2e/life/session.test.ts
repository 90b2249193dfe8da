import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { importInto, type Opencode } from "../../fixture/opencode.ts";
import { Lab, type Machine } from "../lab.ts";
import { type Item, linkOf, PATIENCE_MS, rowOf, sessionOf, textsOf, untilEqual } from "./share.ts";

vi.setConfig({ testTimeout: PATIENCE_MS, hookTimeout: PATIENCE_MS });

/** Minutes of a real OpenCode: `npm run test:life` and `npm run test:e2e`. */
const IS_LIVED = process.env.LIFE !== undefined;

const lab = new Lab();
let opencode: Opencode;
let machine: Machine;
/** What OpenCode has deleted. */
let gone: string[] = [];

beforeAll(async () => {
	opencode = await lab.opencode("opencode", { git: true });
	machine = lab.machine("machine", opencode);
	await machine.run();
});
afterAll(() => lab.close());

async function sessionWith(...prompts: string[]): Promise<string> {
	const { id } = await opencode.createSession();
	for (const prompt of prompts) await opencode.prompt(id, prompt);
	return id;
}

/** What the session's share holds, once it is equal to OpenCode. */
const shared = (id: string): Promise<Item[]> => untilEqual(machine, opencode.databasePath, id);

/** The session as the outbox knows it, once `claim` holds of it. */
const row = (id: string, claim = "1") =>
	rowOf<Record<string, unknown>>(machine, `SELECT * FROM session WHERE session_id = ? AND ${claim}`, id);

describe.skipIf(!IS_LIVED)("while the agent runs, the share follows", () => {
	it("a fork, whole and up to a message: each is a share of its own, and the first one stays as it was", async () => {
		const id = await sessionWith("say: one", "say: two");
		const [, , second] = await opencode.messages(id);
		const [whole, part] = [await opencode.fork(id), await opencode.fork(id, second?.info.id)];
		await opencode.prompt(part.id, "say: another way");
		const texts = [textsOf(await shared(id)), textsOf(await shared(whole.id)), textsOf(await shared(part.id))];
		expect(texts.map((all) => all.includes("two"))).toEqual([true, true, false]);
		expect(texts.map((all) => all.includes("another way"))).toEqual([false, false, true]);
		const links = await Promise.all([id, whole.id, part.id].map((each) => linkOf(machine, each)));
		expect(new Set(links).size).toBe(3);
	});

	it("a revert, an unrevert, and the prompt after a revert, which removes", async () => {
		const id = await sessionWith("say: kept", "say: undone");
		const undone = (await opencode.messages(id))[2]?.info.id ?? "";
		await opencode.revert(id, undone);
		expect(sessionOf(await shared(id))).toMatchObject({ revert: { messageID: undone } });
		await opencode.unrevert(id);
		expect(sessionOf(await shared(id))).not.toHaveProperty("revert");
		await opencode.revert(id, undone);
		await opencode.prompt(id, "say: instead");
		const texts = textsOf(await shared(id));
		expect(texts).toEqual(expect.arrayContaining(["kept", "instead"]));
		expect(texts).not.toContain("undone");
	});

	it("a deleted part, a deleted message, another title, a compaction, and being archived", async () => {
		const id = await sessionWith("say: of the part", "say: of the message", "say: stays");
		const messages = await opencode.messages(id);
		const text = messages[1]?.parts.find((part) => part.type === "text");
		await opencode.deletePart(id, messages[1]?.info.id ?? "", text?.id ?? "");
		await opencode.deleteMessage(id, messages[3]?.info.id ?? "");
		await opencode.rename(id, "A title of its own");
		await opencode.summarize(id);
		await opencode.archive(id);
		const items = await shared(id);
		const texts = textsOf(items);
		expect(texts).toContain("stays");
		expect(texts).not.toContain("of the part");
		expect(texts).not.toContain("of the message");
		expect(items.some(({ type, data }) => type === "part" && data.type === "compaction")).toBe(true);
		expect(sessionOf(items)).toMatchObject({ title: "A title of its own", time: { archived: expect.any(Number) } });
		expect(await row(id)).toMatchObject({ title: "A title of its own" });
	});

	it("a subagent and a child, each a session that names its parent", async () => {
		const id = await sessionWith("task: say: from below");
		const made = await opencode.createSession({ parentID: id });
		const children = (await opencode.children(id)).map((child) => child.id);
		expect(children).toHaveLength(2);
		const below = children.find((child) => child !== made.id) ?? "";
		expect(textsOf(await shared(below))).toContain("from below");
		expect(sessionOf(await shared(below))).toMatchObject({ parentID: id });
		await Promise.all([id, made.id].map(shared));
		for (const child of children) expect(await row(child)).toMatchObject({ parent_id: id });
	});

	it("a session that moves to another folder, which only its row and an event of another kind tell", async () => {
		const id = await sessionWith("say: before the move");
		await shared(id);
		const directory = join(opencode.directory, "below");
		mkdirSync(directory);
		await opencode.moveSession(id, directory);
		expect(sessionOf(await shared(id))).toMatchObject({ directory, path: "below" });
		expect(await row(id)).toMatchObject({ directory });
		await opencode.prompt(id, "say: after the move");
		expect(textsOf(await shared(id))).toContain("after the move");
	});

	it("a parent that is deleted with its children: every share is kept, marked, and equal to what was captured", async () => {
		const id = await sessionWith("task: say: from below");
		const ids = [id, ...(await opencode.children(id)).map((child) => child.id)];
		await Promise.all(ids.map(shared));
		await opencode.deleteSession(id);
		for (const each of ids)
			await row(
				each,
				"source_state = 'deleted' AND acked_id = (SELECT max(id) FROM op WHERE session_id = session.session_id)",
			);
		for (const each of ids) expect((await fetch(await linkOf(machine, each))).status).toBe(200);
		gone = ids;
	});

	it("a session that another OpenCode imports from its link, and goes on with", async () => {
		const id = await sessionWith("say: to be taken along");
		await shared(id);
		await importInto(lab.path("other"), await linkOf(machine, id));
		const other = await lab.opencode("other");
		const theirs = lab.machine("other-machine", other);
		await theirs.run();
		for (const text of ["over there", "and again"]) {
			await untilEqual(theirs, other.databasePath, id);
			await other.prompt(id, `say: ${text}`);
		}
		const texts = textsOf(await untilEqual(theirs, other.databasePath, id));
		expect(texts).toEqual(expect.arrayContaining(["to be taken along", "over there", "and again"]));
		// The one that it was copied from knows nothing of it.
		expect(textsOf(await shared(id))).not.toContain("over there");
		await theirs.expectEqual(id);
		await other.stop();
	});
});

describe.skipIf(!IS_LIVED)("when all of that has happened", () => {
	it("nothing is pending, every share is equal, and what OpenCode deleted is said", async () => {
		expect(await machine.flush("--timeout", "2m")).toMatchObject({ code: 0, drained: true, pending: 0, dead: 0 });
		const { sessions } = await machine.expectEqual();
		const deleted = sessions.filter(({ note }) => note?.includes("does not have it any more"));
		expect(deleted.map(({ session_id }) => session_id).sort()).toEqual([...gone].sort());
		expect((await machine.cli("status", "--all")).stdout).toMatch(/synced, deleted in OpenCode/);
	});

	it("and tells no secret", () => lab.expectNothingTold());
});
