import { statfsSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, onTestFinished, test } from "vitest";
import type { Agent } from "../../src/agent/agent.ts";
import { Room } from "../../src/agent/room.ts";
import { expectedDigests } from "../../src/agent/verify.ts";
import { type Clock, systemClock } from "../../src/model/clock.ts";
import { OutboxError } from "../../src/model/errors.ts";
import { silent } from "../../src/model/logger.ts";
import { Ballast } from "../../src/outbox/ballast.ts";
import { openKeptOutbox } from "../../src/outbox/keeper.ts";
import { startShareServer } from "../../src/server/node.ts";
import { type Change, isPoison } from "../../src/source/source.ts";
import { capnwebTransport } from "../../src/transport/capnweb.ts";
import type { Transport } from "../../src/transport/transport.ts";
import { OpencodeDatabase, openSource } from "../source/opencode-database.ts";
import { SERVER_KEY } from "./direct.ts";
import { fastFolder, type LogLine, startAgent } from "./machine.ts";
import { mountSmallDisk, type SmallDisk } from "./small-disk.ts";

const MIB = 1024 * 1024;
const S = "ses_large";
/** Every wait of the agent is this much shorter, so that the test need not wait out its patience. */
const HURRY = 20;
const clock: Clock = { now: systemClock.now, sleep: (ms, signal) => systemClock.sleep(ms / HURRY, signal) };

const probe = mountSmallDisk(8 * MIB);
const disk = typeof probe === "string" ? undefined : probe;
afterAll(() => disk?.unmount());
if (typeof probe === "string") console.log(`skipped: ${probe}`);

async function until(what: string, claim: () => boolean, log: readonly LogLine[], also = () => ""): Promise<void> {
	for (const end = Date.now() + 20_000; !claim(); await systemClock.sleep(10))
		if (Date.now() > end) throw new Error(`waited for ${what} ${also()}\n${JSON.stringify(log.slice(-12), null, 1)}`);
}

interface Setup {
	readonly folder: string;
	readonly shareDatabase: string;
	readonly megabytes: number;
}

/** An OpenCode with one large session, a real server that can be out of reach, and an agent that is started by the test. */
async function setUp({ folder, shareDatabase, megabytes }: Setup) {
	const elsewhere = fastFolder();
	onTestFinished(() => elsewhere.remove());
	const opencodePath = join(elsewhere.path, "opencode.db");
	const opencode = await OpencodeDatabase.create(opencodePath);
	opencode.session(S);
	const talk = (from: number, count: number) => {
		for (let n = from; n < from + count; n++) {
			opencode.message(S, `m${n}`, `message ${n}`);
			opencode.part(S, `m${n}`, `p${n}`, String(n).repeat(100_000).slice(0, 100_000));
		}
	};
	talk(0, megabytes * 10);
	const path = shareDatabase === "" ? join(elsewhere.path, "share.db") : shareDatabase;
	const server = await startShareServer({
		databasePath: path,
		serverKeys: [SERVER_KEY],
		port: 0,
		logger: silent,
		clock,
	});
	const real = capnwebTransport({ url: server.url, clock });
	let isReachable = true;
	const transport: Transport = {
		connect: async (signal) => {
			if (!isReachable) throw new OutboxError("unreachable", "the cable is cut");
			return real.connect(signal);
		},
	};
	const log: LogLine[] = [];
	const outboxPath = join(folder === "" ? elsewhere.path : folder, "outbox.db");
	let agent: Agent | undefined;
	const start = async () => {
		const ballast = new Ballast(outboxPath);
		agent = await startAgent({
			...{ folder: join(outboxPath, ".."), opencode: opencodePath, transport, log },
			more: {
				...{ clock, pollMs: 1000 },
				room: (outbox) => new Room({ outbox, maxBytes: 1024 * MIB, ballast, log: silent }),
				openOutbox: (found) =>
					openKeptOutbox({ path: outboxPath, hasTraces: false, ballast, clock, log: silent }, found),
			},
		});
		return agent;
	};
	onTestFinished(async () => {
		await agent?.stop();
		await server.close(0);
		opencode.sql.close();
	});
	const differences = async () => {
		const source = await openSource(opencodePath);
		const { entities: found = [] } = (await source.snapshot(S)) ?? {};
		const entities = found.filter((entity): entity is Change => !isPoison(entity));
		source.close();
		const { share_id, secret } = agent?.outbox.share(S) ?? {};
		const connection = await real.connect(new AbortController().signal);
		const share = await connection.redeem(share_id ?? "", secret ?? "");
		const digests = new Map<string, string>();
		for (let after: string | undefined; ; ) {
			const page = await share.entityDigests(after);
			for (const { key, digest } of page.entities) digests.set(key, digest);
			if (page.next === null) break;
			after = page.next;
		}
		connection.close();
		const expected = expectedDigests(entities, new Map());
		return [...expected].filter(([key, digest]) => digests.get(key) !== digest).length + digests.size - expected.size;
	};
	return {
		...{ log, outboxPath, start, talk, differences },
		setReachable: (is: boolean) => {
			isReachable = is;
		},
	};
}

