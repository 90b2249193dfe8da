import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { canonicalJson } from "../../src/model/json.ts";
import { eventually } from "../fixture/cli.ts";
import { BINARY, exportSession, type Opencode, type OpencodeHome, prepareOpencode } from "../fixture/opencode.ts";
import { Lab, type Machine, type Server, type ShareFacts } from "./lab.ts";

/** A restore starts an OpenCode, which takes a while on a busy machine. */
const RESTORE_MS_MAX = 240_000;
const TEST_MS_MAX = 600_000;

/** Each test starts dozens of programs, minutes on a busy machine: they are for `npm run test:restore`. */
const isLong = process.env.RESTORE === "long";

const lab = new Lab();
let server: Server;
/** The machine that is lost: its OpenCode, its data. */
let a: { opencode: Opencode; machine: Machine; sessionId: string; childId: string; link: string; exported: Exported };

type Exported = Awaited<ReturnType<typeof exportSession>>;

interface RestoreFacts {
	readonly synced: boolean | null;
	readonly sessions: readonly {
		readonly session_id: string;
		readonly outcome: string;
		readonly directory: string | null;
		readonly events: number;
		readonly not_kept: readonly unknown[];
		readonly notes: readonly string[];
		readonly error: { readonly code: string; readonly message: string; readonly hint: string } | null;
	}[];
}

async function restore(machine: Machine, ...args: string[]): Promise<RestoreFacts & { code: number | string }> {
	const process = machine.start("restore", "--json", "--timeout", "120s", ...args);
	const late = setTimeout(() => process.signal("SIGKILL"), RESTORE_MS_MAX);
	const code = await process.ended;
	clearTimeout(late);
	const line = process.stdout();
	if (line === "") throw new Error(`restore ${args.join(" ")} printed nothing (${code}): ${process.stderr()}`);
	return { ...(JSON.parse(line) as RestoreFacts), code };
}

/** Another machine: an OpenCode that was never started, in a project of its own. */
function elsewhere(name: string, model: { url: string }, settings: Record<string, string> = {}) {
	const home = prepareOpencode({ root: lab.path(name), model, git: true });
	const machine = lab.machine(`${name}-data`, home, server, { OPENCODE_OUTBOX_OPENCODE_BIN: BINARY, ...settings });
	return { home, machine, into: ["--directory", home.directory] };
}

/** A session as `opencode export` tells it, without where it lives. */
function athome({ info, messages }: Exported): unknown {
	const { directory: _, projectID: __, path: ___, ...rest } = info;
	return JSON.parse(canonicalJson({ info: rest, messages }));
}

async function exportedFrom(home: OpencodeHome, sessionId: string): Promise<unknown> {
	return athome(await exportSession(home, sessionId));
}

/** What a share holds, as text. */
async function contentOf(link: string): Promise<string> {
	return (await fetch(`${link.replace("/share/", "/api/share/")}/data`)).text();
}

/** Processes of OpenCode's that belong to a home. */
function leftBehind(home: OpencodeHome): string[] {
	return readdirSync("/proc").filter((pid) => {
		if (!/^\d+$/.test(pid)) return false;
		try {
			const environment = readFileSync(`/proc/${pid}/environ`, "utf8");
			return environment.includes(`XDG_DATA_HOME=${home.env.XDG_DATA_HOME}\0`);
		} catch {
			return false;
		}
	});
}

beforeAll(async () => {
	server = await lab.server();
	const opencode = await lab.opencode("a", { git: true });
	const machine = lab.machine("a-data", opencode, server, { OPENCODE_OUTBOX_OPENCODE_BIN: BINARY });
	const { id: sessionId } = await opencode.createSession();
	await opencode.prompt(sessionId, "run: echo what the tool says");
	await opencode.prompt(sessionId, "todo: one, two");
	await opencode.prompt(sessionId, "say: this is undone");
	const undone = (await opencode.messages(sessionId)).findLast(({ info }) => info.role === "user");
	await opencode.revert(sessionId, undone?.info.id ?? "");
	const { id: childId } = await opencode.createSession({ parentID: sessionId, title: "a child" });
	await opencode.prompt(childId, "say: I am a child");
	const { url: link } = await machine.share(sessionId);
	expect(await machine.flush("--timeout", "55s")).toMatchObject({ code: 0, drained: true });
	a = { opencode, machine, sessionId, childId, link, exported: await exportSession(opencode, sessionId) };
}, TEST_MS_MAX);
afterAll(() => lab.close(), TEST_MS_MAX);

