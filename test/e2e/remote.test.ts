import { mkdirSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { secret } from "../evidence/record.ts";
import { type CliProcess, eventually } from "../fixture/cli.ts";
import { IS_LONG } from "../fixture/extent.ts";
import type { Opencode } from "../fixture/opencode.ts";
import type { FaultProxy } from "../fixture/proxy.ts";
import { Lab, type Machine, peakOf } from "./lab.ts";

const PASSWORD = "password-of-an-opencode-server-1";
const env = { OPENCODE_SERVER_PASSWORD: PASSWORD };
const CROWD = 300;
const lab = new Lab();
const flushed = { code: 0, drained: true, pending: 0, dead: 0 };
let opencode: Opencode;
let proxy: FaultProxy;
let machine: Machine;

/** An agent that knows OpenCode's address and password, and has none of its files. */
function remoteMachine(name: string, url: string, password = PASSWORD): Machine {
	mkdirSync(lab.path(`${name}-home`), { recursive: true });
	const { PATH = "" } = process.env;
	const home = { env: { PATH, HOME: lab.path(`${name}-home`), OPENCODE_SERVER_PASSWORD: password } };
	return lab.machine(name, home, undefined, {
		OPENCODE_OUTBOX_OPENCODE_URL: url,
		OPENCODE_OUTBOX_SOURCE: "server",
	});
}

async function sessionWith(text: string): Promise<string> {
	const { id } = await opencode.createSession();
	await opencode.prompt(id, `say: ${text}`);
	return id;
}

/** Everything that OpenCode has of these is on the share. */
async function untilEqual(...sessions: string[]): Promise<void> {
	await eventually("the share to equal OpenCode", async () => (await machine.verify(...sessions)).clean, {
		withinMs: 120_000,
		also: async () => [await machine.verify(...sessions), await machine.status()],
	});
	expect(await machine.flush()).toMatchObject(flushed);
	await machine.expectEqual(...sessions);
}

// Left out of `npm test` for the time it takes; see extent.ts.
describe.skipIf(!IS_LONG)("an OpenCode server that is reached over HTTP alone", () => {
	beforeAll(async () => {
		opencode = await lab.opencode("opencode", { env });
		proxy = await lab.proxy(Number(new URL(opencode.url).port));
		machine = remoteMachine("machine", proxy.url);
	});
	afterAll(() => lab.close());

	let before: string;
	let kept: string;
	let agent: CliProcess;

	it("is captured with what it had before, and with turns, tools, todos, an undo and a removal as they come", async () => {
		before = await sessionWith("before anybody looked");
		agent = await machine.run();
		kept = await sessionWith("while it is heard");
		await opencode.prompt(kept, "run: echo one; echo two");
		await opencode.prompt(kept, "todo: A, B");
		const [first] = await opencode.messages(kept);
		await opencode.rename(kept, "renamed");
		await untilEqual(before, kept);
		await opencode.revert(kept, (await opencode.messages(kept)).at(-2)?.info.id ?? "");
		await opencode.prompt(kept, "say: instead");
		await opencode.deleteMessage(kept, first?.info.id ?? "");
		await untilEqual(before, kept);
		expect((await machine.status()).opencode).toEqual({
			...{ db: null, url: `${proxy.url}/`, connected: true, source: "server" },
		});
		expect((await machine.cli("status")).stdout).toContain(`connected to ${proxy.url}/, its only source`);
	}, 400_000);

	it("loses nothing while its connections are cut, whatever happens meanwhile", async () => {
		proxy.faults.refuse = true;
		expect(proxy.dropConnections()).toBeGreaterThan(0);
		await opencode.prompt(kept, "say: behind the cut");
		const [first] = await opencode.messages(before);
		await opencode.deletePart(before, first?.info.id ?? "", first?.parts[0]?.id ?? "");
		const gone = await sessionWith("made and deleted unheard");
		await opencode.deleteSession(gone);
		proxy.faults.refuse = false;
		await untilEqual(before, kept);
	}, 400_000);

	it("loses nothing when OpenCode is killed and starts again, and the agent is killed and starts again", async () => {
		await opencode.kill();
		opencode = await lab.opencode("opencode", { env, port: Number(new URL(opencode.url).port) });
		await opencode.prompt(kept, "say: after OpenCode's end");
		await agent.kill();
		await opencode.prompt(before, "say: after the agent's end");
		await opencode.rename(kept, "renamed while nobody looked");
		agent = await machine.run();
		await untilEqual(before, kept);
	}, 400_000);

	it("tells a session as deleted that is deleted, heard or not, and keeps its share", async () => {
		const [heard, unheard] = [await sessionWith("deleted while it is heard"), await sessionWith("deleted unheard")];
		await untilEqual(heard, unheard);
		await opencode.deleteSession(heard);
		const isDeleted = "SELECT 1 FROM session WHERE session_id = ? AND source_state = 'deleted'";
		await machine.until("the deletion", isDeleted, heard);
		await agent.stop();
		await opencode.deleteSession(unheard);
		expect(await machine.flush()).toMatchObject(flushed);
		expect(await machine.rows(isDeleted, unheard)).toHaveLength(1);
		await machine.expectEqual(before, kept, heard, unheard);
		agent = await machine.run();
	}, 400_000);

	it("is captured with what another OpenCode process does on the same data, of which it tells nothing", async () => {
		const other = await lab.opencode("opencode", { env });
		await other.prompt(kept, "run: echo by the other one");
		const { id: its } = await other.createSession({ title: "made by the other one" });
		await other.prompt(its, "say: hello");
		await opencode.prompt(kept, "say: and by the first one again");
		await other.stop();
		await untilEqual(before, kept, its);
	}, 400_000);

	it("loses nothing while it is silent for 60 s", async () => {
		proxy.faults.blackHole = true;
		await opencode.prompt(kept, "say: into the silence");
		await new Promise((resolve) => setTimeout(resolve, 60_000));
		await opencode.prompt(before, "say: into the silence");
		proxy.faults.blackHole = false;
		await untilEqual(before, kept);
	}, 400_000);

	it("says what to do when it does not let us in", async () => {
		const wrong = "password-of-another-server-1";
		secret("password", wrong);
		const stranger = remoteMachine("stranger", opencode.url, wrong);
		const result = await stranger.flush();
		expect(result).toMatchObject({ code: 77, error: { code: "denied" } });
		expect(result.error?.hint).toContain("OPENCODE_SERVER_PASSWORD");
		const running = await stranger.run();
		await running.says("does not let us in");
		await stranger.until("the trouble", "SELECT 1 FROM agent WHERE capture_paused = 'denied'");
		const status = await stranger.cli("status");
		expect(status.code).toBe(1);
		expect(status.stdout).toContain("Set OPENCODE_SERVER_PASSWORD");
		await running.stop();
	}, 400_000);

	it(`takes a few requests per session at the first start, and a few in all when it is connected anew (${CROWD} sessions)`, async () => {
		let last = "";
		for (let n = 0; n < CROWD; n++) {
			const { id } = await opencode.createSession({ title: `number ${n}` });
			last = id;
			const parts = [{ type: "text", text: `a question, ${n}` }];
			await opencode.call("POST", `/session/${id}/message`, { noReply: true, parts });
		}
		const crowd = remoteMachine("crowd", proxy.url);
		const [before, startedAt] = [proxy.traffic.requests, performance.now()];
		const running = await crowd.run();
		const within = { withinMs: 180_000 };
		const all = (claim: string) => async () => (await crowd.rows(`SELECT 1 WHERE ${claim}`)).length > 0;
		const captured = `(SELECT count(DISTINCT session_id) FROM entity WHERE key LIKE 'part/%') >= ${CROWD}`;
		await eventually("all to be captured", all(captured), within);
		const captured_ms = Math.round(performance.now() - startedAt);
		await eventually("all to be sent", all("NOT EXISTS (SELECT 1 FROM session WHERE acked_cursor = 0)"), within);
		const first_start = proxy.traffic.requests - before;

		const atRest = proxy.traffic.requests;
		expect(proxy.dropConnections()).toBeGreaterThan(0);
		await opencode.rename(last, "renamed behind the cut");
		const renamed = "SELECT 1 FROM session WHERE session_id = ? AND title = 'renamed behind the cut'";
		await crowd.until("the rename", renamed, last);
		const reconnect = proxy.traffic.requests - atRest;
		const peak_rss = process.platform === "linux" ? peakOf(running.facts.pid) : null;
		process.stderr.write(`${JSON.stringify({ sessions: CROWD, captured_ms, first_start, reconnect, peak_rss })}\n`);
		expect(first_start).toBeLessThan(6 * CROWD);
		expect(reconnect).toBeLessThan(CROWD / 2);
		await running.stop();
	}, 400_000);

	it("no secret is in any output, and no file can be read by others", () => lab.expectNothingTold());
});