test.skipIf(disk === undefined)(
	"on 8 MiB filled to the brim acks and checkpoints drain the outbox to nothing, and capture goes on by itself",
	{ timeout: 90_000 },
	async () => {
		const { path, fill, clear } = disk as SmallDisk;
		const { log, outboxPath, start, setReachable, talk, differences } = await setUp({
			...{ folder: path, shareDatabase: "", megabytes: 12 },
		});
		setReachable(false);
		let agent = await start();
		const story = () =>
			JSON.stringify([
				agent.outbox.session(S),
				agent.outbox.retained(S).map((op) => op.key),
				agent.outbox.size(),
				statfsSync(path).bavail * statfsSync(path).bsize,
				agent.outbox.agent(),
			]);
		await until("capture to pause", () => agent.outbox.agent()?.capture_paused === "disk_full", log);
		const pending = agent.outbox.session(S)?.pending ?? 0;
		expect(pending).toBeGreaterThan(10);
		expect(pending).toBeLessThan(240);
		expect(statSync(`${outboxPath}.ballast`).size).toBeGreaterThanOrEqual(MIB / 2);
		fill();
		expect(statfsSync(path).bavail).toBe(0);
		// An agent that is stopped and started again finds the disk as it is, and may take its ballast for it.
		await agent.stop();
		agent = await start();

		setReachable(true);
		await until("the outbox to drain", () => (agent.outbox.session(S)?.acked_cursor ?? 0) >= pending, log);
		// What drained has made room for more on a disk on which nobody has freed anything.
		await until(
			"everything to arrive",
			() => agent.outbox.session(S)?.pending === 0 && isCaptured(agent, 119),
			log,
			story,
		);
		clear();
		talk(120, 5);
		await until("what came later", () => agent.outbox.session(S)?.pending === 0 && isCaptured(agent, 124), log);
		await until("capture to be said to go on", () => agent.outbox.agent()?.capture_paused === null, log);
		expect(await differences()).toBe(0);
		expect(statSync(`${outboxPath}.ballast`).size).toBeGreaterThanOrEqual(MIB / 2);
		await until("the file to shrink", () => agent.outbox.size().wal <= MIB, log);
		expect(log.filter((line) => line.level === "error").map((line) => line.message)).toEqual(
			expect.not.arrayContaining([expect.stringContaining("damaged")]),
		);
	},
);

function isCaptured(agent: Agent, message: number): boolean {
	return agent.outbox.isCaptured(S, `part/m${message}/p${message}`);
}

test.skipIf(disk === undefined)(
	"a server whose disk is full loses nothing: the client tries again, and all arrives once there is room",
	{ timeout: 60_000 },
	async () => {
		const { path, fill, clear } = disk as SmallDisk;
		clear();
		const { log, start, differences } = await setUp({
			...{ folder: "", shareDatabase: join(path, "share.db"), megabytes: 1 },
		});
		fill();
		const agent = await start();
		const failed = () => log.filter((line) => line.message === "an attempt failed");
		await until("attempts to fail", () => failed().length >= 3, log);
		expect(agent.outbox.session(S)).toMatchObject({ acked_cursor: 0, parked_code: null });
		expect(agent.outbox.session(S)?.pending).toBeGreaterThan(0);
		expect(agent.outbox.deadLetters()).toEqual([]);
		clear();
		await until("everything to arrive", () => agent.outbox.session(S)?.pending === 0 && agent.idle(), log);
		expect(await differences()).toBe(0);
		expect(String(failed()[0]?.facts.err)).not.toMatch(/\n {4}at /);
		console.log(`while the server's disk was full, an attempt failed with: ${failed()[0]?.facts.err}`);
	},
);