describe.runIf(isLong)("a link alone", () => {
	it(
		"brings a copy here, whole, however often restore is killed, and repeating it changes nothing",
		async () => {
			const { home, machine, into } = elsewhere("copy", await lab.model());
			const dry = await restore(machine, "--dry-run", a.link);
			expect(dry.sessions).toMatchObject([{ session_id: a.sessionId, outcome: "restored" }, { session_id: a.childId }]);
			expect(existsSync(home.databasePath)).toBe(false);

			// Killed before OpenCode is there, while it starts, and once it has begun to take the session.
			for (const isTime of [() => true, () => existsSync(home.databasePath)]) {
				const killed = machine.start("restore", ...into, a.link);
				await eventually("the time to kill", isTime, { withinMs: RESTORE_MS_MAX });
				await killed.kill();
				await eventually("its OpenCode to end with it", () => leftBehind(home).length === 0);
			}
			const restored = await restore(machine, ...into, a.link);
			expect(restored, JSON.stringify(restored)).toMatchObject({ code: 0, synced: null });
			expect(restored.sessions).toMatchObject([
				{ session_id: a.sessionId, directory: home.directory, not_kept: [], error: null },
				{ session_id: a.childId, not_kept: [], error: null },
			]);
			expect(restored.sessions[0]?.notes.join()).toContain("2 todos");
			expect(await exportedFrom(home, a.sessionId)).toEqual(athome(a.exported));
			expect(await exportedFrom(home, a.childId)).toMatchObject({ info: { parentID: a.sessionId, title: "a child" } });
			expect(leftBehind(home)).toEqual([]);

			const again = await restore(machine, ...into, a.link);
			expect(again.sessions.map(({ outcome, events }) => [outcome, events])).toEqual([
				["already_there", 0],
				["already_there", 0],
			]);

			// It gets a share of its own; the one it came from stays whose it is.
			expect(await machine.flush("--timeout", "55s")).toMatchObject({ code: 0, drained: true });
			await machine.expectEqual(a.sessionId, a.childId);
			expect((await machine.share(a.sessionId)).url).not.toBe(a.link);
			expect(await a.machine.session(a.sessionId)).toMatchObject({ parked_code: null });
		},
		TEST_MS_MAX,
	);
});

