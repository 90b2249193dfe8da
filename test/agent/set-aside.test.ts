import { join } from "node:path";
import { expect, it, onTestFinished, vi } from "vitest";
import { PATIENCE_MS } from "../e2e/life/share.ts";
import { World } from "../e2e/life/world.ts";
import { OpencodeDatabase, temporaryFolder } from "../source/opencode-database.ts";

vi.setConfig({ testTimeout: PATIENCE_MS });

it("a session row that cannot be read is one dead letter, however often it is read again", async () => {
	const folder = temporaryFolder();
	const opencode = await OpencodeDatabase.create(join(folder.path, "opencode.db"));
	opencode.session("ses_a");
	opencode.sql.exec("UPDATE session SET revert = '{'");
	const world = await World.beside(opencode.path);
	onTestFinished(async () => {
		await world.close();
		opencode.sql.close();
		folder.remove();
	});
	// Each start reads with a source that has not seen it before.
	for (const id of ["msg_1", "msg_2", "msg_3"]) {
		opencode.message("ses_a", id);
		const agent = await world.start();
		await world.until(`${id} on the share`, () => world.shareOf("ses_a")?.has(`message/${id}`));
		expect(agent.outbox.deadLetters()).toMatchObject([{ key: "session", code: "invalid_payload" }]);
		await agent.stop();
	}
});
