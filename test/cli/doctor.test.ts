import { once } from "node:events";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer, type RequestListener, request } from "node:http";
import { type AddressInfo, connect, createServer as createTcpServer } from "node:net";
import { join } from "node:path";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { Agent } from "../../src/agent/agent.ts";
import { agentOptions } from "../../src/cli/compose.ts";
import { type Checked, Examination } from "../../src/cli/doctor/examination.ts";
import { CHECKS, examine } from "../../src/cli/doctor/examine.ts";
import { examinationText } from "../../src/cli/doctor/text.ts";
import { resolveSettings } from "../../src/cli/settings.ts";
import { silent } from "../../src/model/logger.ts";
import { openReport } from "../../src/outbox/report.ts";
import { laneAddress } from "../../src/source/lane-address.ts";
import { openSqlite } from "../../src/sqlite/driver.ts";
import { serverVitals } from "../../src/transport/probe.ts";
import { line, secret } from "../evidence/record.ts";
import { eventually } from "../fixture/cli.ts";
import { startModel } from "../fixture/model.ts";
import { startOpencode } from "../fixture/opencode.ts";
import { PACKAGE } from "../fixture/plugin.ts";
import { after, append, message } from "../outbox/fixture.ts";
import { SERVER_KEY } from "../server/client.ts";
import { type NodeHost, startHost } from "../server/host.ts";
import { OpencodeDatabase } from "../source/opencode-database.ts";
import { mountSmallDisk } from "../storage/small-disk.ts";
import { type Machine, machine } from "./lab.ts";

interface Examined {
	/** Nothing needs a person. */
	readonly ok: boolean;
	/** Everything that was told, as text and as JSON. */
	readonly told: string;
	readonly checks: Readonly<Record<string, Checked>>;
	/** Verdicts by name, those that are ok left out. */
	readonly unwell: Readonly<Record<string, string>>;
}

/** The examination itself, in this process; what the command makes of it is tested by itself. */
async function doctor(
	home: Machine,
	flags: Readonly<Record<string, string>> = {},
	{ quick = false, timeoutMs = 5000, expected = [] as readonly string[] } = {},
): Promise<Examined> {
	for (const [name, value] of Object.entries(home.env)) vi.stubEnv(name, value);
	const exam = new Examination(CHECKS, timeoutMs, new Set(expected));
	await examine(exam, flags, timeoutMs, quick);
	vi.unstubAllEnvs();
	const { checked } = exam;
	const told = JSON.stringify(checked) + examinationText(checked, (_, text) => text);
	line("doctor", told);
	const unwell = checked.filter(({ verdict }) => verdict !== "ok").map(({ name, verdict }) => [name, verdict]);
	const checks = Object.fromEntries(checked.map((check) => [check.name, check]));
	return { told, checks, unwell: Object.fromEntries(unwell), ok: checked.every(({ verdict }) => verdict !== "fail") };
}

/** Flags that name a server and its key. */
function replaysTo(url: string, home: Machine, key = SERVER_KEY): Record<string, string> {
	const keyFile = join(home.home, "key");
	writeFileSync(keyFile, key, { mode: 0o600 });
	return { server: url, "server-key-file": keyFile };
}

async function shareServer(): Promise<NodeHost> {
	const host = await startHost();
	onTestFinished(() => host.close());
	return host;
}

/** OpenCode's database where it is looked for, with one session of two events. */
async function opencodeOn({ home }: Machine): Promise<OpencodeDatabase> {
	mkdirSync(join(home, "data", "opencode"), { recursive: true });
	const opencode = await OpencodeDatabase.create(join(home, "data", "opencode", "opencode.db"));
	after(() => opencode.sql.close());
	opencode.session("ses_1");
	opencode.message("ses_1", "msg_1", "hello");
	return opencode;
}

/** An agent in this process; it ends with the test. */
async function agentOn(home: Machine, opencode: OpencodeDatabase, flags: Record<string, string> = {}): Promise<void> {
	const all = { port: "0", poll: "50ms", "opencode-db": opencode.path, ...flags };
	const agent = await Agent.start(agentOptions(resolveSettings(all, home.env), silent));
	onTestFinished(() => agent.stop());
	await captured(home);
}

