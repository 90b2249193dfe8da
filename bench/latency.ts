import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import Database from "better-sqlite3";
import { newWebSocketRpcSession, type RpcStub, RpcTarget } from "capnweb";
import type { ShareRpc, WatchSink } from "../src/protocol/rpc.ts";
import { laneAddress } from "../src/source/lane-address.ts";
import { openSqlite } from "../src/sqlite/driver.ts";
import { dialWebSocket } from "../src/transport/websocket.ts";
import { eventually, startCli } from "../test/fixture/cli.ts";
import { OpencodeDatabase } from "../test/source/opencode-database.ts";
import { ScriptedOpencode } from "../test/source/scripted-opencode.ts";
import { type Bench, type Context, type Figure, figure } from "./figure.ts";
import { compared, quantile, spreadOf } from "./measure.ts";
import { type Target, target } from "./wire.ts";

const EVENTS = 60;
const POLL_MS = 500;
/** Between two events, in ms: the agent is idle again, and no two lie at the same place in a poll. */
const PAUSE_MS = { least: 250, spread: 500 };

type Ringer = "lane" | "http" | "poll";

/** One change, from OpenCode's commit until a watcher of the share has it: the server tells them once it is durable. */
export const latency: Bench = {
	name: "latency",
	about: "one change committed by OpenCode until it is durable at the server, idle agent",
	async *run(context) {
		const events = context.isQuick ? 3 : EVENTS;
		const ringers: readonly Ringer[] = context.isQuick ? ["lane"] : ["lane", "http", "poll"];
		for (const ringer of ringers) yield* changes(context, ringer, events);
	},
};

async function* changes(context: Context, ringer: Ringer, events: number): AsyncGenerator<Figure> {
	const server = await target(context);
	const stage = await Stage.open(join(context.folder, ringer), server, ringer);
	const [took, floor]: [number[], number[]] = [[], []];
	for (let n = 0; n < events; n++) {
		await pause(PAUSE_MS.least + Math.random() * PAUSE_MS.spread);
		took.push(await stage.change(n));
		floor.push((await stage.fsync()) + (await stage.fsync()) + (await stage.roundTrip()));
	}
	await stage.close();
	await server.stop();
	const p99 = quantile(took, 0.99).toFixed(0);
	const what = `one change, ${ringer === "poll" ? `by polling every ${POLL_MS} ms` : `doorbell: ${ringer}`}`;
	const note = `p50 is held against the bar; p99 ${p99} ms, over ${events} changes.`;
	const sides = compared(took, floor);
	// The median of all, not of the ratios: which floor was measured after which change means nothing.
	const ratio = (of: number) => spreadOf([sides.ours.median / of]);
	yield ringer === "poll"
		? figure(
				{ what, against: "the poll interval", unit: "ms", bar: { atMost: 1 }, note },
				{ ours: sides.ours, theirs: spreadOf([POLL_MS]), ratio: ratio(POLL_MS) },
			)
		: figure(
				{ what, against: "two fsyncs and a round trip", unit: "ms", bar: { atMost: 3 }, note },
				{ ...sides, ratio: ratio(sides.theirs.median) },
			);
}

/** An OpenCode's database, an agent that is idle, and somebody who watches the share. */
class Stage {
	readonly #opencode: OpencodeDatabase;
	readonly #scripted: ScriptedOpencode;
	readonly #agent: ReturnType<typeof startCli>;
	readonly #lane: Socket | undefined;
	readonly #api: RpcStub<ShareRpc>;
	readonly #sink: Sink;
	readonly #ringer: Ringer;
	readonly #disk: Database.Database;
	readonly #closing: (() => unknown)[];

