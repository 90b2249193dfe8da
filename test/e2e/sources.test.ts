import { writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Letter } from "../../src/cli/dead-letters.ts";
import type { Status } from "../../src/cli/status-facts.ts";
import { openSqlite } from "../../src/sqlite/driver.ts";
import { IS_LONG } from "../fixture/extent.ts";
import { exportSession, type Opencode, runOpencode } from "../fixture/opencode.ts";
import { Lab, type Machine } from "./lab.ts";

const lab = new Lab();
let opencode: Opencode;
let machine: Machine;

beforeAll(async () => {
	opencode = await lab.opencode();
	machine = lab.machine("machine", opencode);
});
afterAll(() => lab.close());

async function sessionWith(text: string): Promise<string> {
	const { id } = await opencode.createSession();
	await opencode.prompt(id, `say: ${text}`);
	return id;
}

const flushed = { code: 0, drained: true, pending: 0, dead: 0 };

describe("a poisoned op", () => {
	/** A copy of OpenCode's database with events of our own in it; the live one is only read. */
	async function poisonedCopy(id: string, events: readonly [type: string, data: string][]): Promise<string> {
		const path = lab.path("poisoned.db");
		const live = await openSqlite(opencode.databasePath, { readonly: true });
		live.prepare("VACUUM INTO ?").run(path);
		live.close();
		const copy = await openSqlite(path);
		const last = copy.prepare<{ seq: number }>("SELECT seq FROM event_sequence WHERE aggregate_id = ?").get(id);
		let seq = last?.seq ?? -1;
		for (const [type, data] of events) {
			seq++;
			copy
				.prepare("INSERT INTO event (id, aggregate_id, seq, type, data) VALUES (?, ?, ?, ?, ?)")
				.run(`evt_poison${seq}`, id, seq, type, data);
		}
		copy.prepare("UPDATE event_sequence SET seq = ? WHERE aggregate_id = ?").run(seq, id);
		copy.close();
		return path;
	}

	it("is set aside with its reason; its session and all others go on; flush exits 65", async () => {
		const [id, other] = [await sessionWith("poisoned"), await sessionWith("healthy")];
		const info = await opencode.session(id);
		const [, answer] = await opencode.messages(id);
		const messageID = answer?.info.id ?? "";
		const large = { id: "prt_large", sessionID: id, messageID, type: "text", text: "x".repeat(9 * 1024 * 1024) };
		const later = { id: "prt_later", sessionID: id, messageID, type: "text", text: "after the poison" };
		const path = await poisonedCopy(id, [
			["session.updated.1", `{"sessionID":"${id}","info":{"id":`],
			["message.part.updated.1", "not json either"],
			["message.part.updated.1", JSON.stringify({ sessionID: id, part: large, time: 1 })],
			["message.part.updated.1", JSON.stringify({ sessionID: id, part: later, time: 2 })],
			["session.updated.1", JSON.stringify({ sessionID: id, info })],
		]);
		const beside = lab.machine("poison", opencode, undefined, { OPENCODE_OUTBOX_OPENCODE_DB: path });
		const result = await beside.flush();
		expect(result).toMatchObject({ code: 65, drained: true, pending: 0, dead: 3, error: { code: "dead_letters" } });

		const letters = (await beside.cli("dead", "list", "--json")).json<Letter[]>();
		expect(letters.map(({ session_id, key, code }) => ({ session_id, key, code }))).toEqual(
			expect.arrayContaining([
				{ session_id: id, key: "session", code: "invalid_payload" },
				expect.objectContaining({ session_id: id, code: "invalid_payload" }),
				{ session_id: id, key: `part/${messageID}/prt_large`, code: "too_large" },
			]),
		);
		const listed = (await beside.cli("dead", "list")).stdout;
		expect(listed).toMatch(/evt_poison\d+ \(message\.part\.updated\.1, number \d+\) cannot be read/);
		const [letter] = letters;
		expect((await beside.cli("dead", "show", String(letter?.id))).stdout).toContain(letter?.reason);

		const status = await beside.cli("status", "--json");
		expect(status.code).toBe(1);
		expect(status.json<Status>().attention).toEqual([expect.objectContaining({ session_id: id })]);
		const states = status.json<Status>().sessions;
		expect(states.find(({ session_id }) => session_id === id)).toMatchObject({
			state: "incomplete",
			dead: 3,
			pending: 0,
		});
		expect(states.find(({ session_id }) => session_id === other)).toMatchObject({ state: "synced", dead: 0 });

		await beside.expectEqual(other);
		// What follows the poison is there: the event of a part that no table holds, and nothing that the tables hold is missing.
		expect((await beside.verify(id)).sessions).toEqual([
			expect.objectContaining({ missing: [], different: [], extra: [`part/${messageID}/prt_later`] }),
		]);

		expect((await beside.cli("dead", "discard", "--all", "--yes")).code).toBe(0);
		expect(await beside.flush()).toMatchObject(flushed);
		expect((await beside.cli("status")).code).toBe(0);
	}, 60_000);

	it("was not written into the live database", async () => {
		const live = await openSqlite(opencode.databasePath, { readonly: true });
		expect(live.prepare("SELECT id FROM event WHERE id LIKE 'evt_poison%'").all()).toEqual([]);
		live.close();
	});
});

