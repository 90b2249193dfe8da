import { existsSync, rmSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openSqlite } from "../../src/sqlite/driver.ts";
import { eventually } from "../fixture/cli.ts";
import { exportSession, importInto, type Opencode, runOpencode } from "../fixture/opencode.ts";
import { freePort, Lab, type Machine, type Server, type ShareFacts } from "./lab.ts";

const lab = new Lab();
let opencode: Opencode;
let server: Server;

beforeAll(async () => {
	[opencode, server] = await Promise.all([lab.opencode(), lab.server()]);
});
afterAll(() => lab.close());

function manual(name: string): Machine {
	return lab.machine(name, opencode, server, { OPENCODE_OUTBOX_SHARE: "manual" });
}

async function sessionWith(text: string): Promise<string> {
	const { id } = await opencode.createSession();
	await opencode.prompt(id, `say: ${text}`);
	return id;
}

const dataOf = (url: string) => `${url.replace("/share/", "/api/share/")}/data`;

/** The page and the data that a link gives. */
async function answers(url: string): Promise<number[]> {
	return [(await fetch(url)).status, (await fetch(dataOf(url))).status];
}

describe("`run` before OpenCode exists", () => {
	it("says where it looks, waits, and then captures", async () => {
		const home = await lab.home("later");
		const machine = lab.machine("waiting", home);
		const agent = await machine.run();
		await agent.says("waiting for OpenCode");
		expect(agent.stderr()).toContain(`There is no OpenCode database yet. Looked for ${home.databasePath}`);
		expect(agent.facts.opencode_db).toBe(home.databasePath);
		expect(existsSync(home.databasePath)).toBe(false);
		expect(await machine.status()).toMatchObject({ agent: { pid: agent.pid, state: "waiting" }, sessions: [] });

		// No --opencode-url: polling alone, as beside a TUI, which opens no port.
		expect(await runOpencode(home, ["run", "say: hi from a TUI"])).toContain("hi from a TUI");
		await machine.untilSent();
		const [session] = (await machine.status()).sessions;
		expect(session).toMatchObject({ state: "synced", pending: 0 });
		await machine.expectEqual(session?.session_id ?? "");
		const data = await (await fetch(dataOf(session?.url ?? ""))).text();
		expect(data).toContain("hi from a TUI");
		expect(await machine.status()).toMatchObject({
			agent: { state: "running", last_error: null },
			opencode: { db: home.databasePath, url: null, connected: false },
		});
		await agent.stop();
	}, 90_000);
});

describe("poll alone, without --opencode-url", () => {
	it("captures what a one-shot `opencode run` process does, beside another that serves", async () => {
		const machine = lab.machine("polling", opencode, server);
		const agent = await machine.run();
		expect(await runOpencode(opencode, ["run", "say: hi"])).toContain("hi");
		const said = (await opencode.sessions()).map(({ id }) => id);
		await machine.until("the new session", "SELECT 1 FROM session WHERE session_id = ?", said[0] ?? "");
		expect(await machine.flush()).toMatchObject({ code: 0, drained: true });
		await machine.expectEqual(...said);
		await agent.stop();
	}, 90_000);
});