async function listening(listener: RequestListener): Promise<{ url: string; server: ReturnType<typeof createServer> }> {
	const server = createServer(listener).listen(0, "127.0.0.1");
	onTestFinished(() => {
		server.closeAllConnections();
		server.close();
	});
	await once(server, "listening");
	return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, server };
}

describe("where parts are missing", () => {
	test("each is a result with what to do, not a crash, and nothing is made", async () => {
		const home = machine();
		const { ok, checks, unwell } = await doctor(home);
		expect(ok).toBe(true);
		expect(unwell).toEqual({
			...{ agent: "warn", opencode: "warn", capture: "skip", "opencode-server": "skip", plugin: "skip" },
			...{ server: "skip", "server-key": "skip", "round-trip": "skip" },
		});
		expect(checks.agent?.next).toContain("opencode-outbox run");
		expect(checks.capture?.found).toContain('"opencode"');
		for (const { proves, found } of Object.values(checks)) expect([proves, found]).not.toContain("");
		expect(existsSync(join(home.home, "data"))).toBe(false);
	});

	test("what was said to be there fails, by name", async () => {
		const { ok, unwell } = await doctor(machine(), {}, { quick: true, expected: ["agent", "outbox"] });
		expect([ok, unwell]).toEqual([false, { agent: "fail" }]);
	});

	test("settings that are not valid are told, and what stands on them is skipped", async () => {
		const { ok, checks, unwell } = await doctor(machine(), { server: "ftp://nowhere" });
		expect([ok, unwell.settings, unwell["data-dir"], unwell.server]).toEqual([false, "fail", "skip", "skip"]);
		expect(checks.settings?.found).toContain("--server");
	});
});

describe("where everything works", () => {
	test("every link is proven, nothing but a tombstone stays, and no secret is told", async () => {
		const [home, host] = [machine(), await shareServer()];
		const opencode = await opencodeOn(home);
		const flags = replaysTo(host.url, home);
		await agentOn(home, opencode, flags);
		const expected = ["agent", "opencode", "capture", "server", "server-key", "round-trip"];
		const { ok, checks, unwell, told } = await doctor(home, flags, { expected });
		expect([ok, unwell]).toEqual([true, { "opencode-server": "skip", plugin: "skip" }]);
		expect(checks.opencode?.facts).toMatchObject({ path: opencode.path, sessions: 1, logged: 1 });
		expect(checks.capture?.facts).toMatchObject({ events_behind: 0, sessions_unknown: 0 });
		expect(checks.server?.facts).toMatchObject({ url: host.url, transport: "websocket" });
		expect(Math.abs(Number(checks.server?.facts.clock_skew_ms))).toBeLessThan(60_000);
		expect(checks.agent?.facts).toMatchObject({ pid: process.pid });
		expect(told).toMatch(/nothing needs you\.\n$/);
		for (const secretly of [SERVER_KEY, readFileSync(join(home.dataDir, "identity"), "utf8").trim()])
			expect(told).not.toContain(secretly);
		expect(readdirSync(home.dataDir).filter((name) => name.startsWith(".doctor"))).toEqual([]);
		const shares = await openSqlite(host.databasePath, { readonly: true });
		after(() => shares.close());
		const made = "SELECT deleted_at IS NOT NULL AS deleted FROM share WHERE session_id = 'ses_doctor'";
		expect(shares.prepare(made).all()).toEqual([{ deleted: 1 }]);
	});

	test("beside an agent with a server of its own, that one is proven without being named", async () => {
		const home = machine();
		await agentOn(home, await opencodeOn(home));
		const { checks, unwell } = await doctor(home);
		expect(unwell).toEqual({ "opencode-server": "skip", plugin: "skip" });
		expect(checks["server-key"]?.found).toContain(join(home.dataDir, "server", "key"));
	});

	test("the quick form asks nobody and writes nothing", async () => {
		const home = machine();
		(await home.openOutbox()).close();
		const before = readdirSync(home.dataDir);
		const { ok, checks } = await doctor(home, replaysTo("http://127.0.0.1:9", home), { quick: true });
		expect(ok).toBe(true);
		expect(Object.keys(checks)).toEqual(["runtime", "settings", "data-dir", "outbox", "agent"]);
		const own = (names: string[]) => names.filter((name) => !/-(wal|shm)$/.test(name)).sort();
		expect(own(readdirSync(home.dataDir))).toEqual(own(before));
	});
});

