import { setTimeout as delay } from "node:timers/promises";
import { afterAll, expect, test } from "vitest";
import { ERRORS, type ErrorCode } from "../../src/model/errors.ts";
import { BUN, type CliProcess, type CliResult, eventually } from "../fixture/cli.ts";
import { Child } from "../outbox/child/spawn.ts";
import { OpencodeDatabase } from "../source/opencode-database.ts";
import { rowsIfMade } from "./files.ts";
import { Random } from "./random.ts";
import { type Shape, World } from "./world.ts";

/** `SEED=n` makes the same choices again; `ROUNDS=n` goes on for longer. */
const SEED = Number(process.env.SEED ?? 3);
const ROUNDS = Number(process.env.ROUNDS ?? 2);
/** When the owner is killed, in ms after everybody else was started: while they load, and while they work. */
const KILL_MS_MAX = 400;
/** What never reaches a person: SQLite's words for a lock, a stack, a defect. */
const NEVER = /SQLITE_|database is locked|is locked by another|\bat .*:\d+:\d+|"code":"(internal|busy|io)"|defect/;

/** What each command may answer while others use the outbox and its owner is killed: its exit codes. */
const COMMANDS: readonly (readonly [args: readonly string[], codes: readonly number[]])[] = [
	[["flush", "--timeout", "40s"], [0]],
	[["flush", "--json", "--timeout", "40s"], [0]],
	// 1: the agent is dead.
	[["status"], [0, 1]],
	[
		["status", "--json"],
		[0, 1],
	],
	// 1: not everything is there yet. 69, 75: the server died with its agent, or the next one is just starting.
	[
		["verify", "--json"],
		[0, 1, 69, 75],
	],
	[["dead", "list", "--json"], [0]],
	[["share", "--json", "--timeout", "40s", "ses_shared"], [0]],
	[["unshare", "--json", "--timeout", "40s", "ses_unshared"], [0]],
];

const told = new Map<string, number>();
afterAll(() =>
	console.log(
		[...told]
			.sort()
			.map(([line, times]) => `${String(times).padStart(4)}  ${line}`)
			.join("\n"),
	),
);

test.each<Shape>(["remote", "embedded"])(
	"agents, flush, status, verify, dead list, share and unshare at once: no lock error reaches a person (%s)",
	{ timeout: 60_000 + ROUNDS * 60_000 },
	async (shape) => {
		const world = await World.make(shape);
		const random = new Random(SEED);
		try {
			const opencode = await OpencodeDatabase.open(world.files.opencode);
			for (const id of ["ses_shared", "ses_unshared"]) opencode.session(id);
			if (shape !== "embedded") await world.startServer(BUN).ready();
			expect(await world.cli("flush", "--json")).toMatchObject({ code: 0 });
			for (let round = 0; round < ROUNDS; round++) {
				for (let n = 0; n < 20; n++) opencode.message("ses_shared", `msg_${round}_${n}`, `text ${round} ${n}`);
				await everybodyAtOnce(world, random);
			}
			opencode.sql.close();
			expect(await world.cli("flush", "--json")).toMatchObject({ code: 0 });
			expect(await world.cli("verify", "--json", "ses_shared")).toMatchObject({ code: 0 });
		} finally {
			await world.close();
		}
	},
);

test("flush takes over from who held the outbox and is gone, without having sent anything", {
	timeout: 60_000,
}, async () => {
	const world = await World.make("embedded");
	try {
		const opencode = await OpencodeDatabase.open(world.files.opencode);
		opencode.session("ses_1");
		opencode.sql.close();
		const holder = new Child("hold", world.agentLock);
		expect(await holder.next()).toBe("acquired");
		const flushing = world.cli("flush", "--json", "--timeout", "40s");
		await eventually("the flush to have captured", async () => {
			return (await rowsIfMade(world.files.outbox, "SELECT 1 FROM op")).length > 0;
		});
		await holder.murder();
		expect(await flushing).toMatchObject({ code: 0 });
		expect((await flushing).elapsedMs).toBeLessThan(30_000);
	} finally {
		await world.close();
	}
});

/** An owner that is killed, two agents that want to be it, and every command, started at the same moment. */
async function everybodyAtOnce(world: World, random: Random): Promise<void> {
	const owner = world.startAgent(BUN);
	await owner.ready();
	const [second, standby] = [world.startAgent(BUN), world.startAgent(BUN, "--standby")];
	const results = COMMANDS.map(async ([args, codes]) => ({ args, codes, result: await world.cli(...args) }));
	await delay(KILL_MS_MAX * random.next());
	await owner.kill();
	for (const { args, codes, result } of await Promise.all(results)) {
		expect(codes, `${args.join(" ")} ended with ${result.code}\n${result.stdout}${result.stderr}`).toContain(
			result.code,
		);
		expectAPersonsText(args, result);
	}
	// One of the two has the outbox now: the first one unless it met the owner alive.
	const said = await second.ready<{ error?: unknown }>();
	if (said.error !== undefined) await standby.ready();
	for (const agent of [second, standby]) await expectOwnedOrRunning(agent);
}

/** Errors are in the form that people and programs are told to expect, and of the documented kinds. */
function expectAPersonsText(args: readonly string[], { code, stdout, stderr }: CliResult): void {
	const line = `${args[0]} ${args.includes("--json") ? "--json " : ""}ended with ${code}`;
	expect(stdout + stderr, args.join(" ")).not.toMatch(NEVER);
	if (args.includes("--json")) {
		const { error } = JSON.parse(stdout) as { error?: { code: ErrorCode } | null };
		if (error) expect(ERRORS[error.code].exit, stdout).toBe(code);
		told.set(error ? `${line} (${error.code})` : line, (told.get(error ? `${line} (${error.code})` : line) ?? 0) + 1);
		return;
	}
	told.set(line, (told.get(line) ?? 0) + 1);
	if (stderr !== "") expect(stderr).toMatch(/^(error: .+\n {2}.+\n|\d+ ops? .*to go\n)+$/);
}

/** An agent that is not the owner either runs by now, because the owner is gone, or has said who the owner was. */
async function expectOwnedOrRunning(agent: CliProcess): Promise<void> {
	await agent.kill();
	const code = await agent.ended;
	const printed = agent.stdout() + agent.stderr();
	expect(printed).not.toMatch(NEVER);
	expect([75, "SIGKILL"], printed).toContain(code);
	if (code === 75) expect(JSON.parse(agent.stdout())).toMatchObject({ error: { code: "owned" } });
	const line = `run ended with ${code}`;
	told.set(line, (told.get(line) ?? 0) + 1);
}