describe("flush", () => {
	it("without an agent: captures, sends, and exits 0", async () => {
		const id = await sessionWith("flushed without an agent");
		const machine = lab.machine("alone", opencode, server);
		expect(await machine.flush()).toMatchObject({ code: 0, drained: true, pending: 0, error: null });
		await machine.expectEqual(id);
		expect((await machine.status()).agent).toMatchObject({ pid: null, state: "stopped" });
	}, 60_000);

	it("beside an agent: what was said before it is on the share after it", async () => {
		const machine = lab.machine("beside", opencode, server, { OPENCODE_OUTBOX_POLL: "1h" });
		const agent = await machine.run();
		const id = await sessionWith("flushed beside an agent that would look in an hour");
		const { code, stdout } = await machine.cli("flush");
		expect(code).toBe(0);
		expect(stdout).toMatch(/^Everything is on the share server \(\d+ ms\)\.\n$/);
		await machine.expectEqual(id);
		await agent.stop();
	}, 60_000);

	it("with a dead server: exits 75 in time, and nothing is lost", async () => {
		const port = await freePort();
		const dead = { url: `http://127.0.0.1:${port}`, keyFile: server.keyFile };
		const machine = lab.machine("dead-server", opencode, dead);
		const id = await sessionWith("nobody is there");
		const result = await machine.cli("flush", "--timeout", "2s");
		expect(result.code).toBe(75);
		expect(result.stderr).toMatch(/error: \d+ ops \([\d.]+ KiB\) not sent within 2s\./);
		expect(result.elapsedMs).toBeLessThan(8000);
		expect((await machine.status()).outbox.pending).toBeGreaterThan(0);

		// The same database of shares under the port that nobody answered on.
		const back = await lab.server("server-2", port);
		writeFileSync(lab.path("key-2"), await keyOf(back), { mode: 0o600 });
		const mended = lab.machine("dead-server", opencode, { url: back.url, keyFile: lab.path("key-2") });
		// As after an outage of hours: who asks for a flush does not wait for the next attempt that is due by itself.
		const outbox = await openSqlite(`${mended.dataDir}/outbox.db`);
		const inAMinute = Date.now() + 60_000;
		outbox.prepare("UPDATE agent SET connect_attempts = 20, next_connect_at = ?").run(inAMinute);
		outbox.prepare("UPDATE session SET attempts = 20, next_retry_at = ?").run(inAMinute);
		outbox.close();
		expect(await mended.flush()).toMatchObject({ code: 0, drained: true, pending: 0 });
		await mended.expectEqual(id);
		await back.process.stop();
	}, 60_000);

	it("with a wrong server key: exits 77, keeps everything, and sends it once the key file is mended", async () => {
		const keyFile = lab.path("a-key");
		const wrong = "w".repeat(43);
		lab.secret(wrong);
		writeFileSync(keyFile, wrong, { mode: 0o600 });
		const machine = lab.machine("wrong-key", opencode, { url: server.url, keyFile });
		const refused = await machine.flush();
		expect(refused).toMatchObject({ code: 77, drained: false, error: { code: "denied" } });
		const agent = await machine.run();
		await machine.until("the refusal", "SELECT 1 FROM agent WHERE server_state = 'refused'");
		expect(await machine.flush("--timeout", "5s")).toMatchObject({ code: 77, error: { code: "denied" } });
		expect((await machine.cli("status")).stdout).toContain("does not accept the server key");
		writeFileSync(keyFile, await keyOf(server), { mode: 0o600 });
		expect(await machine.flush()).toMatchObject({ code: 0, drained: true, pending: 0 });
		await machine.expectEqual();
		await agent.stop();
	}, 60_000);

	it("with no OpenCode: exits 66 and says where it looked", async () => {
		const nowhere = await lab.home("nowhere");
		const machine = lab.machine("no-opencode", nowhere, server);
		const result = await machine.cli("flush");
		expect(result.code).toBe(66);
		expect(result.stderr).toContain(nowhere.databasePath);
	}, 60_000);
});

async function keyOf({ keyFile }: Server): Promise<string> {
	const { readServerKey } = await import("../../src/cli/server-key.ts");
	const key = readServerKey(keyFile);
	lab.secret(key);
	return key;
}

