import { copyFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { expect, it, onTestFinished, vi } from "vitest";
import { PATIENCE_MS } from "../e2e/life/share.ts";
import { World } from "../e2e/life/world.ts";
import { OpencodeDatabase, temporaryFolder } from "../source/opencode-database.ts";

vi.setConfig({ testTimeout: PATIENCE_MS });

it("an OpenCode that is put back, and then to the later state again, is followed both ways: the same events count twice", async () => {
	const folder = temporaryFolder();
	const at = (name: string) => join(folder.path, name);
	const opencode = await OpencodeDatabase.create(at("live.db"));
	opencode.session("ses_a");
	opencode.message("ses_a", "msg_1", "one");
	const keep = (name: string) => opencode.sql.prepare("VACUUM INTO ?").run(at(name));
	keep("older.db");
	for (const n of [2, 3, 4]) opencode.message("ses_a", `msg_${n}`, "later");
	keep("newer.db");
	opencode.sql.close();
	const put = (name: string) => {
		rmSync(at("opencode.db"), { force: true });
		for (const side of ["-wal", "-shm"]) rmSync(at(`opencode.db${side}`), { force: true });
		copyFileSync(at(name), at("opencode.db"));
	};
	put("newer.db");
	const world = await World.beside(at("opencode.db"));
	onTestFinished(async () => {
		await world.close();
		folder.remove();
	});
	await world.start();
	await world.untilEqual("ses_a");
	for (const name of ["older.db", "newer.db", "older.db", "newer.db"]) {
		put(name);
		await world.agent.capture(new AbortController().signal);
		await world.untilEqual("ses_a");
		expect(world.shareOf("ses_a")?.has("message/msg_4")).toBe(name === "newer.db");
	}
	expect(world.agent.outbox.session("ses_a")).toMatchObject({ pending: 0, attempts: 0, parked_code: null });
});
