import { writeFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { openSqlite } from "../../../src/sqlite/driver.ts";
import { exportSession, type Opencode, runOpencode } from "../../fixture/opencode.ts";
import type { FaultProxy } from "../../fixture/proxy.ts";
import { Lab, type Machine } from "../lab.ts";
import { linkOf, PATIENCE_MS, rowOf, statusOf, textsOf, untilEqual } from "./share.ts";

/** Longer than CI has time for: `npm run test:life`. */
const it = test.skipIf(process.env.LIFE === undefined);

vi.setConfig({ testTimeout: PATIENCE_MS, hookTimeout: PATIENCE_MS });

const lab = new Lab();
let opencode: Opencode;
let proxy: FaultProxy;
/** Deletes with OpenCode, and reaches its server through the proxy. */
let machine: Machine;

beforeAll(async () => {
	opencode = await lab.opencode();
	const server = await lab.server();
	proxy = await lab.proxy(server.port);
	const through = { url: proxy.url, keyFile: server.keyFile };
	machine = lab.machine("machine", opencode, through, { OPENCODE_OUTBOX_ON_DELETE: "delete" });
});
afterAll(() => lab.close());

async function sessionWith(text: string, parentID?: string): Promise<string> {
	const { id } = await opencode.createSession(parentID === undefined ? {} : { parentID });
	await opencode.prompt(id, `say: ${text}`);
	return id;
}

/** The session's link, once its share is equal to OpenCode. */
async function shared(id: string): Promise<string> {
	await untilEqual(machine, opencode.databasePath, id);
	return linkOf(machine, id);
}

const untilRow = (id: string, claim: string) =>
	rowOf(machine, `SELECT * FROM session WHERE session_id = ? AND ${claim}`, id);
const GONE = "wanted = 'auto' AND source_state = 'deleted' AND session_id NOT IN (SELECT session_id FROM share)";
const exported = async (id: string) => {
	const file = lab.path(`${id}.json`);
	writeFileSync(file, JSON.stringify(await exportSession(opencode, id)));
	return async () => expect(await runOpencode(opencode, ["import", file])).toContain(`Imported session: ${id}`);
};

/** Lives through the tests, and no share is taken from it. */
let bystander: string;
/** Deleted before anything is said to the server, by an agent that is killed and while none runs. */
let [cut, unseen] = ["", ""];
let unseenIsBack: () => Promise<void>;
let links: Record<string, string>;

it("a session that OpenCode deletes takes its share along, and those of its children, and no other", async () => {
	const agent = await machine.run();
	bystander = await sessionWith("stays");
	const parent = await sessionWith("goes");
	const child = await sessionWith("goes too", parent);
	links = { bystander: await shared(bystander), parent: await shared(parent), child: await shared(child) };
	await opencode.deleteSession(parent);
	for (const id of [parent, child]) await untilRow(id, GONE);
	expect(await statusOf(links.parent ?? "")).not.toBe(200);
	expect(await statusOf(links.child ?? "")).not.toBe(200);
	expect(await statusOf(links.bystander ?? "")).toBe(200);
	const status = await machine.status();
	expect(status.agent.on_delete).toBe("delete");
	expect(status.attention).toEqual([]);
	for (const id of [parent, child])
		expect(status.sessions.find((session) => session.session_id === id)).toMatchObject({
			...{ state: "unshared", source_state: "deleted", pending: 0, url: null },
		});
	expect((await machine.expectEqual()).sessions.map(({ session_id }) => session_id)).toEqual([bystander]);
	expect(agent.stderr()).toContain("its share is deleted too");

	[cut, unseen] = [await sessionWith("deleted while the server is away"), await sessionWith("deleted unseen")];
	links = { ...links, cut: await shared(cut), unseen: await shared(unseen) };
	unseenIsBack = await exported(unseen);
	proxy.faults.refuse = true;
	proxy.dropConnections();
	await opencode.deleteSession(cut);
	await untilRow(cut, "wanted = 'delete'");
	expect(await statusOf(links.cut ?? "")).toBe(200);
	await agent.kill();
	expect(await machine.session(cut)).toMatchObject({ state: "unsharing", source_state: "deleted" });
});

it("also when the agent was killed before the server heard of it, and when none ran: the next flush does it", async () => {
	await opencode.deleteSession(unseen);
	proxy.faults.refuse = false;
	expect(await machine.flush("--timeout", "2m")).toMatchObject({ code: 0, drained: true, pending: 0 });
	for (const id of [cut, unseen]) await untilRow(id, GONE);
	expect([await statusOf(links.cut ?? ""), await statusOf(links.unseen ?? "")]).not.toContain(200);
	expect(await statusOf(links.bystander ?? "")).toBe(200);
});

it("a session that comes back is shared anew, under another link, even before the old share could be deleted", async () => {
	await machine.run();
	await unseenIsBack();
	expect(await shared(unseen)).not.toBe(links.unseen);
	await opencode.prompt(unseen, "say: and it goes on");
	const items = await untilEqual(machine, opencode.databasePath, unseen);
	expect(textsOf(items)).toEqual(expect.arrayContaining(["deleted unseen", "and it goes on"]));
	await untilRow(unseen, "generation = 1 AND source_state = 'present'");

	const soon = await sessionWith("back before it was gone");
	const old = await shared(soon);
	const soonIsBack = await exported(soon);
	proxy.faults.refuse = true;
	proxy.dropConnections();
	await opencode.deleteSession(soon);
	await untilRow(soon, "wanted = 'delete'");
	await soonIsBack();
	proxy.faults.refuse = false;
	await untilRow(soon, "generation = 1 AND source_state = 'present'");
	expect(await shared(soon)).not.toBe(old);
	expect(await statusOf(old)).not.toBe(200);
	expect(await statusOf(links.unseen ?? "")).not.toBe(200);
	await machine.expectEqual();
});

it("a session whose row is gone while its log remains has only vanished: its share is kept", async () => {
	const id = await sessionWith("vanishes");
	const link = await shared(id);
	const database = await openSqlite(opencode.databasePath);
	database.exec("PRAGMA foreign_keys = ON");
	database.prepare("DELETE FROM session WHERE id = ?").run(id);
	database.close();
	await untilRow(id, "source_state = 'vanished' AND wanted = 'auto'");
	expect(await statusOf(link)).toBe(200);
	const status = await machine.cli("status", "--json");
	expect(status.code).toBe(1);
	expect(status.stdout).toContain("nothing proves that it was deleted");
	expect((await machine.expectEqual()).sessions.map(({ session_id }) => session_id)).toContain(id);
});

it("and no secret is told", () => lab.expectNothingTold());