describe("the share server", () => {
	test("that does not let the key in", async () => {
		const [home, host] = [machine(), await shareServer()];
		const wrong = "a-key-that-this-server-does-not-know-0";
		secret("server key", wrong);
		const { ok, checks, unwell, told } = await doctor(home, replaysTo(host.url, home, wrong));
		expect([ok, unwell["server-key"], unwell["round-trip"]]).toEqual([false, "fail", "skip"]);
		expect(checks["server-key"]?.facts).toEqual({ code: "denied" });
		expect(checks["server-key"]?.next).toContain("into that file");
		expect(told).not.toContain(wrong);
	});

	test("that accepts connections and says nothing: given up at the deadline", async () => {
		const home = machine();
		const mute = createTcpServer().listen(0, "127.0.0.1");
		onTestFinished(() => void mute.close());
		await once(mute, "listening");
		const url = `http://127.0.0.1:${(mute.address() as AddressInfo).port}`;
		const { ok, checks } = await doctor(home, replaysTo(url, home), { timeoutMs: 1000 });
		expect([ok, checks.server?.verdict]).toEqual([false, "fail"]);
		expect(checks.server?.found).toContain("No answer within 1000 ms");
	});

	const WRONG: [what: string, listener: RequestListener, found: RegExp][] = [
		["a web page", (_, response) => void response.end("<html>"), /is not a share server/],
		["an error", (_, response) => void response.writeHead(502).end(), /HTTP 502/],
		["a redirect", (_, response) => void response.writeHead(302, { location: "/login" }).end(), /HTTP 302/],
	];
	for (const [what, listener, found] of WRONG)
		test(`that is ${what} of somebody else's`, async () => {
			const [home, { url }] = [machine(), await listening(listener)];
			const { ok, checks } = await doctor(home, replaysTo(url, home));
			expect([ok, checks.server?.verdict]).toEqual([false, "fail"]);
			expect(checks.server?.found).toMatch(found);
		});

	test("that nobody listens for: unreachable, and why", async () => {
		const home = machine();
		const gone = createTcpServer().listen(0, "127.0.0.1");
		await once(gone, "listening");
		const url = `http://127.0.0.1:${(gone.address() as AddressInfo).port}`;
		gone.close();
		await once(gone, "close");
		const { checks } = await doctor(home, replaysTo(url, home));
		expect(checks.server).toMatchObject({ verdict: "fail", facts: { code: "unreachable" } });
		expect(checks.server?.found).toContain("ECONNREFUSED");
	});

	test("behind a proxy that refuses upgrades works over HTTP, which is a warning", async () => {
		const [home, host] = [machine(), await shareServer()];
		const { url, server } = await listening((incoming, response) => {
			const { method, headers } = incoming;
			const onward = request(`${host.url}${incoming.url}`, { method, headers }, (answer) => {
				response.writeHead(answer.statusCode ?? 500, answer.headers);
				answer.pipe(response);
			});
			incoming.pipe(onward);
		});
		server.on("upgrade", (_, socket) => void socket.end("HTTP/1.1 403 Forbidden\r\n\r\n"));
		const { ok, checks, unwell } = await doctor(home, replaysTo(url, home));
		expect([ok, unwell.server, unwell["server-key"]]).toEqual([true, "warn", undefined]);
		expect(checks.server?.found).toContain("No WebSocket");
		// Its links name the server behind the proxy, which is reached from here.
		expect(unwell["round-trip"]).toBeUndefined();
	});

	test("whose clock is an hour behind, behind such a proxy, is told as both", async () => {
		const [home, host] = [machine(), await shareServer()];
		const { url, server } = await listening((incoming, response) => {
			const { method, headers } = incoming;
			const onward = request(`${host.url}${incoming.url}`, { method, headers }, (answer) => {
				const date = new Date(Date.now() - 3_600_000).toUTCString();
				response.writeHead(answer.statusCode ?? 500, { ...answer.headers, date });
				answer.pipe(response);
			});
			incoming.pipe(onward);
		});
		server.on("upgrade", (_, socket) => void socket.end("HTTP/1.1 403 Forbidden\r\n\r\n"));
		const { ok, checks } = await doctor(home, replaysTo(url, home));
		expect([ok, checks.server?.verdict]).toEqual([true, "warn"]);
		expect(checks.server?.found).toMatch(
			/its clock 3[56]\d\d s behind\. The clocks differ\. No WebSocket gets through\.$/,
		);
		expect(checks.server?.next).toMatch(/NTP.*upgrades/);
	});

	test("whose links lead nowhere from here works, which is a warning", async () => {
		const home = machine();
		const host = await startHost({ publicUrl: "http://127.0.0.1:9" });
		onTestFinished(() => host.close());
		const { ok, checks } = await doctor(home, replaysTo(host.url, home));
		expect([ok, checks["round-trip"]?.verdict]).toEqual([true, "warn"]);
		expect(checks["round-trip"]?.next).toContain("--public-url");
	});

	test("whose clock is an hour ahead is told to within seconds", async () => {
		const date = new Date(Date.now() + 3_600_000).toUTCString();
		const { url } = await listening((_, response) => {
			response.setHeader("date", date);
			response.end('{"status":"ok","version":"1"}');
		});
		const { skewMs } = await serverVitals(url, AbortSignal.timeout(10_000));
		expect(Math.abs((skewMs ?? 0) - 3_600_000)).toBeLessThan(10_000);
	});

	test("whose key file others can read is not asked", async () => {
		const [home, host] = [machine(), await shareServer()];
		const flags = replaysTo(host.url, home);
		chmodSync(join(home.home, "key"), 0o644);
		const { checks } = await doctor(home, flags);
		chmodSync(join(home.home, "key"), 0o600);
		expect(checks["server-key"]).toMatchObject({ verdict: "fail", next: expect.stringContaining("chmod 600") });
	});
});