	static async open(folder: string, { url, key }: Target, ringer: Ringer): Promise<Stage> {
		const dataDir = join(folder, "data");
		mkdirSync(folder, { recursive: true });
		writeFileSync(join(folder, "key"), key, { mode: 0o600 });
		const opencode = await OpencodeDatabase.open(join(folder, "opencode.db"));
		opencode.sql.transaction(() => {
			opencode.session("ses_1");
			opencode.message("ses_1", "msg_1");
		});
		const scripted = await ScriptedOpencode.start();
		scripted.create("ses_1");
		const heard = ringer === "http" ? ["--opencode-url", scripted.url] : [];
		const args = ["run", "--json", "--data-dir", dataDir, "--opencode-db", opencode.path, "--log-level", "warn"];
		const agent = startCli(
			[...args, "--server", url, "--server-key-file", join(folder, "key"), "--poll", pollOf(ringer), ...heard],
			{ PATH: process.env.PATH ?? "", HOME: folder },
		);
		await agent.ready();
		const slug = await slugIn(join(dataDir, "outbox.db"));
		const socket = dialWebSocket(`${url.replace(/^http/, "ws")}/rpc`);
		await once(socket, "open");
		const api = newWebSocketRpcSession<ShareRpc>(socket as unknown as WebSocket);
		const sink = new Sink();
		await api.viewShare(slug).watch(sink, 0);
		const lane = ringer === "lane" ? connect(laneAddress(dataDir)) : undefined;
		if (lane) await once(lane, "data");
		await eventually("what was there to be sent", () => sink.keys.has("message/msg_1"));
		return new Stage(opencode, scripted, agent, lane, api, sink, ringer, folder, [() => socket.terminate()]);
	}

	private constructor(
		opencode: OpencodeDatabase,
		scripted: ScriptedOpencode,
		agent: ReturnType<typeof startCli>,
		lane: Socket | undefined,
		api: RpcStub<ShareRpc>,
		sink: Sink,
		ringer: Ringer,
		folder: string,
		closing: (() => unknown)[],
	) {
		this.#opencode = opencode;
		this.#scripted = scripted;
		this.#agent = agent;
		this.#lane = lane;
		this.#api = api;
		this.#sink = sink;
		this.#ringer = ringer;
		this.#closing = closing;
		this.#disk = new Database(join(folder, "fsync.db"));
		this.#disk.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE t (payload text)");
	}

	/** Commits a new part, rings, and waits until the watcher has it. @returns ms. */
	async change(n: number): Promise<number> {
		const arrived = this.#sink.until(`part/msg_1/prt_${n}`);
		this.#opencode.sql.transaction(() => this.#opencode.part("ses_1", "msg_1", `prt_${n}`, "x".repeat(1000)));
		const committedAt = performance.now();
		this.#lane?.write('{"ring":{"session_id":"ses_1"}}\n');
		if (this.#ringer === "http") this.#scripted.rename("ses_1", `after ${n}`);
		return (await arrived) - committedAt;
	}

	/** One durable commit of a row of the same size, as SQLite makes it. @returns ms. */
	async fsync(): Promise<number> {
		const insert = this.#disk.prepare("INSERT INTO t VALUES (?)");
		return elapsed(() => insert.run("x".repeat(1000)));
	}

	/** A call that is refused at once, and its answer. @returns ms. */
	async roundTrip(): Promise<number> {
		return elapsed(() => Promise.resolve(this.#api.viewShare("")).catch(() => undefined));
	}

	async close(): Promise<void> {
		await this.#agent.stop();
		for (const close of this.#closing) close();
		this.#lane?.destroy();
		await this.#scripted.close();
		this.#opencode.sql.close();
		this.#disk.close();
	}
}

/** A poll that does not come, where a doorbell is measured: what it finds would not be the doorbell's. */
function pollOf(ringer: Ringer): string {
	return ringer === "poll" ? `${POLL_MS}ms` : "60s";
}

class Sink extends RpcTarget implements WatchSink {
	readonly keys = new Set<string>();
	readonly #waiting = new Map<string, (at: number) => void>();

	until(key: string): Promise<number> {
		return new Promise((resolve) => this.#waiting.set(key, resolve));
	}

	async ops(ops: readonly { key: string }[]): Promise<void> {
		for (const { key } of ops) {
			this.keys.add(key);
			this.#waiting.get(key)?.(performance.now());
		}
	}

	async delta(): Promise<void> {}
	async ended(): Promise<void> {}
}

async function slugIn(outbox: string): Promise<string> {
	let slug: string | undefined;
	await eventually("a share", async () => {
		const sqlite = await openSqlite(outbox, { readonly: true });
		slug = sqlite.prepare<{ slug: string | null }>("SELECT slug FROM share").get()?.slug ?? undefined;
		sqlite.close();
		return slug !== undefined;
	});
	return slug ?? "";
}

async function elapsed(work: () => unknown): Promise<number> {
	const startedAt = performance.now();
	await work();
	return performance.now() - startedAt;
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
