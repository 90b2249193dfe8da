import { afterAll, describe, expect, it } from "vitest";
import { Lab } from "../e2e/lab.ts";
import { binaryOf, INSTALLED, whyNot } from "./binary.ts";
import { expectExported } from "./content.ts";

/** Five starts of OpenCode with some ten turns, on a busy machine; and the downloads. In ms. */
const CHAIN_MS_MAX = 1_800_000;

const lab = new Lab();
afterAll(() => lab.close());

const flushed = { code: 0, drained: true, pending: 0, dead: 0 };

/**
 * Upgrades on one data folder. 1.2 moves the JSON files into a database; what lies between 1.15 and 1.17 wipes the log that
 * 1.15 may have written, and from then on the log is complete.
 */
const CHAIN = ["1.1.65", "1.2.27", "1.15.13", "1.17.18", INSTALLED];
const notRun =
	process.env.COMPAT === "all" ? CHAIN.map(whyNot).find((reason) => reason !== undefined) : "only with COMPAT=all";
const title = (claim: string) => (notRun === undefined ? claim : `${claim} (${notRun})`);

async function start(name: string, version: string, env: Record<string, string> = {}) {
	const binary = await binaryOf(version);
	return lab.opencode(name, { git: true, env, ...(binary && { binary }) });
}

describe("an upgrade of OpenCode", () => {
	it.skipIf(notRun !== undefined)(
		title(`${CHAIN.join(" -> ")} keeps every session, once, and equal`),
		async () => {
			const home = await lab.home("chain");
			// A server of its own: its address outlives the agent's restart, and with it the links.
			const machine = lab.machine("chain-outbox", home, await lab.server());
			let agent = await machine.run();
			const ids: string[] = [];
			let gone = "";
			for (const version of CHAIN) {
				// The upgrade that wipes the log is not seen by the agent.
				const isUnseen = version === "1.17.18";
				if (isUnseen) await agent.stop();
				// The flag makes 1.15 write its log; the turns that come later, on another line, are in another one.
				const env = version === "1.15.13" ? { OPENCODE_EXPERIMENTAL_WORKSPACES: "true" } : {};
				const opencode = await start("chain", version, env);
				for (const id of ids) await opencode.prompt(id, `say: this is ${version}`);
				const { id } = await opencode.createSession();
				ids.push(id);
				await opencode.prompt(id, `todo: made with ${version}`);
				if (version === "1.1.65") {
					gone = (await opencode.createSession()).id;
					await opencode.prompt(gone, "say: to be deleted after the upgrade");
				}
				if (isUnseen) agent = await machine.run();
				expect(await machine.flush("--timeout", "5m")).toMatchObject(flushed);
				await machine.expectEqual(...ids);
				if (version === "1.2.27") {
					await opencode.deleteSession(gone);
					await machine.until(
						"the deletion",
						"SELECT 1 FROM session WHERE session_id = ? AND source_state = 'deleted'",
						gone,
					);
				}
				await opencode.stop();
				expect(agent.stderr()).not.toContain("vanished");
			}
			expect(await machine.flush("--timeout", "5m")).toMatchObject(flushed);
			const rows = await machine.rows("SELECT session_id, source_state FROM session ORDER BY session_id");
			const expected = [...ids, gone].sort().map((session_id) => ({
				session_id,
				source_state: session_id === gone ? "deleted" : "present",
			}));
			expect(rows).toEqual(expected);
			expect((await machine.rows("SELECT 1 FROM share")).length).toBe(expected.length);
			await machine.expectEqual(...ids, gone);
			for (const id of ids) await expectExported(machine, home, id);
			await agent.stop();
		},
		CHAIN_MS_MAX,
	);

	it.skipIf(notRun !== undefined)(
		title(`1.1.65 -> ${INSTALLED}, which does not move the files, keeps the shares and says what is missing`),
		async () => {
			const first = await start("leap", "1.1.65");
			const machine = lab.machine("leap-outbox", first);
			const agent = await machine.run();
			const { id } = await first.createSession();
			await first.prompt(id, "say: left behind in a file");
			expect(await machine.flush("--timeout", "5m")).toMatchObject(flushed);
			await first.stop();
			const second = await start("leap", INSTALLED);
			expect(await second.sessions()).toEqual([]);
			const { id: next } = await second.createSession();
			await second.prompt(next, "say: in the database");
			expect(await machine.flush("--timeout", "5m")).toMatchObject({ drained: true, pending: 0, dead: 0 });
			await machine.until("what is missing", "SELECT 1 FROM session WHERE source_state = 'vanished'");
			await machine.expectEqual(next, id);
			const { attention } = await machine.status();
			expect(attention).toEqual([expect.objectContaining({ session_id: id })]);
			await Promise.all([agent.stop(), second.stop()]);
		},
		CHAIN_MS_MAX,
	);
});