describe("the outbox and its agent", () => {
	test("a foreign database is refused and left as it was", async () => {
		const home = machine();
		mkdirSync(home.dataDir, { recursive: true, mode: 0o700 });
		const path = join(home.dataDir, "outbox.db");
		await made(path, "CREATE TABLE cats (name)");
		const before = readFileSync(path);
		const { ok, checks, unwell } = await doctor(home);
		expect([ok, unwell.agent]).toEqual([false, "skip"]);
		expect(checks.outbox).toMatchObject({ verdict: "fail", facts: { code: "foreign_database" } });
		expect(readFileSync(path).equals(before)).toBe(true);
	});

	test("a damaged one is told, and that it mends itself", async () => {
		const home = machine();
		const outbox = await home.openOutbox();
		for (let n = 0; n < 50; n++) append(outbox, [message(`e${n}`, `m${n}`)], 1000, "ses_1");
		outbox.close();
		const path = join(home.dataDir, "outbox.db");
		const bytes = readFileSync(path);
		bytes.fill(0xff, 5 * 4096, bytes.length - 4096);
		writeFileSync(path, bytes);
		const { ok, checks } = await doctor(home);
		expect([ok, checks.outbox?.verdict]).toEqual([false, "fail"]);
		expect(checks.outbox?.next).toContain("opencode-outbox run");
	});

	test("dead letters need a person", async () => {
		const home = machine();
		const outbox = await home.openOutbox();
		const burial = { op_id: "op_1", type: "message", key: "message/m", code: "too_large", reason: "9 MiB" } as const;
		append(outbox, [burial], 1000, "ses_1");
		const { ok, checks } = await doctor(home);
		expect([ok, checks.outbox?.verdict, checks.outbox?.facts.dead]).toEqual([false, "fail", 1]);
		expect(checks.outbox?.next).toContain("dead list --session ses_1");
	});

	test("what has been pending for long is a warning; that nobody sends it, a failure", async () => {
		const home = machine();
		append(await home.openOutbox(), [message("e1", "m1")], 1000, "ses_1");
		const { ok, unwell } = await doctor(home, {}, { quick: true });
		expect([ok, unwell]).toEqual([false, { outbox: "warn", agent: "fail" }]);
	});

	test("an agent that is suspended, and one that was killed", async () => {
		const home = machine();
		const opencode = await opencodeOn(home);
		const agent = home.start(["run", "--port", "0", "--poll", "50ms"]);
		await captured(home);
		agent.kill("SIGSTOP");
		// Not before what it has the disk do just then is done.
		const state = () => readFileSync(`/proc/${agent.pid}/stat`, "utf8");
		if (process.platform === "linux") await eventually("its suspension", () => /^\d+ \(.*\) T /s.test(state()));
		opencode.message("ses_1", "msg_2", "nobody looks");
		const stopped = await doctor(home, {}, { timeoutMs: 2000 });
		expect([stopped.ok, stopped.unwell.agent, stopped.unwell.capture]).toEqual([false, "fail", "fail"]);
		expect(stopped.checks.agent?.next).toBe(`kill -CONT ${agent.pid}`);
		expect(stopped.checks.capture?.found).toMatch(/^1 event of 1 session not captured yet\..*does not get on/);
		agent.kill("SIGKILL");
		await once(agent, "exit");
		const killed = await doctor(home);
		expect([killed.ok, killed.checks.agent?.found]).toEqual([false, "It was killed."]);
		expect(killed.checks.capture).toMatchObject({ verdict: "warn", facts: { events_behind: 1 } });
	}, 90_000);
});

