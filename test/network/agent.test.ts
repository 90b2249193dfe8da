import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openOutbox } from "../../src/outbox/outbox.ts";
import { messageDigests } from "../agent/lab.ts";
import { type CliProcess, eventually, runCli, startCli } from "../fixture/cli.ts";
import { after, tempFolder } from "../outbox/fixture.ts";
import { SERVER_KEY } from "../server/client.ts";
import { IS_ALL } from "./extent.ts";
import { type Liar, type Lie, startLiar } from "./liar.ts";

/** What any answer may add to the agent's memory at its peak, in MiB: one message of 18 MiB, as bytes and as text. */
const PEAK_MIB = 200;

interface Site {
	readonly liar: Liar;
	readonly agent: CliProcess;
	session(): Promise<{ last_error: string | null; pending: number; parked_code: string | null }>;
	flush(): Promise<void>;
}

/** The built `run` with three captured messages, before a server that lies from the start. */
async function startAgent(lie: Lie): Promise<Site> {
	const home = tempFolder();
	const [dataDir, keyFile] = [join(home, "data"), join(home, "key")];
	mkdirSync(dataDir, { mode: 0o700 });
	writeFileSync(keyFile, SERVER_KEY, { mode: 0o600 });
	const outbox = await openOutbox(join(dataDir, "outbox.db"));
	const items = ["a", "b", "c"].map((text, n) => ({
		...{ op_id: `evt_${n}`, type: "message" as const, key: `message/msg_${n}` },
		payload: JSON.stringify({ id: `msg_${n}`, text }),
	}));
	const facts = { parent_id: null, title: "a session", directory: "/project" };
	outbox.append({ session_id: "ses_1", facts, from: null, to: { seq: 2, event_id: "evt_2" }, items }, Date.now());
	outbox.close();
	const liar = await startLiar();
	liar.lie = lie;
	const env = { HOME: home, PATH: process.env.PATH ?? "" };
	const where = ["--data-dir", dataDir, "--opencode-db", join(home, "no-opencode.db"), "--server", liar.url];
	const with_ = [...where, "--server-key-file", keyFile];
	const agent = startCli(["run", "--json", ...with_], env);
	after(() => void agent.kill());
	const status = async () =>
		(await runCli(["status", "--json", "--data-dir", dataDir], env)).json<{
			sessions: Awaited<ReturnType<Site["session"]>>[];
		}>();
	return {
		...{ liar, agent },
		session: async () => (await status()).sessions[0] as Awaited<ReturnType<Site["session"]>>,
		flush: async () => void (await runCli(["flush", "--timeout", "15s", ...with_], env)),
	};
}

function peakMib(pid: number): number | undefined {
	const path = `/proc/${pid}/status`;
	if (!existsSync(path)) return undefined;
	return Number(/VmHWM:\s+(\d+)/.exec(readFileSync(path, "utf8"))?.[1]) / 1024;
}

const without = (name: string) => (honest: unknown) => ({ ...(honest as object), [name]: undefined });

const LIES: [string, Lie, RegExp][] = [
	[
		"whose redemption has no cursor",
		{ method: "redemption", isDone: true, tell: without("cursor") },
		/redemption.*malformed.*cursor/,
	],
	[
		"whose ack leaves out an op",
		{ method: "appendOps", isDone: false, tell: (ack) => ({ ...(ack as object), applied: ["evt_0"] }) },
		/appendOps.*malformed.*does not name each op/,
	],
	[
		"whose ack is a list without end",
		{ method: "appendOps", isDone: false, tell: () => Array(1_000_000).fill("evt_0") },
		/more than \d+ values/,
	],
	[
		"whose ack has 100 MiB",
		{ method: "appendOps", isDone: false, tell: () => "x".repeat(100 * 1024 * 1024) },
		/Max payload size exceeded/,
	],
];

// Each takes some seconds of waiting between attempts.
test.each(IS_ALL ? LIES : LIES.filter((_, index) => index % 2 === 1))(
	"the agent before a server %s says so in status, acks nothing, and goes on when the lies end",
	async (_, lie, error) => {
		const { liar, agent, session, flush } = await startAgent({ ...lie, times: Number.POSITIVE_INFINITY });
		await eventually("the first lie", () => liar.lies >= 1, { also: agent.stderr });
		const before = peakMib(agent.pid);
		await eventually("more lies", () => liar.lies >= 3, { also: agent.stderr });
		await eventually("the error in status", async () => (await session()).last_error !== null, { also: agent.stderr });
		const told = await session();
		expect(told).toMatchObject({ pending: 3, parked_code: null });
		expect(told.last_error).toMatch(error);
		const peak = peakMib(agent.pid);
		// Without /proc nothing tells what another process holds.
		if (before !== undefined && peak !== undefined) expect(peak - before).toBeLessThan(PEAK_MIB);
		liar.lie = undefined;
		await flush();
		expect(await session()).toMatchObject({ pending: 0, last_error: null });
		expect(liar.digests()).toEqual(messageDigests(["a", "b", "c"]));
		expect(liar.applied()).toEqual(["evt_0", "evt_1", "evt_2"]);
		expect(await agent.stop()).toBe(0);
	},
	60_000,
);
