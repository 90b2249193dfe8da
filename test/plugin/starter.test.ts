import { mkdirSync, mkdtempSync, readFileSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { runtimes } from "../../src/plugin/runtime.ts";
import { Starter } from "../../src/plugin/starter.ts";
import { discard } from "../evidence/folder.ts";
import { BUN, eventually, startProcess } from "../fixture/cli.ts";
import { agentLog, agentPid, agentsThatRan, endAgent, untilAgentRuns } from "../fixture/plugin.ts";

const root = mkdtempSync(join(tmpdir(), "starter-"));
afterAll(async () => {
	for (const name of ["many", "again"]) await endAgent(join(root, name));
	discard(root);
});

/** An environment apart from this machine's own. */
function settings(name: string, more: Record<string, string> = {}) {
	const dataDir = join(root, name);
	const home = { HOME: root, XDG_CONFIG_HOME: join(root, "config"), XDG_DATA_HOME: join(root, "share") };
	const env = { PATH: process.env.PATH ?? "", ...home, OPENCODE_OUTBOX_DATA_DIR: dataDir, OPENCODE_OUTBOX_PORT: "0" };
	return { dataDir, start: true, env: { ...env, ...more } };
}

it("many at once start one agent", async () => {
	const { dataDir } = settings("many");
	const started = await Promise.all(Array.from({ length: 8 }, () => new Starter(settings("many")).start()));
	expect(started.toSorted()).toEqual(["ours", ...Array.from({ length: 7 }, () => "theirs")]);
	const pid = await untilAgentRuns(dataDir);
	expect(await agentPid(dataDir)).toBe(pid);
	// The last that it has to say here.
	await eventually("the agent to wait", () => agentLog(dataDir).includes("waiting for OpenCode"));
	// One more that nobody kept back ends without a word.
	utimesSync(join(dataDir, "agent.starting"), 1, 1);
	const before = agentLog(dataDir);
	expect(await new Starter(settings("many")).start()).toBe("ours");
	const other = startProcess(
		"an agent too many",
		[process.execPath, "src/cli/main.ts", "run", "--background"],
		settings("many").env,
	);
	expect([await other.ended, other.stdout(), other.stderr()]).toEqual([75, "", ""]);
	expect([agentsThatRan(dataDir), await agentPid(dataDir)]).toEqual([1, pid]);
	expect(agentLog(dataDir)).toBe(before);
}, 300_000);

it("one that fails says so in agent.log, and is not tried again at once", async () => {
	const wrong = settings("wrong", { OPENCODE_OUTBOX_POLL: "soon" });
	const starter = new Starter(wrong);
	expect(await starter.start()).toBe("ours");
	expect(await starter.start()).toBeUndefined();
	await eventually("the reason", () => /the agent ended \(78\)/.test(agentLog(wrong.dataDir)), {
		withinMs: 60_000,
		also: () => agentLog(wrong.dataDir),
	});
	expect(agentLog(wrong.dataDir)).toMatch(/OPENCODE_OUTBOX_POLL=soon: expected a duration/);
	expect(await starter.start()).toBeUndefined();
}, 90_000);

it("nothing is thrown where there is nowhere to start it, and what is in the way is left alone", async () => {
	writeFileSync(join(root, "a-file"), "precious");
	expect(await new Starter(settings("a-file")).start()).toBeUndefined();
	expect(await new Starter(settings(join("a-file", "below"))).start()).toBeUndefined();
	expect(readFileSync(join(root, "a-file"), "utf8")).toBe("precious");
});

it("without a Node that is new enough it is Bun's turn, and where neither is there, a person is told", async () => {
	const bare = join(root, "bare");
	mkdirSync(bare);
	const { env } = settings("none", { PATH: bare });
	expect(await runtimes(env, bare)).toEqual([]);
	writeFileSync(join(bare, "node"), "#!/bin/sh\necho /old/node; echo 20.20.2; echo 9\n", { mode: 0o755 });
	expect(await runtimes(env, bare)).toEqual([]);
	expect(await new Starter(settings("none", { PATH: bare })).start()).toBeUndefined();
	expect(agentLog(join(root, "none"))).toMatch(/there is no Node 22\.14 or newer on the PATH/);
	const script = `const {runtimes} = await import(${JSON.stringify(`${process.cwd()}/src/plugin/runtime.ts`)}); console.log(JSON.stringify(await runtimes(process.env, ${JSON.stringify(bare)})))`;
	const inBun = startProcess("a plugin in Bun", [BUN, "-e", script], env);
	expect((await inBun.ready<{ name: string; env: object }[]>()).map(({ name, env }) => [name, env])).toEqual([
		["bun", { BUN_BE_BUN: "1" }],
	]);
	await inBun.kill();
}, 60_000);