test("a full disk is told, and what to do", async ({ skip }) => {
	const disk = mountSmallDisk(4 * 1024 * 1024);
	if (typeof disk === "string") return skip(disk);
	onTestFinished(() => disk.unmount());
	const home = machine();
	disk.fill();
	const { ok, checks } = await doctor(home, { "data-dir": disk.path });
	expect([ok, checks["data-dir"]?.verdict]).toEqual([false, "fail"]);
	expect(checks["data-dir"]).toMatchObject({
		facts: { code: "disk_full" },
		next: expect.stringContaining("Free some"),
	});
	disk.clear();
	expect((await doctor(home, { "data-dir": disk.path })).checks["data-dir"]?.verdict).toBe("warn");
});

test("what others could look into is told: the directory, or a file in it", async () => {
	const home = machine();
	(await home.openOutbox()).close();
	const look = async () => (await doctor(home, {}, { quick: true })).checks["data-dir"];
	expect(await look()).toMatchObject({ verdict: "ok", facts: { mode: "0700" } });
	const path = join(home.dataDir, "outbox.db");
	chmodSync(path, 0o644);
	expect(await look()).toMatchObject({ verdict: "warn", next: `chmod 600 ${path}` });
	chmodSync(home.dataDir, 0o755);
	expect(await look()).toMatchObject({ verdict: "warn", next: `chmod 700 ${home.dataDir}` });
	chmodSync(home.dataDir, 0o700);
	chmodSync(path, 0o600);
});

