import { join } from "node:path";
import { expect, it, vi } from "vitest";
import { PATIENCE_MS } from "../e2e/life/share.ts";
import { World } from "../e2e/life/world.ts";
import { OpencodeDatabase, temporaryFolder } from "../source/opencode-database.ts";
import { ACCIDENTS } from "./log-accidents.ts";

vi.setConfig({ testTimeout: PATIENCE_MS });

it("whatever happens to the log of a session, its share is equal, and stays so when the session goes on", async () => {
	const folder = temporaryFolder();
	const opencode = await OpencodeDatabase.open(join(folder.path, "opencode.db"));
	const world = await World.beside(opencode.path, { onDelete: "delete" });
	await world.start();
	const ids = ACCIDENTS.map((_, n) => `ses_${n}`);
	const say = (id: string, text: string) => {
		for (let n = 0; n < 5; n++) {
			opencode.message(id, `msg_${id}_${text}_${n}`, text);
			opencode.part(id, `msg_${id}_${text}_${n}`, `prt_${id}_${text}_${n}`, text);
		}
	};
	for (const id of ids) opencode.session(id);
	for (const id of ids) say(id, "before");
	await world.untilEqual(...ids);
	world.log.length = 0;
	for (const [n, [, sql]] of ACCIDENTS.entries()) opencode.sql.exec(sql.replaceAll("$id", `'${ids[n]}'`));
	await world.agent.capture(new AbortController().signal);
	await world.untilEqual(...ids);
	for (const text of ["after", "later"]) {
		for (const id of ids) say(id, text);
		await world.untilEqual(...ids);
	}
	expect(world.agent.outbox.deadLetters()).toEqual([]);
	const byTables = world.log.filter(({ message }) => message === "captured by snapshot");
	const snapshots = new Set(byTables.map(({ facts }) => facts.session));
	expect(ids.map((id) => snapshots.has(id))).toEqual(ACCIDENTS.map(([, , isTailed]) => !isTailed));
	await world.close();
	opencode.sql.close();
	folder.remove();
});
