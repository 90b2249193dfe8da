import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Opencode } from "../fixture/opencode.ts";
import { Lab, type Machine, type Server } from "./lab.ts";

const lab = new Lab();
let opencode: Opencode;
let server: Server;
let open: string;
let hidden: string;
let child: string;

beforeAll(async () => {
	[opencode, server] = await Promise.all([lab.opencode(), lab.server()]);
	open = (await opencode.createSession({ title: "Public work" })).id;
	hidden = (await opencode.createSession({ title: "Private work" })).id;
	child = (await opencode.createSession({ title: "A look-up", parentID: hidden })).id;
	for (const id of [open, hidden, child]) await opencode.prompt(id, "say: something");
});
afterAll(() => lab.close());

interface Listed {
	readonly taken: number;
	readonly left_out: number;
	readonly sessions: { session_id: string; taken: boolean; reason: string | null; begun: boolean }[];
}

async function listed(machine: Machine, ...args: string[]): Promise<Record<string, string | null>> {
	const { sessions } = (await machine.cli("sessions", "--json", ...args)).json<Listed>();
	return Object.fromEntries(sessions.map(({ session_id, reason }) => [session_id, reason]));
}

const BY_TITLE = "its title matches --exclude-title (?i)^private";

it("what the rules leave out is not captured, and is told by sessions, status, flush and verify", async () => {
	const machine = lab.machine("chosen", opencode, server);
	const rules = ["--exclude-title", "(?i)^private", "--exclude-title", "nothing like it"];
	expect(await listed(machine, ...rules)).toEqual({ [open]: null, [hidden]: BY_TITLE, [child]: BY_TITLE });
	expect((await machine.cli("sessions")).stdout).toContain("3 sessions: 3 synced, 0 left out.");

	expect(await machine.flush(...rules)).toMatchObject({ code: 0, drained: true, pending: 0 });
	expect(await machine.rows("SELECT DISTINCT session_id FROM op")).toEqual([{ session_id: open }]);
	const status = await machine.status();
	expect(status.left_out).toEqual([{ reason: BY_TITLE, sessions: 2 }]);
	expect(status.sessions.find(({ session_id }) => session_id === hidden)).toMatchObject({
		state: "excluded",
		title: "",
	});
	expect(status.attention).toEqual([]);
	expect((await machine.cli("status")).stdout).toMatch(/Left out\n +2 sessions +its title matches --exclude-title/);

	// A person's own word wins, and commands without a flag go by the rules of the last agent.
	await machine.share(hidden);
	const shared = await machine.rows<{ session_id: string }>("SELECT session_id FROM share");
	expect(shared.map(({ session_id }) => session_id).sort()).toEqual([open, hidden, child].sort());
	await machine.expectEqual(open, hidden, child);
}, 240_000);

it("a session that is left out after it began waits with what is pending, and goes on once it is taken again", async () => {
	const machine = lab.machine("held", opencode, server);
	expect(await machine.flush()).toMatchObject({ code: 0, drained: true });
	const [before] = await machine.rows("SELECT acked_cursor FROM session WHERE session_id = ?", open);
	await opencode.prompt(open, "say: not for others");
	// Directories are globs; the project lies below the lab's folder.
	const rules = ["--exclude", `${opencode.directory}/`];
	expect(await machine.flush(...rules)).toMatchObject({ code: 0, drained: true, pending: 0 });
	expect(await machine.rows("SELECT acked_cursor FROM session WHERE session_id = ?", open)).toEqual([before]);
	const verdict = await machine.verify();
	expect(verdict.clean).toBe(true);
	expect(verdict.sessions.map(({ note }) => note)).toEqual(
		Array(3).fill(`left out, not compared: its directory is in --exclude ${opencode.directory}/`),
	);
	const agent = await machine.run();
	expect(await machine.flush()).toMatchObject({ code: 0, drained: true });
	await machine.expectEqual(open, hidden, child);
	expect((await machine.status()).left_out).toEqual([]);
	await agent.stop();
}, 240_000);

it("a wrong rule is an error at the start, wherever it stands", async () => {
	const machine = lab.machine("wrong", opencode, server);
	const flag = await machine.cli("run", "--exclude", "work/*");
	expect([flag.code, flag.stderr]).toEqual([64, expect.stringContaining("begins with /, ~/ or **/")]);
	const config = join(machine.env.XDG_CONFIG_HOME ?? "", "opencode-outbox", "config.json");
	mkdirSync(dirname(config), { recursive: true });
	writeFileSync(config, JSON.stringify({ "exclude-title": ["fine", "(unclosed"] }));
	const file = await machine.cli("run");
	expect([file.code, file.stderr]).toEqual([78, expect.stringContaining('"(unclosed"')]);
	writeFileSync(config, "{}");
}, 120_000);