describe("OpenCode", () => {
	const DATABASES: [what: string, write: (path: string) => Promise<void>, code: string][] = [
		["of a layout that is not known", (path) => made(path, "CREATE TABLE session (id)"), "unknown_schema"],
		["that is no database", async (path) => writeFileSync(path, "x".repeat(5000)), "corrupt"],
	];
	for (const [what, write, code] of DATABASES)
		test(`a database ${what} is refused with a sentence`, async () => {
			const home = machine();
			const path = join(home.home, "opencode.db");
			await write(path);
			const { checks, unwell } = await doctor(home, { "opencode-db": path });
			expect(checks.opencode).toMatchObject({ verdict: "fail", facts: { code } });
			expect([checks.opencode?.next, unwell.capture]).toEqual([expect.stringMatching(/./), "skip"]);
		});

	test("a plugin link that leads nowhere is told; one that leads somewhere is found", async () => {
		const home = machine();
		const folder = join(home.home, "config", "opencode", "plugin");
		mkdirSync(folder, { recursive: true });
		const link = join(folder, "opencode-outbox.js");
		symlinkSync(join(home.home, "dist", "plugin.js"), link);
		expect((await doctor(home)).checks.plugin).toMatchObject({ verdict: "warn", found: `${link} leads nowhere.` });
		mkdirSync(join(home.home, "dist"));
		writeFileSync(join(home.home, "dist", "plugin.js"), "");
		expect((await doctor(home)).checks.plugin?.verdict).toBe("ok");
	});

	test("a plugin that the configuration names is looked for where it is said to be", async () => {
		const home = machine();
		const folder = join(home.home, "config", "opencode");
		mkdirSync(folder, { recursive: true });
		const config = join(folder, "opencode.jsonc");
		const named = async (spec: string) => {
			writeFileSync(config, `{ // mine\n"plugin": ["other", ${JSON.stringify(spec)},], }`);
			return (await doctor(home)).checks.plugin;
		};
		expect(await named(PACKAGE)).toMatchObject({ verdict: "ok", facts: { named_in: [config] } });
		expect((await doctor(home)).checks.plugin?.found).toMatch(/no agent hears it now/);
		await agentOn(home, await opencodeOn(home));
		await eventually("the lane", () => existsSync(laneAddress(home.dataDir)));
		const opencode = connect(laneAddress(home.dataDir));
		after(() => void opencode.destroy());
		await once(opencode, "data");
		expect(await named(PACKAGE)).toMatchObject({
			found: expect.stringMatching(/ \(pid \d+, version 0\.1\.0\) hears it, and 1 OpenCode with it\.$/),
			facts: { heard: true, opencodes: 1 },
		});
		expect((await named("opencode-outbox@latest"))?.found).toContain(`opencode-outbox@latest in ${config}`);
		expect((await named("not-opencode-outbox"))?.verdict).toBe("skip");
		const gone = join(home.home, "opencode-outbox");
		expect(await named(gone)).toMatchObject({
			verdict: "warn",
			found: expect.stringContaining(`${gone} is not there`),
		});
		mkdirSync(gone);
		writeFileSync(join(gone, "package.json"), readFileSync(join(PACKAGE, "package.json")));
		expect((await named(gone))?.found).toContain("`npm run build` makes it");
		writeFileSync(config, '{ "plugin": ["opencode-outbox"');
		expect((await doctor(home)).checks.plugin).toMatchObject({ verdict: "warn", found: `${config} is not valid.` });
	});

	test("its server streams events to whoever has the password, and tells who has not", async () => {
		const home = machine();
		const password = "a password of the tests of doctor";
		const model = await startModel();
		onTestFinished(() => model.close());
		const root = join(home.home, "real");
		const opencode = await startOpencode({ root, model, env: { OPENCODE_SERVER_PASSWORD: password } });
		onTestFinished(() => opencode.kill());
		const ask = async (given: string) => {
			vi.stubEnv("OPENCODE_SERVER_PASSWORD", given);
			const { checks, told } = await doctor(home, { "opencode-url": opencode.url }, { timeoutMs: 20_000 });
			expect(told).not.toContain(password);
			return checks["opencode-server"];
		};
		expect(await ask(password)).toMatchObject({ verdict: "ok", facts: { version: "1.18.33" } });
		expect(await ask("")).toMatchObject({ verdict: "fail", found: expect.stringContaining("wants a password") });
		expect((await ask("another one"))?.found).toContain("does not accept the password");
	}, 90_000);
});

// see below
test("the command prints it for people and as JSON, and its exit code says whether it needs one", async () => {
	const home = machine();
	const text = await home.cli(["doctor", "--quick"]);
	expect([text.code, text.stderr]).toEqual([0, ""]);
	expect(text.stdout).toMatch(/^warn {2}agent: one process holds .*\n {6}None runs\.\n {6}-> `opencode-outbox run`/m);
	const { code, stdout } = await home.cli(["doctor", "--quick", "--expect", "agent", "--json"]);
	expect([code, JSON.parse(stdout).ok]).toEqual([1, false]);
	const { code: usage, stderr } = await home.cli(["doctor", "--expect", "agnet"]);
	expect([usage, stderr]).toEqual([64, expect.stringContaining("Did you mean agent?")]);
}, 60_000);

/** Waits until an agent has captured the session of two events. */
async function captured({ dataDir }: Machine): Promise<void> {
	await eventually(
		"the session to be captured",
		async () => {
			const reader = await openReport(join(dataDir, "outbox.db"));
			const seq = reader?.watermarks().get("ses_1")?.seq;
			reader?.close();
			return seq === 1;
		},
		{ withinMs: 60_000 },
	);
}

async function made(path: string, sql: string): Promise<void> {
	const database = await openSqlite(path);
	database.exec(sql);
	database.close();
}
