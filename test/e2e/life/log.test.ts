import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { openSqlite, type Sqlite } from "../../../src/sqlite/driver.ts";
import { ACCIDENTS } from "../../agent/log-accidents.ts";
import type { Opencode } from "../../fixture/opencode.ts";
import { Lab } from "../lab.ts";
import { PATIENCE_MS } from "./share.ts";
import { World } from "./world.ts";

/** Longer than CI has time for: `npm run test:life`. */
const it = test.skipIf(process.env.LIFE === undefined);

vi.setConfig({ testTimeout: PATIENCE_MS, hookTimeout: PATIENCE_MS });

const lab = new Lab();
let opencode: Opencode;
let world: World;

beforeAll(async () => {
	opencode = await lab.opencode();
	world = await World.beside(opencode.databasePath, { onDelete: "delete" });
	await world.start();
});
afterAll(async () => {
	await world?.close();
	await lab.close();
});

it("whatever happens to the log of a session, its share is equal, and stays so when the session goes on", async () => {
	const ids: string[] = [];
	for (const [name] of ACCIDENTS) {
		const { id } = await opencode.createSession({ title: name });
		await opencode.prompt(id, `say: before it was ${name}`);
		ids.push(id);
	}
	await world.untilEqual(...ids);
	world.log.length = 0;
	await onDatabase((sqlite) => {
		for (const [index, [, sql]] of ACCIDENTS.entries()) sqlite.exec(sql.replaceAll("$id", `'${ids[index]}'`));
	});
	await world.agent.capture(new AbortController().signal);
	await world.untilEqual(...ids);
	for (const id of ids) await opencode.prompt(id, "say: and after it");
	await world.untilEqual(...ids);
	for (const id of ids) {
		await opencode.rename(id, "and on");
		expect(world.agent.outbox.session(id)).toMatchObject({ source_state: "present", wanted: "auto" });
	}
	await world.untilEqual(...ids);
	expect(world.agent.outbox.deadLetters()).toEqual([]);
	const snapshots = new Set(
		world.log.filter(({ message }) => message === "captured by snapshot").map(({ facts }) => facts.session),
	);
	expect(ids.map((id) => snapshots.has(id))).toEqual(ACCIDENTS.map(([, , isTailed]) => !isTailed));
});

it("a session whose row is silently gone while its log remains is kept and flagged, and its return is noticed", async () => {
	const { id } = await opencode.createSession();
	await opencode.prompt(id, "say: vanishes");
	await world.untilEqual(id);
	const before = world.shareOf(id);
	await onDatabase((sqlite) => {
		sqlite.exec("PRAGMA foreign_keys = OFF");
		sqlite.prepare("CREATE TABLE kept_by_the_test AS SELECT * FROM session WHERE id = ?").run(id);
		sqlite.prepare("DELETE FROM session WHERE id = ?").run(id);
	});
	await world.until("it to vanish", () => world.agent.outbox.session(id)?.source_state === "vanished");
	expect(world.said(/session vanished from OpenCode; its share is kept/)).toBe(true);
	expect(world.shareOf(id)).toEqual(before);
	expect(await world.unequal(id)).toEqual([]);
	await onDatabase((sqlite) =>
		sqlite.exec("INSERT INTO session SELECT * FROM kept_by_the_test; DROP TABLE kept_by_the_test"),
	);
	await world.until("its return", () => world.agent.outbox.session(id)?.source_state === "present");
	await opencode.prompt(id, "say: is back");
	await world.untilEqual(id);
});

async function onDatabase(body: (sqlite: Sqlite) => void): Promise<void> {
	const sqlite = await openSqlite(opencode.databasePath);
	sqlite.exec("PRAGMA foreign_keys = ON");
	body(sqlite);
	sqlite.close();
}