describe("share and unshare", () => {
	it("beside a running agent: the link works, `opencode import` of it equals the first, and after unshare it is dead", async () => {
		const id = await sessionWith("shared beside an agent");
		await opencode.prompt(id, "run: echo a tool; echo another line");
		await opencode.prompt(id, "todo: one, two");
		const [first] = await opencode.messages(id);
		await opencode.deleteMessage(id, first?.info.id ?? "");
		const machine = manual("share-beside");
		const agent = await machine.run();
		const { url, slug } = await machine.share(id);
		expect(url).toBe(`${server.url}/share/${slug}`);
		expect(await machine.cli("share", id)).toMatchObject({ code: 0, stdout: `${url}\n` });
		expect(await answers(url)).toEqual([200, 200]);

		const copy = await importInto(lab.path("imported"), url);
		expect(copy.sessionId).toBe(id);
		const [there, here] = [await exportSession(copy, id), await exportSession(opencode, id)];
		expect(there.messages).toEqual(here.messages);
		// An import gives the session a home of its own.
		const { projectID: _p, directory: _d, path: _path, ...info } = here.info;
		expect(there.info).toMatchObject(info);

		expect(await machine.cli("unshare", id)).toMatchObject({ code: 0 });
		expect(await answers(url)).toEqual([410, 410]);
		expect(await machine.session(id)).toMatchObject({ state: "unshared", pending: 0, url: null });
		await opencode.prompt(id, "say: nobody is to see this");
		expect(await machine.flush()).toMatchObject({ code: 0, pending: 0 });
		expect(await machine.session(id)).toMatchObject({ state: "unshared", share_id: null });
		const again: ShareFacts = await machine.share(id);
		expect(again.url).not.toBe(url);
		expect(await answers(again.url)).toEqual([200, 200]);
		expect(await answers(url)).toEqual([410, 410]);
		await agent.stop();
	}, 90_000);

	it("without a running agent", async () => {
		const id = await sessionWith("shared without an agent");
		const machine = manual("share-alone");
		const { url } = await machine.share(id);
		await machine.expectEqual(id);
		expect(await answers(url)).toEqual([200, 200]);
		expect((await machine.cli("unshare", "--json", id)).json()).toEqual({
			session_id: id,
			unshared: true,
			deleted: true,
		});
		expect(await answers(url)).toEqual([410, 410]);
	}, 60_000);

	it("unshare works beside an agent when OpenCode's database is gone altogether", async () => {
		const home = await lab.home("uninstalled");
		await runOpencode(home, ["run", "say: the only session"]);
		const machine = lab.machine("share-uninstalled", home, server);
		const agent = await machine.run();
		await machine.untilSent();
		const [session] = (await machine.status()).sessions;
		rmSync(home.dataDirectory, { recursive: true });
		await agent.says("waiting for OpenCode");
		expect(await machine.cli("unshare", "--timeout", "10s", session?.session_id ?? "")).toMatchObject({ code: 0 });
		expect(await answers(session?.url ?? "")).toEqual([410, 410]);
		await agent.stop();
	}, 60_000);

	it("unshare works after OpenCode deleted the session", async () => {
		const id = await sessionWith("forgotten by OpenCode");
		const machine = manual("share-forgotten");
		const agent = await machine.run();
		const { url } = await machine.share(id);
		await opencode.deleteSession(id);
		await machine.until("the deletion", "SELECT 1 FROM session WHERE session_id = ? AND source_state = 'deleted'", id);
		await eventually("the share to be marked", async () => /deleted/i.test(await (await fetch(url)).text()));
		expect(await machine.cli("unshare", id)).toMatchObject({ code: 0 });
		expect(await answers(url)).toEqual([410, 410]);
		await agent.stop();
	}, 60_000);

	it("a session that nobody knows: exits 66; a link that nobody gave out: 404", async () => {
		const machine = manual("share-unknown");
		expect(await machine.cli("share", "ses_nobody")).toMatchObject({ code: 66 });
		expect(await machine.cli("unshare", "ses_nobody")).toMatchObject({ code: 66 });
		expect(await answers(`${server.url}/share/aaaaaaaaaaaaaaaaaaaaaaaa`)).toEqual([404, 404]);
	}, 60_000);
});

it("no secret is in any output, and no file can be read by others", () => lab.expectNothingTold());