describe.runIf(isLong)("a machine that was lost", () => {
	it(
		"is continued on another one; when it comes back nothing is lost on either side, and its status says why",
		async () => {
			const { sessionId, childId, link } = a;
			await a.opencode.prompt(sessionId, "say: said on A and not sent");
			await a.opencode.kill();
			const b = elsewhere("b", await lab.model());
			const restored = await restore(b.machine, "--continue", ...b.into, link);
			expect(restored, JSON.stringify(restored)).toMatchObject({ code: 0, synced: true });
			expect(restored.sessions.map(({ outcome }) => outcome)).toEqual(["restored", "restored"]);
			expect(await exportedFrom(b.home, sessionId)).toEqual(athome(a.exported));

			const opencode = await lab.opencode("b", { git: true });
			await opencode.prompt(sessionId, "say: continued on B");
			expect(
				(await opencode.call<{ id: string }[]>("GET", `/session/${sessionId}/children`)).map(({ id }) => id),
			).toEqual([childId]);
			expect(await b.machine.flush("--timeout", "55s")).toMatchObject({ code: 0, drained: true });
			await b.machine.expectEqual(sessionId, childId);
			expect((await b.machine.share(sessionId)).url).toBe(link);
			expect(await contentOf(link)).toContain("continued on B");
			const again = await restore(b.machine, "--continue", link);
			expect(again, JSON.stringify(again)).toMatchObject({ code: 0, sessions: [{ events: 0 }, { events: 0 }] });
			await opencode.stop();

			// A comes back.
			const back = await lab.opencode("a", { git: true });
			// The child's share is told of as soon as it is looked at, perhaps now.
			expect((await a.machine.flush("--timeout", "55s")).parked).toContain(sessionId);
			const { attention, sessions } = await a.machine.status();
			expect(sessions.find((one) => one.session_id === sessionId)).toMatchObject({
				state: "parked",
				parked_code: "claimed",
			});
			const said = attention.find((one) => one.session_id === sessionId);
			expect(said?.what).toMatch(
				/taken over by another machine at \d{4}-.*[1-9]\d* changes? of this machine kept here/,
			);
			expect(said?.next).toContain(`opencode-outbox restore ${link}`);
			expect(JSON.stringify(await back.messages(sessionId))).toContain("said on A and not sent");

			const refused = await restore(a.machine, link);
			expect(refused.code).toBe(77);
			expect(refused.sessions[0]?.error).toMatchObject({ code: "diverged", hint: expect.stringContaining("--fork") });
			expect(refused.sessions[0]?.error?.message).toMatch(/message\/msg_/);
			expect(JSON.stringify(await back.messages(sessionId))).not.toContain("continued on B");
			const fork = await restore(a.machine, "--fork", link);
			expect(fork, JSON.stringify(fork)).toMatchObject({ code: 0 });
			const [copy] = fork.sessions;
			expect(copy?.session_id).not.toBe(sessionId);
			expect(JSON.stringify(await back.messages(copy?.session_id ?? ""))).toContain("continued on B");

			// What is here is shared by itself, once a person says so.
			expect((await a.machine.cli("unshare", "--forget", sessionId)).code).toBe(0);
			const own: ShareFacts = await a.machine.share(sessionId);
			expect(own.url).not.toBe(link);
			expect(await a.machine.flush("--timeout", "55s")).toMatchObject({ code: 0, drained: true });
			await a.machine.expectEqual(sessionId);
			expect(await contentOf(own.url)).toContain("said on A and not sent");
			expect(await contentOf(link)).not.toContain("said on A and not sent");
			await back.stop();
		},
		TEST_MS_MAX,
	);

	it(
		"is rebuilt with every session of its server key, but those that were deleted",
		async () => {
			const lost = await lab.opencode("lost", { git: true });
			const ownKey = await lab.server("own-server");
			const lostMachine = lab.machine("lost-data", lost, ownKey);
			const { id: parent } = await lost.createSession({ title: "a parent" });
			await lost.prompt(parent, "say: hello");
			const { id: child } = await lost.createSession({ title: "its child", parentID: parent });
			await lost.prompt(child, "say: hello from below");
			const { id: deleted } = await lost.createSession({ title: "deleted" });
			await lost.prompt(deleted, "say: forget me");
			expect(await lostMachine.flush("--timeout", "55s")).toMatchObject({ drained: true });
			const exported = await exportSession(lost, parent);
			await lost.deleteSession(deleted);
			expect(await lostMachine.flush("--timeout", "55s")).toMatchObject({ drained: true });
			await lost.kill();
			for (const path of [lost.dataDirectory, lostMachine.dataDir]) rmSync(path, { recursive: true });
			mkdirSync(lostMachine.dataDir, { mode: 0o700 });

			const home = prepareOpencode({ root: lab.path("rebuilt"), model: await lab.model(), git: true });
			const machine = lab.machine("rebuilt-data", home, ownKey, { OPENCODE_OUTBOX_OPENCODE_BIN: BINARY });
			const restored = await restore(machine, "--all", "--continue", "--directory", home.directory);
			expect(restored, JSON.stringify(restored)).toMatchObject({ code: 0, synced: true });
			expect(restored.sessions.map(({ session_id, outcome }) => [session_id, outcome])).toEqual([
				[parent, "restored"],
				[child, "restored"],
			]);
			expect(await exportedFrom(home, parent)).toEqual(athome(exported));
			await machine.expectEqual(parent, child);
			expect((await machine.status()).attention).toEqual([]);
		},
		TEST_MS_MAX,
	);
});

it.runIf(isLong)("told no secret, and left nothing open to others", async () => {
	await lab.expectNothingTold();
});
