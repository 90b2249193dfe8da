import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { eventually, MAIN, secretsIn } from "../fixture/cli.ts";
import { hasTerminals, startOnTerminal } from "../fixture/pty.ts";
import { after } from "../outbox/fixture.ts";
import { SERVER_KEY } from "../server/client.ts";
import { startHost } from "../server/host.ts";
import { OpencodeDatabase } from "../source/opencode-database.ts";
import { machine } from "./lab.ts";

interface Line {
	readonly level: string;
	readonly time: string;
	readonly pid: number;
	readonly msg: string;
	readonly [fact: string]: unknown;
}

test("an agent's log tells an outage in one line per transition, each with what it is about, and no secret", async () => {
	const home = machine();
	mkdirSync(join(home.home, "data", "opencode"), { recursive: true });
	const opencode = await OpencodeDatabase.create(join(home.home, "data", "opencode", "opencode.db"));
	after(() => opencode.sql.close());
	opencode.session("ses_1");
	opencode.message("ses_1", "msg_1", "hello");
	const keyFile = join(home.home, "key");
	writeFileSync(keyFile, SERVER_KEY, { mode: 0o600 });
	const databasePath = join(home.home, "share.db");
	let server = await startHost({ databasePath });
	const { port, url } = server;
	onTestFinished(() => server.close());

	let said = "";
	const start = () => {
		const flags = ["--server", url, "--server-key-file", keyFile, "--poll", "50ms", "--log-level", "debug"];
		const agent = home.start(["run", ...flags]);
		agent.stderr?.setEncoding("utf8").on("data", (text: string) => {
			said += text;
		});
		return agent;
	};
	const lines = () =>
		said
			.split("\n")
			.slice(0, -1)
			.map((line) => JSON.parse(line) as Line);
	const named = (msg: string) => lines().filter((line) => line.msg === msg);
	const until = (msg: string, times = 1) =>
		eventually(`"${msg}"`, () => named(msg).length >= times, { withinMs: 60_000, also: () => said.slice(-4000) });

	const first = start();
	await until("a batch was acknowledged");
	await server.stop();
	await until("the share server is not reachable");
	opencode.message("ses_1", "msg_2", "while it was away");
	await until("the share server is still away", 2);
	server = await startHost({ databasePath, port });
	await until("connected", 2);
	await until("a batch was acknowledged", 2);
	first.kill("SIGKILL");
	await once(first, "exit");
	const second = start();
	await until("connected", 3);
	second.kill("SIGTERM");
	await once(second, "exit");

	for (const line of lines())
		expect(line).toMatchObject({
			level: expect.any(String),
			time: expect.stringMatching(/Z$/),
			pid: expect.any(Number),
		});
	const told = lines().filter(({ level }) => level !== "debug");
	const transitions = [
		...["the agent runs", "connected", "share made", "connection ended"],
		...["the share server is not reachable", "the last agent was killed; going on from where it was"],
		...["draining; a second signal stops at once", "the agent has stopped"],
	];
	const times = Object.fromEntries(transitions.map((msg) => [msg, told.filter((line) => line.msg === msg).length]));
	expect(times).toMatchObject({
		...{ "the agent runs": 2, connected: 3, "share made": 1, "connection ended": 1 },
		...{ "the share server is not reachable": 1, "the last agent was killed; going on from where it was": 1 },
		...{ "draining; a second signal stops at once": 1, "the agent has stopped": 1 },
	});
	expect(named("connected")[1]).toMatchObject({ after_ms: expect.any(Number), attempts: expect.any(Number) });
	const share = named("share made")[0]?.share;
	expect(share).toMatch(/^shr_/);
	for (const msg of ["a batch is sent", "a batch was acknowledged"])
		for (const line of named(msg))
			expect(line).toMatchObject({ session: "ses_1", share, batch: expect.stringMatching(/^[0-9A-Z]{26}$/) });
	const secrets = [SERVER_KEY, ...(await secretsIn(home.dataDir))];
	expect(secrets.filter((secret) => said.includes(secret))).toEqual([]);
}, 180_000);

test.skipIf(!hasTerminals())(
	"on a terminal it is text for people, coloured, a line each",
	async () => {
		const home = machine();
		const env = { ...home.env, TERM: "xterm-256color" };
		const agent = startOnTerminal([process.execPath, MAIN, "run", "--port", "0"], {
			cwd: home.home,
			env,
			columns: 200,
		});
		after(() => void agent.kill());
		await agent.until("its first words", (screen) => /^\d\d:\d\d:\d\d info {2}the agent runs server=/m.test(screen));
		expect(agent.shown()).toContain("\u001b[2m");
		agent.type("\u0003");
		await agent.until("its end", (screen) => / info {2}the agent has stopped drained=true$/m.test(screen));
		expect(agent.screen()).not.toContain("{");
		await agent.ended;
	},
	60_000,
);
