import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Outbox } from "../../src/outbox/outbox.ts";
import { acquireLock } from "../../src/sqlite/lock.ts";
import { type ScriptedServer, startScriptedServer } from "../fixture/scripted-server.ts";
import { after, append, message } from "../outbox/fixture.ts";
import { OpencodeDatabase } from "../source/opencode-database.ts";
import { type Machine, machine } from "./lab.ts";

const OTHER = "https://other.example";

interface Scene {
	readonly home: Machine;
	readonly outbox: Outbox;
	readonly opencode: OpencodeDatabase;
	readonly server: ScriptedServer;
	/** Share ids that the server was asked to redeem. */
	readonly redeemed: string[];
	/** A command beside this OpenCode database. */
	cli(...args: string[]): ReturnType<Machine["cli"]>;
}

/** A machine whose three sessions are shared on three servers: its own, one elsewhere, and the scripted one. */
async function scene(): Promise<Scene> {
	const home = machine();
	const server = await startScriptedServer();
	after(() => void server.close());
	const redeemed: string[] = [];
	server.script.redeemShare = (shareId) => void redeemed.push(shareId);
	const opencode = await OpencodeDatabase.create(join(home.home, "opencode.db"));
	after(() => opencode.sql.close());
	const outbox = await home.openOutbox();
	const servers = [
		["ses_1", "embedded"],
		["ses_2", OTHER],
		["ses_3", server.url],
	] as const;
	for (const [id, url] of servers) {
		append(outbox, [message("e1", "m1")], 1000, id);
		outbox.ask(id, url, "c".repeat(43), 1000);
		const slug = `slug-of-${id}-0123456789`;
		const grant = { share_id: `shr_${id}`, slug, url: `http://x/share/${slug}`, secret: "s".repeat(43) };
		outbox.granted(id, { ...grant, capability_epoch: 1 });
	}
	const cli = (...args: string[]) => home.cli([...args, "--opencode-db", opencode.path]);
	return { home, outbox, opencode, server, redeemed, cli };
}

/** The flags that name a server, with its key file. */
function flagsOf({ home, server }: Scene): string[] {
	const keyFile = join(home.home, "key");
	writeFileSync(keyFile, "k".repeat(43), { mode: 0o600 });
	return ["--server", server.url, "--server-key-file", keyFile];
}

/** An agent that lives for the length of the test: this process holds its lock. */
async function live({ home, outbox, server }: Scene, server_id: string): Promise<void> {
	const lock = await acquireLock(`${home.dataDir}/agent.lock`);
	if (!("release" in lock)) throw new Error("the lock is taken");
	after(() => lock.release());
	const said = { server_url: server.url, server_id, server_state: "connected", share_mode: "manual" } as const;
	outbox.say({ pid: process.pid, state: "running", since: 1000, ...said }, 1000);
}

const notesIn = (stdout: string): Record<string, string | null> =>
	Object.fromEntries(
		JSON.parse(stdout).sessions.map((verdict: { session_id: string; note: string }) => [
			verdict.session_id,
			verdict.note,
		]),
	);

test("verify shows a server no secret of another one's shares", async () => {
	const here = await scene();
	const { code, stdout } = await here.cli("verify", "--json", ...flagsOf(here));
	expect(code).toBe(1);
	expect(here.redeemed).toEqual(["shr_ses_3"]);
	expect(notesIn(stdout)).toMatchObject({
		ses_1: "its share is on the agent's own server; run without --server",
		ses_2: `its share is on ${OTHER}; run with that --server`,
	});
});

test("verify beside an agent asks that agent's server, without a key", async () => {
	const here = await scene();
	await live(here, here.server.url);
	await here.cli("verify", "--json", "--timeout", "0s");
	expect(here.redeemed).toEqual(["shr_ses_3"]);
});

test("verify beside an agent with a server of its own asks for the shares that are there", async () => {
	const here = await scene();
	await live(here, "embedded");
	await here.cli("verify", "--json", "--timeout", "0s");
	expect(here.redeemed).toEqual(["shr_ses_1"]);
});

test("verify of a session that nobody knows exits 66 and asks nobody", async () => {
	const here = await scene();
	const { code, stderr } = await here.cli("verify", "ses_nobody", ...flagsOf(here));
	expect([code, stderr]).toEqual([66, expect.stringContaining("There is no session ses_nobody")]);
	expect(here.redeemed).toEqual([]);
});

test("share and unshare tell a share on another server from a refusal", async () => {
	const here = await scene();
	for (const command of ["share", "unshare"]) {
		const { code, stderr } = await here.cli(command, "ses_2", "--timeout", "10s", ...flagsOf(here));
		expect(code).toBe(77);
		expect(stderr).toContain(`Its share is on ${OTHER}, and this command talks to ${here.server.url}.`);
		expect(stderr).toContain("Name that one with --server");
	}
	expect(here.redeemed).not.toContain("shr_ses_2");
});

test("share of an unshared session that OpenCode does not have any more exits 66", async () => {
	const here = await scene();
	here.outbox.want("ses_2", "never");
	here.outbox.forget("ses_2");
	const { code } = await here.cli("share", "ses_2", ...flagsOf(here));
	expect(code).toBe(66);
	expect(here.outbox.session("ses_2")?.wanted).toBe("never");
});

test("flush beside an agent keeps to what that agent shares", async () => {
	const here = await scene();
	await live(here, here.server.url);
	here.opencode.session("ses_new");
	await here.cli("flush", "--timeout", "1s", "--share", "auto");
	expect(here.outbox.session("ses_new")).toBeUndefined();
});
