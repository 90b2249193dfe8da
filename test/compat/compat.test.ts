import { afterAll, describe, expect, it } from "vitest";
import { freePort, Lab, type Machine } from "../e2e/lab.ts";
import { eventually } from "../fixture/cli.ts";
import type { Opencode } from "../fixture/opencode.ts";
import { binaryOf, whyNot } from "./binary.ts";
import { expectExported } from "./content.ts";
import { type Line, LOCAL, TRIED } from "./lines.ts";

/** A start of OpenCode, some ten turns and some ten commands, on a busy machine; and a download. In ms. */
const LINE_MS_MAX = 900_000;

const lab = new Lab();
afterAll(() => lab.close());

const flushed = { code: 0, drained: true, pending: 0, dead: 0 };

for (const { line, way } of TRIED) {
	describe(`OpenCode ${line.version}`, () => {
		const reason = whyNot(line.version);
		it.skipIf(reason !== undefined)(
			`by ${way.name}: what it has is what the share has${reason === undefined ? "" : ` (${reason})`}`,
			async () => {
				const binary = await binaryOf(line.version);
				const name = `${line.version}-${way.name.replaceAll(/\W+/g, "-")}`;
				const start = (port?: number) =>
					lab.opencode(name, { git: true, ...(binary && { binary }), ...(port && { port }) });
				const opencode = await start();
				const OPENCODE_OUTBOX_PORT = String(await freePort());
				const settings = { ...way.settings(opencode.url), OPENCODE_OUTBOX_PORT };
				const machine = lab.machine(`${name}-outbox`, opencode, undefined, settings);
				const agent = await machine.run();

				const ids = await converse(opencode, line);
				expect(await machine.flush("--timeout", "5m")).toMatchObject(flushed);
				await machine.expectEqual(...ids.kept, ids.deleted);
				const [id = "", fork = ""] = ids.kept;
				await expectExported(machine, opencode, fork);

				// Nobody looks while a session is deleted, a turn is cut off by the death of OpenCode, and another is had.
				await agent.stop();
				await opencode.deleteSession(ids.deleted);
				await killInTurn(opencode, id);
				const again = await start(Number(new URL(opencode.url).port));
				await again.prompt(id, "say: it goes on");
				const second = await machine.run();
				await machine.until(
					"the deletion",
					"SELECT 1 FROM session WHERE session_id = ? AND source_state = 'deleted'",
					ids.deleted,
				);
				expect(await machine.flush("--timeout", "5m")).toMatchObject(flushed);
				await machine.expectEqual(...ids.kept, ids.deleted);
				await expectExported(machine, again, id);
				if (way === LOCAL) await expectReason(machine, line, second.stderr());
				await Promise.all([second.stop(), again.stop()]);
			},
			LINE_MS_MAX,
		);
	});
}

/** Lives what people do: tools, todos, an undo and the prompt after it, a fork, a sub-session, a title. */
async function converse(opencode: Opencode, line: Line): Promise<{ kept: string[]; deleted: string }> {
	const { id } = await opencode.createSession();
	await opencode.prompt(id, "say: hello from another version");
	await opencode.prompt(id, "run: echo a tool ran");
	await opencode.prompt(id, "todo: look, write");
	expect((await opencode.todos(id)).map(({ content }) => content)).toEqual(["look", "write"]);
	await opencode.prompt(id, "write: undone.txt text");
	const fork = await opencode.fork(id);
	const users = (await opencode.messages(id)).filter(({ info }) => info.role === "user");
	expect(users.length).toBe(4);
	await opencode.revert(id, users.at(-1)?.info.id ?? "");
	await opencode.unrevert(id);
	await opencode.revert(id, users.at(-1)?.info.id ?? "");
	await opencode.prompt(id, "say: after the undo");
	const [first] = await opencode.messages(fork.id);
	const part = first?.parts.at(-1);
	if (first && part) await opencode.deletePart(fork.id, first.info.id, part.id);
	if (first && line.deletesMessages) await opencode.deleteMessage(fork.id, first.info.id);
	const child = await opencode.createSession({ title: "A sub-session", parentID: id });
	await opencode.prompt(child.id, "say: from below");
	await opencode.rename(id, "Another title");
	const gone = await opencode.createSession({ title: "To be deleted" });
	await opencode.prompt(gone.id, "say: soon gone");
	return { kept: [id, fork.id, child.id], deleted: gone.id };
}

/** Kills OpenCode while a tool of this session is running. */
async function killInTurn(opencode: Opencode, id: string): Promise<void> {
	const turn = opencode
		.prompt(id, "run: for i in $(seq 1 1000); do echo line $i; sleep 0.02; done")
		.catch(() => undefined);
	await eventually("the tool to run", async () => {
		const messages = await opencode.messages(id);
		return JSON.stringify(messages.at(-1)?.parts).includes("line 3");
	});
	await opencode.kill();
	await turn;
}

/** The way that was taken is the one that this version has. */
async function expectReason(machine: Machine, line: Line, said: string): Promise<void> {
	const rows = await machine.rows<{ watermark_seq: number | null }>(
		"SELECT watermark_seq FROM session WHERE source_state = 'present'",
	);
	const logged = rows.filter(({ watermark_seq }) => watermark_seq !== null);
	expect(logged.length > 0, said).toBe(line.keeps === "log");
}
