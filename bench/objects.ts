import { mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { RpcStub } from "capnweb";
import type { ShareCapability } from "../src/protocol/rpc.ts";
import type { ShareGrant } from "../src/protocol/schema.ts";
import { batchOf, type Client, connect, createKey, SERVER_KEY, Viewer } from "../test/server/client.ts";
import { startWorker } from "../test/server/worker/host.ts";
import { type Bench, type Context, type Figure, figure, plain } from "./figure.ts";
import { compared } from "./measure.ts";
import { cpuSecondsOf, rssOf } from "./process.ts";
import { target } from "./wire.ts";

/** How much of everything, and for how long it appends, in ms. */
const SIZE = { shares: 1000, agents: 100, watchers: 500, loadMs: 20_000 };
const QUICK = { shares: 20, agents: 4, watchers: 10, loadMs: 500 };
const OPS_PER_BATCH = 10;
const PAYLOAD = JSON.stringify("x".repeat(1000));
/** As many as one connection may have, and a few less. */
const WATCHERS_PER_SOCKET = 25;
/** workerd lets go of an object that nobody has called for ten seconds. */
const EVICTION_MS = 15_000;

interface Host {
	readonly url: string;
	readonly key: string;
	/** The process that serves. */
	readonly pid: number;
	stop(): Promise<void>;
}

interface Load {
	readonly opsPerSecond: number;
	readonly cpuMicrosPerOp: number;
	/** MB: of the process with no share, with all shares at rest, and with all watchers beside them. */
	readonly memory: { readonly empty: number; readonly shares: number; readonly watched: number };
}

/** Many shares, agents and watchers at once, on Durable Objects and on Node. Linux only. */
export const objects: Bench = {
	name: "objects",
	about: "shares, agents and watchers on Durable Objects (workerd) beside the Node host",
	async *run(context) {
		const ours = await load(context, await worker(context));
		const theirs = await load(context, await node(context));
		yield* table(context.isQuick ? QUICK : SIZE, ours, theirs);
	},
};

function* table({ shares, agents, watchers }: typeof SIZE, ours: Load, theirs: Load): Generator<Figure> {
	const against = "the Node host";
	const many = `${shares} shares, ${agents} agents, ${watchers} watchers`;
	const pair = (what: string, unit: string, of: (load: Load) => number) =>
		figure({ what: `objects, ${many}: ${what}`, against, unit }, compared([of(ours)], [of(theirs)]));
	yield pair("appended and shown", "ops/s", ({ opsPerSecond }) => opsPerSecond);
	yield pair("processor per op", "µs", ({ cpuMicrosPerOp }) => cpuMicrosPerOp);
	const each = (count: number, from: number, to: number) => Math.max(0, ((to - from) * 1024) / count);
	const { empty, shares: atRest, watched } = ours.memory;
	yield plain("objects: memory of a share at rest", "KiB", [each(shares, empty, atRest)]);
	yield plain("objects: memory of a watcher", "KiB", [each(watchers, atRest, watched)]);
}

async function load(context: Context, host: Host): Promise<Load> {
	const { shares, agents, watchers, loadMs } = context.isQuick ? QUICK : SIZE;
	const clients: Client[] = [];
	const open = async () => {
		const client = await connect(host.url);
		clients.push(client);
		return client;
	};
	try {
		const empty = rssOf(host.pid);
		const grants: ShareGrant[] = [];
		const writers = await Promise.all(Array.from({ length: agents }, open));
		const held: {
			readonly client: Client;
			readonly grant: ShareGrant;
			share: RpcStub<ShareCapability>;
			cursor: number;
		}[] = [];
		await Promise.all(
			writers.map(async (client, agent) => {
				for (let n = agent; n < shares; n += agents) {
					const grant = await client.api.createShare(host.key, { session_id: `ses_${n}`, create_key: createKey() });
					grants.push(grant);
					held.push({ client, grant, share: await client.api.redeemShare(grant.share_id, grant.secret), cursor: 0 });
				}
			}),
		);
		context.tell(`objects: ${grants.length} shares on ${host.url}`);
		if (!context.isQuick) await delay(EVICTION_MS);
		const atRest = rssOf(host.pid);
		const viewers: Viewer[] = [];
		for (let n = 0; n < watchers; n += WATCHERS_PER_SOCKET) {
			const client = await open();
			for (const { slug } of grants.slice(n % shares).slice(0, Math.min(WATCHERS_PER_SOCKET, watchers - n))) {
				const viewer = new Viewer();
				viewers.push(viewer);
				await (await client.api.viewShare(slug)).watch(viewer, 0);
			}
		}
		const watched = rssOf(host.pid);
		const [cpu, startedAt] = [cpuSecondsOf(host.pid), performance.now()];
		let ops = 0;
		await Promise.all(
			writers.map(async (client) => {
				const mine = held.filter((one) => one.client === client);
				for (let n = 0; performance.now() - startedAt < loadMs; n++) {
					const one = mine[n % mine.length];
					if (!one) return;
					const drafts = Array.from({ length: OPS_PER_BATCH }, () => ({ payload: PAYLOAD }));
					const ack = await one.share.appendOps(batchOf(one.cursor, drafts));
					one.cursor = ack.cursor;
					ops += ack.applied.length;
				}
			}),
		);
		const seconds = (performance.now() - startedAt) / 1000;
		const cpuMicrosPerOp = ((cpuSecondsOf(host.pid) - cpu) * 1e6) / ops;
		const cursors = new Map(held.map(({ grant, cursor }) => [grant.slug, cursor]));
		for (const [n, viewer] of viewers.entries()) {
			const due = cursors.get(grants[n % grants.length]?.slug ?? "") ?? 0;
			await viewer.until(() => viewer.cursor >= due);
		}
		return { opsPerSecond: ops / seconds, cpuMicrosPerOp, memory: { empty, shares: atRest, watched } };
	} finally {
		for (const client of clients) await client.close();
		await host.stop();
	}
}

async function worker({ folder }: Context): Promise<Host> {
	const before = new Set(workerds());
	const host = await startWorker({ folder: mkdtempSync(join(folder, "objects-")) });
	const pid = workerds().find((one) => !before.has(one));
	if (pid === undefined) throw new Error("workerd does not run");
	return { url: host.url, key: SERVER_KEY, pid, stop: () => host.close() };
}

async function node(context: Context): Promise<Host> {
	const { url, key, process, stop } = await target({ ...context, server: undefined });
	return { url, key, pid: process?.pid ?? Number.NaN, stop };
}

/** The children of this process that are workerd. */
function workerds(): number[] {
	return readdirSync("/proc")
		.filter((name) => /^\d+$/.test(name))
		.map(Number)
		.filter((pid) => {
			try {
				const status = readFileSync(`/proc/${pid}/status`, "utf8");
				return /^Name:\s+workerd$/m.test(status) && new RegExp(`^PPid:\\s+${process.pid}$`, "m").test(status);
			} catch {
				return false;
			}
		});
}
