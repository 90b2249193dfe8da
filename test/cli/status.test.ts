import { existsSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { type Status, statusOf } from "../../src/cli/status-facts.ts";
import { statusText } from "../../src/cli/status-text.ts";
import { keys } from "../../src/model/op.ts";
import type { Outbox } from "../../src/outbox/outbox.ts";
import { EMPTY_REPORT } from "../../src/outbox/report.ts";
import { acquireLock } from "../../src/sqlite/lock.ts";
import { after, append, message, WIDE } from "../outbox/fixture.ts";
import { type Machine, machine } from "./lab.ts";

const SECRET = "s".repeat(43);
const CREATE_KEY = "c".repeat(43);

function grant(outbox: Outbox, sessionId: string): void {
	outbox.ask(sessionId, "embedded", CREATE_KEY, 1000);
	const [share_id, slug] = [`shr_${sessionId}`, `slug-of-${sessionId}-0123456789`];
	const url = `http://127.0.0.1:4590/share/${slug}`;
	outbox.granted(sessionId, { share_id, slug, url, secret: SECRET, capability_epoch: 3 });
}

/** An agent that lives for the length of the test: this process holds its lock. */
async function live({ dataDir }: Machine, outbox: Outbox): Promise<void> {
	const lock = await acquireLock(`${dataDir}/agent.lock`);
	if (!("release" in lock)) throw new Error("the lock is taken");
	after(() => lock.release());
	outbox.say({ pid: process.pid, state: "running", since: Date.now(), opencode_db: "/o/opencode.db" }, Date.now());
	outbox.say({ server_url: "http://127.0.0.1:4590", server_state: "connected", transport: "websocket" }, Date.now());
}

async function statusJson({ cli }: Machine): Promise<{ code: number | null; status: Status }> {
	const { code, stdout, stderr } = await cli(["status", "--json"]);
	expect(stderr).toBe("");
	return { code, status: JSON.parse(stdout) };
}

test("before anything has run it says so, makes nothing, and is content", async () => {
	const { cli, dataDir } = machine();
	const { code, stdout } = await cli(["status"]);
	expect([code, stdout]).toEqual([0, expect.stringContaining(`Nothing has run here yet (${dataDir})`)]);
	expect(existsSync(dataDir)).toBe(false);
});

test("its JSON has the promised shape", async () => {
	const home = machine();
	const outbox = await home.openOutbox();
	await live(home, outbox);
	append(outbox, [message("e1", "m1"), message("e2", "m2")], Date.now() - 60_000);
	grant(outbox, "ses_1");
	while (outbox.seal("ses_1", WIDE, Date.now()).sealed > 0);
	outbox.ack("ses_1", 1, Date.now());
	outbox.reserve("ses_1", "owner", 60_000, Date.now());
	append(outbox, [message("e3", "m3")], Date.now());

	const { code, status } = await statusJson(home);
	expect(code).toBe(0);
	expect(status).toMatchObject({
		version: "0.1.0",
		agent: { pid: process.pid, state: "running", since: expect.any(Number) },
		opencode: { db: "/o/opencode.db", url: null, connected: false, source: "database" },
		server: { url: "http://127.0.0.1:4590", transport: "websocket", state: "connected" },
		outbox: { pending: 2, sealed: 1, in_flight: 1, dead: 0, bytes: expect.any(Number) },
		attention: [],
	});
	expect(status.outbox.oldest_pending_age_ms).toBeGreaterThanOrEqual(60_000);
	expect(status.outbox.oldest_pending_age_ms).toBeLessThan(120_000);
	expect(status.sessions).toHaveLength(1);
	expect(status.sessions[0]).toMatchObject({
		session_id: "ses_1",
		title: "title of ses_1",
		share_id: "shr_ses_1",
		slug: "slug-of-ses_1-0123456789",
		url: "http://127.0.0.1:4590/share/slug-of-ses_1-0123456789",
		...{ state: "pending", cursor: 1, epoch: 3, pending: 2, dead: 0, last_error: null },
		last_acked_at: expect.any(Number),
	});
});

test("it bears no secret, in JSON or for people", async () => {
	const home = machine();
	const outbox = await home.openOutbox();
	append(outbox, [message("e1", "m1")]);
	grant(outbox, "ses_1");
	for (const args of [["status"], ["status", "--json"], ["status", "--all"]]) {
		const { stdout, stderr } = await home.cli(args);
		for (const secret of [SECRET, CREATE_KEY]) expect(stdout + stderr).not.toContain(secret);
	}
});

test("an agent whose lock is free is dead when it said that it runs, and that needs a person", async () => {
	const home = machine();
	const outbox = await home.openOutbox();
	outbox.say({ pid: 999_999, state: "running", server_state: "connected", transport: "websocket" }, Date.now());
	const { code, status } = await statusJson(home);
	expect(code).toBe(1);
	expect(status.agent).toMatchObject({ state: "dead", pid: null });
	expect(status.server).toMatchObject({ state: "unknown", transport: null });
	expect(status.attention).toEqual([
		expect.objectContaining({ session_id: null, next: expect.stringContaining("run") }),
	]);
});

describe("a stopped agent", () => {
	test("needs nobody while nothing is pending", async () => {
		const home = machine();
		(await home.openOutbox()).say({ pid: 1, state: "stopped" }, Date.now());
		const { code, status } = await statusJson(home);
		expect([code, status.agent.state]).toEqual([0, "stopped"]);
	});

	test("needs a person while ops are pending", async () => {
		const home = machine();
		append(await home.openOutbox(), [message("e1", "m1")], Date.now());
		const { code, status } = await statusJson(home);
		expect([code, status.agent.state, status.attention.length]).toEqual([1, "stopped", 1]);
	});
});

test("for people, the oldest pending age comes first, then who works, who is needed and what to do", async () => {
	const home = machine();
	const outbox = await home.openOutbox();
	await live(home, outbox);
	const ago = (minutes: number) => Date.now() - minutes * 60_000;
	for (const id of ["ses_parked", "ses_dead", "ses_gone", "ses_retry", "ses_fine"]) {
		append(outbox, [message(`${id}1`, "m1")], ago(5), id);
		grant(outbox, id);
	}
	outbox.park("ses_parked", "revoked", "the share was deleted");
	append(
		outbox,
		[{ op_id: "x", type: "part", key: keys.part("m1", "p"), code: "too_large", reason: "huge" }],
		ago(4),
		"ses_dead",
	);
	outbox.setSource("ses_gone", "vanished", "its row is gone");
	outbox.attempt("ses_retry");
	outbox.nack("ses_retry", Date.now() + 30_000, "connection\u001b[31m reset");

	const { code, stdout } = await home.cli(["status"]);
	expect(code).toBe(1);
	expect(stdout).toMatch(/^Oldest pending change: 5 min \(5 ops, /);
	expect(stdout).not.toContain("\u001b");
	const places = ["Agent", "Server", "OpenCode", "Outbox", "Needs you", "Retrying by itself", "Sessions"];
	const at = places.map((title) => stdout.search(new RegExp(`^${title}`, "m")));
	expect(at).toEqual([...at].sort((a, b) => a - b));
	expect(at[0]).toBeGreaterThan(0);
	const [needs = "", retrying = "", rest = ""] = stdout.split(/^(?:Needs you|Retrying by itself|Sessions)$/m).slice(1);
	expect(needs).toMatch(/ses_parked .*revoked.*the share was deleted\n.*unshare ses_parked/);
	expect(needs).toMatch(/ses_dead .*1 dead letter.*\n.*dead list --session ses_dead/);
	expect(needs).toMatch(/ses_gone .*its row is gone.*\n.*unshare ses_gone/);
	expect(retrying).toMatch(/ses_retry .*1 attempt, next in \d+ s; connection reset/);
	expect(rest).toMatch(/ses_fine .*pending/);
	for (const id of ["ses_parked", "ses_dead", "ses_gone", "ses_retry"]) expect(rest).not.toContain(id);
});

test("a share that was taken over, and a restore that has not ended, say what happened and what to do", async () => {
	const home = machine();
	const outbox = await home.openOutbox();
	await live(home, outbox);
	append(outbox, [message("e1", "m1"), message("e2", "m2")], Date.now(), "ses_taken");
	grant(outbox, "ses_taken");
	outbox.park("ses_taken", "claimed", "the share was taken over by another machine at 2026-01-02T03:04:05.000Z");
	const [share_id, slug, url] = [
		"shr_half",
		"slug-of-ses_half-0123456789",
		"https://s/share/slug-of-ses_half-0123456789",
	];
	const held = { server_url: "https://s", create_key: CREATE_KEY, share_id, slug, url, secret: SECRET, generation: 0 };
	outbox.adopt({ session_id: "ses_half", ...held }, Date.now());
	const { code, status } = await statusJson(home);
	expect(code).toBe(1);
	const of = (id: string) => status.attention.filter(({ session_id }) => session_id === id);
	expect(of("ses_taken")).toEqual([
		{
			session_id: "ses_taken",
			what: expect.stringMatching(/at 2026-01-02T03:04:05.000Z; 2 changes of this machine kept here$/),
			next: expect.stringMatching(/opencode-outbox restore .*--fork.*--continue.*unshare --forget ses_taken/),
		},
	]);
	expect(of("ses_half")).toEqual([
		expect.objectContaining({ next: expect.stringContaining("restore --continue ses_half") }),
	]);
});

test("sessions that need nobody are cut to the latest twenty, unless all are asked for", async () => {
	const home = machine();
	const outbox = await home.openOutbox();
	await live(home, outbox);
	for (let n = 0; n < 25; n++) append(outbox, [message(`e${n}`, "m")], 1000 + n, `ses_${n}_`);
	const { stdout } = await home.cli(["status"]);
	expect(stdout.match(/^ {2}ses_\d+_/gm)?.length).toBe(20);
	expect(stdout).toContain("ses_24_");
	expect(stdout).not.toContain("ses_0_");
	expect(stdout).toContain("and 5 more: --all");
	expect((await home.cli(["status", "--all"])).stdout.match(/^ {2}ses_\d+_/gm)?.length).toBe(25);
});

describe("what status derives", () => {
	const facts = { isLocked: true, now: 10_000, version: "1", dataDir: "/d" };
	const row = {
		...{
			pid: 7,
			since: 1000,
			opencode_db: null,
			opencode_identity: null,
			server_id: null,
			share_mode: null,
			on_delete: null,
			selection: null,
			redaction: null,
			opencode_url: null,
			opencode_connected: true,
		},
		...{
			server_url: "http://s",
			transport: "websocket",
			last_error: null,
			connect_attempts: 3,
			next_connect_at: 12_000,
			capture_paused: null,
			damage: null,
		},
	};
	const RUNS = { state: "running", server_state: "connected" } as const;
	const report = (state: "running" | "stopped" | "draining", server_state: "refused" | "unreachable") => {
		return { ...EMPTY_REPORT, agent: { ...row, state, server_state } };
	};

	test("a held lock under a row that says stopped is the next agent starting", () => {
		expect(statusOf(report("stopped", "unreachable"), facts).agent).toMatchObject({ state: "starting", pid: null });
		expect(statusOf(EMPTY_REPORT, facts).agent).toMatchObject({ state: "starting", pid: null });
	});

	test("capture that waits for room needs a person, and says for what", () => {
		const paused = (code: string) => ({ ...EMPTY_REPORT, agent: { ...row, ...RUNS, capture_paused: code } });
		const full = statusOf(paused("outbox_full"), facts);
		expect(full.agent.capture_paused).toBe("outbox_full");
		expect(full.attention).toEqual([expect.objectContaining({ next: expect.stringContaining("--outbox-max") })]);
		const disk = statusOf(paused("disk_full"), facts);
		expect(disk.attention).toEqual([expect.objectContaining({ next: expect.stringContaining("Free some space") })]);
	});

	test("a damaged outbox that was set aside needs a person until its file is taken away", () => {
		const damage = "The outbox was damaged (malformed). It is kept as outbox.db.damaged-2026-01-01T00-00-00.000Z.";
		const report = { ...EMPTY_REPORT, agent: { ...row, ...RUNS, damage } };
		const setAside = ["/d/outbox.db.damaged-2026-01-01T00-00-00.000Z", "/d/outbox.db.damaged-2025-01-01T00-00-00.000Z"];
		const { attention } = statusOf(report, { ...facts, setAside });
		expect(attention.map((item) => item.what)).toEqual([damage, expect.stringContaining("2025-01-01")]);
		expect(attention[0]?.next).toContain(setAside[0]);
		expect(statusOf(report, facts).attention).toEqual([]);
	});

	test("a server that refuses the key needs a person; one that is silent does not, and tells when it is tried next", () => {
		expect(statusOf(report("running", "refused"), facts).attention).toHaveLength(1);
		const silent = statusOf(report("running", "unreachable"), facts);
		expect(silent.attention).toEqual([]);
		expect(statusText(silent, facts.now, false, (_style, text) => text)).toMatch(
			/Server +http:\/\/s: unreachable over websocket after 3 attempts, next attempt in 2 s/,
		);
	});

	test("a full disk needs a person; one of unknown size does not", () => {
		expect(statusOf(EMPTY_REPORT, { ...facts, freeBytes: 4096 }).attention).toEqual([
			{
				session_id: null,
				what: "The disk that holds the outbox is full; capture is stopped.",
				next: "Free some space; it goes on by itself, OpenCode keeps the events.",
			},
		]);
		expect(statusOf(EMPTY_REPORT, { ...facts, freeBytes: 1024 * 1024 }).attention).toEqual([]);
		expect(statusOf(EMPTY_REPORT, facts).attention).toEqual([]);
	});

	test("an age is never negative, as after the clock was set back", () => {
		const totals = { ...EMPTY_REPORT.totals, pending: 1, oldest_pending_at: 20_000 };
		expect(statusOf({ ...EMPTY_REPORT, totals }, facts).outbox.oldest_pending_age_ms).toBe(0);
	});
});
