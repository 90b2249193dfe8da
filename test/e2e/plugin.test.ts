import { once } from "node:events";
import { cpSync, mkdirSync, writeFileSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { systemClock } from "../../src/model/clock.ts";
import type { LiveText, Ring } from "../../src/source/doorbell.ts";
import { Lane } from "../../src/source/lane.ts";
import { laneAddress } from "../../src/source/lane-address.ts";
import { eventually } from "../fixture/cli.ts";
import { IS_LONG } from "../fixture/extent.ts";
import { type Opencode, runOpencode } from "../fixture/opencode.ts";
import type { OpencodeClient } from "../fixture/opencode-client.ts";
import {
	agentLog,
	agentPid,
	agentsThatRan,
	endAgent,
	linkPlugin,
	PACKAGE,
	project,
	untilAgentRuns,
} from "../fixture/plugin.ts";
import { Lab } from "./lab.ts";

/** Long enough for a machine on which everything takes ten times as long. */
const TEST_MS_MAX = 600_000;

const lab = new Lab();
const dataDirs: string[] = [];
afterAll(async () => {
	for (const dataDir of dataDirs) await endAgent(dataDir);
	await lab.close();
});

/** A data directory whose agent is ended with this file. */
function dataDir(...names: string[]): string {
	const path = lab.path(...names);
	dataDirs.push(path);
	return path;
}

async function answerTo(client: OpencodeClient, text: string): Promise<string> {
	const { id } = await client.createSession();
	return JSON.stringify((await client.prompt(id, `say: ${text}`)).parts);
}

it(
	"`opencode plugin` installs it, and then `opencode run` is captured with nothing else there, on OpenCode's own Bun",
	async () => {
		const bare = lab.path("bare", "no-node-here");
		mkdirSync(bare, { recursive: true });
		const home = await lab.home("bare");
		const machine = lab.machine("bare-data", home, undefined, { OPENCODE_OUTBOX_IDLE_STOP: "3s", PATH: bare });
		dataDirs.push(machine.dataDir);
		const there = { ...home, env: machine.env };
		expect(await runOpencode(there, ["plugin", "--global", PACKAGE])).toMatch(/Detected server target/);
		expect(await runOpencode(there, ["run", "say: nobody has started anything"])).toContain(
			"nobody has started anything",
		);
		await machine.untilSent();
		// It has outlived OpenCode, and now that nobody needs it, it goes.
		await eventually("it to stop by itself", () => agentLog(machine.dataDir).includes("the agent has stopped"), {
			also: () => agentLog(machine.dataDir),
			withinMs: 60_000,
		});
		expect(agentLog(machine.dataDir)).toMatch(/nobody needs the agent; it stops by itself/);
		expect(await agentPid(machine.dataDir)).toBeUndefined();
		const [session] = await machine.rows<{ session_id: string }>("SELECT session_id FROM session");
		// A command of Node's goes on with what Bun has written.
		await machine.expectEqual(session?.session_id ?? "");
		const messages = await machine.rows<{ key: string }>("SELECT key FROM entity WHERE key LIKE 'message/%'");
		expect(messages.length).toBeGreaterThan(1);
	},
	TEST_MS_MAX,
);

// Left out of `npm test` for the time it takes; see extent.ts.
it.skipIf(!IS_LONG)(
	"five OpenCodes with two directories each start one agent, which outlives SIGTERM and SIGKILL of them all",
	async () => {
		const data = dataDir("many-data");
		// Five at once cannot make OpenCode's database: its own migrations get into each other's way.
		await (await lab.opencode("many")).stop();
		linkPlugin(lab.path("many"));
		const env = { OPENCODE_OUTBOX_DATA_DIR: data, OPENCODE_OUTBOX_PORT: "0", OPENCODE_OUTBOX_IDLE_STOP: "4s" };
		// One after the other they would find the first one's agent; at once they race.
		const all = await Promise.all(Array.from({ length: 5 }, () => lab.opencode("many", { env })));
		const clients = all.flatMap((opencode, n) => [opencode, project(opencode, lab.path("many", `other-${n}`))]);
		const sessions = await Promise.all(clients.map((client) => client.createSession()));
		const pid = await untilAgentRuns(data);
		await all[0]?.prompt(sessions[0]?.id ?? "", "say: heard by one agent");
		const machine = lab.machine("many-data", { ...(all[0] as Opencode) }, undefined, {
			OPENCODE_OUTBOX_IDLE_STOP: "4s",
		});
		await machine.until("all ten sessions", "SELECT 1 WHERE (SELECT count(*) FROM session) = 10");
		await machine.untilSent();
		const link = (await machine.session(sessions[0]?.id ?? ""))?.url ?? "no link";
		// Asked inside OpenCode; the model repeats what it is told.
		const told = await all[1]?.call("POST", `/session/${sessions[0]?.id}/command`, {
			command: "outbox",
			arguments: "",
		});
		expect(JSON.stringify(told)).toContain("This session is safe");
		expect(JSON.stringify(told)).toContain(link);

		const [first, second, ...others] = all;
		await Promise.all([first?.stop(), second?.stop(), ...others.map((opencode) => opencode.kill())]);
		expect(await agentPid(data)).toBe(pid);
		await eventually("it to stop by itself", () => agentLog(data).includes("the agent has stopped"), {
			also: () => agentLog(data),
			withinMs: 60_000,
		});
		expect(agentsThatRan(data)).toBe(1);
		await eventually("its lock to be free", async () => (await agentPid(data)) === undefined);
		await machine.expectEqual(...sessions.map(({ id }) => id));
		for (const opencode of all) expect(opencode.output()).not.toMatch(/outbox/i);
	},
	TEST_MS_MAX,
);

// Left out of `npm test` for the time it takes; see extent.ts.
describe.skipIf(!IS_LONG)(
	"one OpenCode, and a directory for each way in which there can be no agent as it should be",
	() => {
		let opencode: Opencode;
		beforeAll(async () => {
			opencode = await lab.opencode("one", { env: { OPENCODE_OUTBOX_PORT: "0" } });
		}, TEST_MS_MAX);

		it(
			"its turns are as they were",
			async () => {
				const at = (name: string, options: object = { start: false }) =>
					project(opencode, lab.path("one", name), { "data-dir": dataDir(`${name}-data`), ...options });
				const listenAt = async (name: string, greet: (peer: Socket) => void) => {
					const server = createServer((peer) => {
						peer.on("error", () => undefined);
						greet(peer);
					});
					mkdirSync(lab.path(`${name}-data`), { mode: 0o700 });
					server.listen(laneAddress(lab.path(`${name}-data`)));
					await once(server, "listening");
					return () => server.close();
				};
				const strangers = [
					await listenAt("hanging", () => undefined),
					await listenAt("foreign", (peer) => peer.write("HTTP/1.1 400 Bad Request\r\n\r\n")),
				];
				mkdirSync(lab.path("blocked-data", "lane.sock"), { recursive: true, mode: 0o700 });
				writeFileSync(lab.path("a-file"), "");
				// A package that was installed by half.
				cpSync(`${PACKAGE}/dist`, lab.path("half"), {
					recursive: true,
					filter: (path) => !path.endsWith("cli/main.js"),
				});
				writeFileSync(lab.path("half", "package.json"), '{"type":"module"}');
				const missing = dataDir("missing-data");
				const cases: Record<string, OpencodeClient> = {
					"without the plugin": project(opencode, lab.path("one", "without")),
					"with nobody there": at("nobody"),
					"with a listener that says nothing": at("hanging"),
					"with a listener that is somebody else": at("foreign"),
					"with a data directory that cannot be made": project(opencode, lab.path("one", "unmade"), {
						"data-dir": lab.path("a-file", "data"),
					}),
					"with a setting that no agent takes": at("wrong", { poll: "ninety" }),
					"with a folder where the socket should be": at("blocked", {}),
					"with half a package": project(
						opencode,
						lab.path("one", "half"),
						{ "data-dir": missing },
						lab.path("half", "plugin.js"),
					),
				};
				for (const [name, client] of Object.entries(cases)) {
					const text = `a turn ${name}`;
					expect(await answerTo(client, text), name).toContain(text);
				}
				// Where an agent can run at all, it does, and finds everything without being rung for.
				const blocked = lab.machine("blocked-data", opencode);
				await untilAgentRuns(blocked.dataDir);
				await blocked.untilSent();
				// Where it cannot, a person finds out why.
				for (const [name, why] of [
					["wrong-data", /OPENCODE_OUTBOX_POLL=ninety: expected a duration/],
					["missing-data", /OpenCode's plugin: the agent ended \(1\)/],
				] as const)
					await eventually(`the reason in ${name}`, () => why.test(agentLog(lab.path(name))), {
						also: () => agentLog(lab.path(name)),
					});
				// No storm: the first attempt has failed, the second waits for longer than this test takes.
				expect(agentLog(missing).split("OpenCode's plugin").length - 1).toBeLessThanOrEqual(4);
				expect(opencode.output()).not.toMatch(/outbox|lane|ENOENT|ENOTDIR/i);
				for (const close of strangers) close();
			},
			TEST_MS_MAX,
		);

		it(
			"text that streams reaches whoever listens on the lane, in order, and so does the end of the turn",
			async () => {
				const data = dataDir("live-data");
				const lane = new Lane({ dataDir: data, hello: { pid: process.pid, version: "1.0.0" }, clock: systemClock });
				const leave = new AbortController();
				const texts: LiveText[] = [];
				const rings: Ring[] = [];
				const over = (async () => {
					for await (const ring of lane.rings(leave.signal, (live) => void texts.push(live))) rings.push(ring);
				})();
				try {
					const directory = lab.path("one", "live");
					const client = project(opencode, directory, { "data-dir": data });
					const { id } = await client.createSession();
					await eventually("OpenCode on the lane", () => lane.peers === 1);
					const text = "this is told word by word, and nobody has to wait for its end";
					const { info, parts } = await client.prompt(id, `say: ${text}`);
					await eventually("the end of the turn", () => rings.some((ring) => ring.session_id === id && ring.settled));
					expect(rings.find(({ settled }) => settled)).toEqual({ session_id: id, directory, settled: true });
					const part = parts.find(({ type }) => type === "text");
					const grown = () => texts.filter(({ part_id }) => part_id === part?.id);
					const told = () =>
						grown()
							.map(({ delta }) => delta)
							.join("");
					await eventually("the whole text", () => told() === text, { also: () => ({ texts, parts }) });
					expect(grown().length).toBeGreaterThan(5);
					for (const live of grown())
						expect(live).toMatchObject({ session_id: id, message_id: info.id, field: "text" });
					// Somebody answers, so nobody is started.
					expect(await agentPid(data)).toBeUndefined();
				} finally {
					leave.abort();
					await over;
				}
			},
			TEST_MS_MAX,
		);
	},
);
