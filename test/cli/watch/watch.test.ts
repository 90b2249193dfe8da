import { describe, expect, test } from "vitest";
import type { Outbox } from "../../../src/outbox/outbox.ts";
import { acquireLock } from "../../../src/sqlite/lock.ts";
import { eventually, MAIN } from "../../fixture/cli.ts";
import { hasTerminals, type Pty, startOnTerminal } from "../../fixture/pty.ts";
import { after, append, message, WIDE } from "../../outbox/fixture.ts";
import { ended, type Machine, machine } from "../lab.ts";

const ESC = "\u001b[";

/** An outbox with `ops` pending ops, whose agent is this process. */
async function backlog(home: Machine, ops: number): Promise<Outbox> {
	const outbox = await home.openOutbox();
	const lock = await acquireLock(`${home.dataDir}/agent.lock`);
	if (!("release" in lock)) throw new Error("the lock is taken");
	after(() => lock.release());
	outbox.say({ pid: process.pid, state: "running", since: Date.now() }, Date.now());
	outbox.say({ server_url: "http://127.0.0.1:4590", server_state: "connected", transport: "websocket" }, Date.now());
	const items = Array.from({ length: ops }, (_, n) => message(`e${n}`, `m${n}`));
	append(outbox, items, Date.now(), "ses_1");
	outbox.ask("ses_1", "embedded", "c".repeat(43), Date.now());
	const url = "http://127.0.0.1:4590/share/slug";
	outbox.granted("ses_1", { share_id: "shr_1", slug: "slug", url, secret: "s".repeat(43), capability_epoch: 1 });
	while (outbox.seal("ses_1", WIDE, Date.now()).sealed > 0);
	return outbox;
}

function watching(home: Machine, args: readonly string[], env: Record<string, string> = {}, columns = 80): Pty {
	const all = { ...home.env, TERM: "xterm-256color", LANG: "C.UTF-8", ...env };
	const command = [process.execPath, MAIN, "status", "--watch", "--interval", "200ms", ...args];
	const terminal = startOnTerminal(command, { cwd: home.home, env: all, columns, rows: 24 });
	after(() => void terminal.kill());
	return terminal;
}