describe.skipIf(!IS_LONG)("what OpenCode's log does not tell", () => {
	it("a log that was wiped by an upgrade: verify clean", async () => {
		const id = await sessionWith("before the upgrade");
		expect(await machine.flush()).toMatchObject(flushed);
		await opencode.prompt(id, "say: captured by nobody yet");
		await opencode.stop();
		const database = await openSqlite(opencode.databasePath);
		for (const table of ["event", "event_sequence"]) database.exec(`DELETE FROM ${table}`);
		database.close();
		expect(await machine.flush()).toMatchObject(flushed);
		await machine.expectEqual(id);

		opencode = await lab.opencode();
		await opencode.prompt(id, "say: after the upgrade, with numbers that were there before");
		expect(await machine.flush()).toMatchObject(flushed);
		await machine.expectEqual(id);
		expect((await machine.share(id)).url).toBe((await machine.session(id))?.url);
	}, 90_000);

	it("an imported session, which has no log: verify clean, and again after it went on", async () => {
		const id = await sessionWith("to be imported");
		const exported = await exportSession(opencode, id);
		const elsewhere = await lab.home("elsewhere");
		const file = lab.path("exported.json");
		writeFileSync(file, JSON.stringify(exported));
		expect(await runOpencode(elsewhere, ["import", file])).toContain(`Imported session: ${id}`);
		const other = lab.machine("importing", elsewhere);
		expect(await other.flush()).toMatchObject(flushed);
		await other.expectEqual(id);

		const there = await lab.opencode("elsewhere");
		const agent = await other.run();
		await there.prompt(id, "say: and it goes on here");
		expect(await other.flush()).toMatchObject(flushed);
		await other.expectEqual(id);
		await agent.stop();
		await there.stop();
	}, 90_000);

	it("a session deleted while the agent was down: verify clean, kept on the share and marked", async () => {
		const id = await sessionWith("to be deleted");
		const before = await machine.run();
		const { url } = await machine.share(id);
		expect(await machine.flush()).toMatchObject(flushed);
		await before.stop();
		await opencode.deleteSession(id);

		const agent = await machine.run();
		await machine.until("the deletion", "SELECT 1 FROM session WHERE session_id = ? AND source_state = 'deleted'", id);
		expect(await machine.flush()).toMatchObject(flushed);
		const { sessions } = await machine.expectEqual(id);
		expect(sessions[0]?.note).toContain("OpenCode does not have it any more");
		expect(await machine.session(id)).toMatchObject({ source_state: "deleted", state: "synced" });
		const link = url.replace(new URL(url).origin, agent.facts.server_url);
		expect((await fetch(link)).status).toBe(200);
		const data = await (await fetch(`${link.replace("/share/", "/api/share/")}/data`)).text();
		expect(data).toContain("to be deleted");
		expect(await (await fetch(link)).text()).toMatch(/deleted/i);
		await agent.stop();
	}, 90_000);

	it("no secret is in any output, and no file can be read by others", () => lab.expectNothingTold());
});