// A terminal is given another size by way of Linux's /proc.
describe.skipIf(!hasTerminals() || process.platform !== "linux")("on a terminal", () => {
	test("it shows a backlog drain in place, in 80 columns and in others, and Ctrl-C gives the terminal back", async () => {
		const home = machine();
		const outbox = await backlog(home, 100);
		const terminal = watching(home, []);
		await terminal.until("the backlog", (screen) => /^░{10,} +0 % {2}0 of 100 sent/m.test(screen));
		outbox.ack("ses_1", 60, Date.now());
		await terminal.until("the bar", (screen) => /^█{10,}░+ +60 % {2}60 of 100 sent/m.test(screen));
		expect(terminal.isAlternate()).toBe(true);
		const lines = terminal.screen().split("\n");
		expect(lines[0]?.length).toBeLessThanOrEqual(80);
		expect(lines.filter((line) => line.startsWith("Agent"))).toHaveLength(1);
		terminal.resize(50, 5);
		await terminal.until("the small screen", (screen) => /^… \d+ more lines$/m.test(screen));
		expect(terminal.screen().split("\n")[0]).toMatch(/60 of 100 sent/);
		outbox.ack("ses_1", 100, Date.now());
		await terminal.until("the end", (screen) => screen.includes("nothing is pending"));

		terminal.type("\u0003");
		await terminal.ended;
		await eventually("the person's screen", () => !terminal.isAlternate() && terminal.shown().includes(`${ESC}?25h`));
		const shown = terminal.shown();
		// Nothing is cleared before it is drawn over: that would flicker.
		expect(shown).not.toContain(`${ESC}2J`);
		const last = shown.slice(shown.lastIndexOf(`${ESC}?1049l`));
		expect(last).toMatch(/nothing is pending[\s\S]*Agent/);
		for (const mode of ["?25", "?7", "?1049"]) {
			const [on, off] = mode === "?1049" ? ["l", "h"] : ["h", "l"];
			expect(shown.lastIndexOf(`${ESC}${mode}${on}`)).toBeGreaterThan(shown.lastIndexOf(`${ESC}${mode}${off}`));
		}
	}, 60_000);

	test("it has no colours under NO_COLOR, and says why a backlog does not move", async () => {
		const home = machine();
		const outbox = await backlog(home, 3);
		const next_connect_at = Date.now() + 50_000;
		outbox.say({ server_state: "unreachable", transport: null, connect_attempts: 7, next_connect_at }, Date.now());
		const terminal = watching(home, [], { NO_COLOR: "1", LC_ALL: "C" });
		await terminal.until("why", (screen) => screen.includes("the share server is away: nothing acknowledged yet"));
		expect(terminal.screen()).toMatch(
			/^\.+ +0 % {2}0 of 3 sent, cannot tell yet\n {2}the share server is away: .*; 7 attempts, next in \d\d s$/m,
		);
		terminal.type("\u0003");
		await terminal.ended;
		// biome-ignore lint/suspicious/noControlCharactersInRegex: colours are control characters.
		expect(terminal.shown()).not.toMatch(/\u001b\[[\d;]*m/);
	}, 60_000);

	test("it is stopped by Ctrl-Z with the terminal as it was, and goes on", async () => {
		const home = machine();
		await backlog(home, 3);
		const terminal = watching(home, []);
		await terminal.until("the backlog", (screen) => screen.includes("0 of 3 sent"));
		process.kill(terminal.pid(), "SIGTSTP");
		await terminal.until("the person's screen", () => !terminal.isAlternate());
		process.kill(terminal.pid(), "SIGCONT");
		await terminal.until("the watch", (screen) => terminal.isAlternate() && screen.includes("0 of 3 sent"));
	}, 60_000);
});

describe("where there is no terminal", () => {
	test("it prints a line per look, and ends by itself once everything is sent", async () => {
		const home = machine();
		const outbox = await backlog(home, 4);
		const child = home.start(["status", "--watch", "--until-drained", "--interval", "200ms"]);
		child.stdout?.once("data", () => outbox.ack("ses_1", 4, Date.now()));
		const { code, stdout, stderr } = await ended(child);
		expect([code, stderr]).toEqual([0, ""]);
		const lines = stdout.trimEnd().split("\n");
		expect(lines[0]).toMatch(/^\d{4}-\d\d-\d\dT\S+Z 4 pending, 0 %: 0 of 4 sent, cannot tell yet$/);
		expect(lines.at(-1)).toMatch(/ 0 pending, 100 %: nothing is pending$/);
	}, 60_000);

	test("--json is an object per look, and being ended before everything is sent is told by the exit code", async () => {
		const home = machine();
		await backlog(home, 4);
		const child = home.start(["status", "--watch", "--until-drained", "--json"]);
		child.stdout?.once("data", () => child.kill("SIGTERM"));
		const { code, stdout } = await ended(child);
		expect(code).toBe(75);
		const looks = stdout
			.trimEnd()
			.split("\n")
			.map((line) => JSON.parse(line));
		expect(looks[0]).toMatchObject({
			at: expect.any(Number),
			progress: { done: 0, total: 4, per_second: null, outlook: "unknown", eta_ms: null },
			...{ agent: { pid: process.pid }, outbox: { pending: 4 }, attention: [] },
		});
		expect(looks[0]).not.toHaveProperty("sessions");
		expect(JSON.stringify(looks)).not.toContain("s".repeat(43));
	}, 60_000);

	test("what is parked is not waited for, and its flags go with --watch only", async () => {
		const home = machine();
		const outbox = await backlog(home, 4);
		outbox.park("ses_1", "revoked", "it was deleted there");
		const { code } = await home.cli(["status", "--watch", "--until-drained"]);
		expect(code).toBe(1);
		for (const [flags, says] of [
			[["--interval", "1s"], "goes with --watch"],
			[["--until-drained"], "goes with --watch"],
			[["--watch", "--interval", "5ms"], "200ms at least"],
		] as const) {
			const refused = await home.cli(["status", ...flags]);
			expect([refused.code, refused.stderr]).toEqual([64, expect.stringContaining(says)]);
		}
	}, 60_000);
});
