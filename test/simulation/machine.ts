import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { Agent } from "../../src/agent/agent.ts";
import { hurry } from "../../src/agent/flusher.ts";
import { createKeysOf } from "../../src/model/identity.ts";
import type { Logger } from "../../src/model/logger.ts";
import { OUTBOX_KIND } from "../../src/outbox/kind.ts";
import { type Outbox, outboxOn } from "../../src/outbox/outbox.ts";
import { DatabaseSource } from "../../src/source/database.ts";
import { findOpencodeDatabase } from "../../src/source/discovery.ts";
import { type Doorbell, type LiveText, RingBox } from "../../src/source/doorbell.ts";
import { LiveEar, type OpencodeEvent } from "../../src/source/live-ear.ts";
import { openDatabase } from "../../src/sqlite/database.ts";
import type { Sqlite } from "../../src/sqlite/driver.ts";
import { capnwebTransport } from "../../src/transport/capnweb.ts";
import type { Dice } from "../fixture/random.ts";
import { outboxCheck } from "./checks.ts";
import { copyDatabase, Disk } from "./disk.ts";
import type { Connection, Network } from "./network.ts";
import type { Opencode } from "./opencode.ts";
import type { Oracle } from "./oracle.ts";
import type { ServerHost } from "./share-server.ts";
import { MachineClock, type Timeline } from "./timeline.ts";

const URL = "http://share";
/** Short, so that a walk meets every deadline. */
const TIMING = { callMs: 4000, handshakeMs: 1500, heartbeatMs: 3000, upgradeRetryMs: 20_000 };
const POLL_MS = 2000;
const CHECKPOINT_MS = 700;

export interface World {
	readonly dir: string;
	readonly timeline: Timeline;
	readonly network: Network;
	readonly server: ServerHost;
	readonly opencode: Opencode;
	readonly oracle: Oracle;
	readonly dice: Dice;
	/** Lines are put into words only when somebody reads them. */
	readonly log: (line: () => string) => void;
}

interface Life {
	readonly agent: Agent;
	readonly disk: Disk;
	readonly doorbell: Bell;
	readonly connections: Connection[];
	readonly sqlite: Sqlite;
	/** Where a crash leaves its files. */
	readonly afterCrash: string;
	readonly check: () => void;
}

/** A machine with an outbox and the production agent on it. It dies and starts again; its files stay. */
export class Machine {
	readonly name: string;
	readonly clock: MachineClock;
	/** Attempts to reach the server, of all its lives. */
	attempts = 0;
	readonly #world: World;
	readonly #letters = new Set<string>();
	#life: Life | undefined;
	#lives = 0;
	#path: string;
	#backup: string | undefined;
	#death: Promise<void> = Promise.resolve();

	constructor(world: World, name: string, outboxPath?: string) {
		this.#world = world;
		this.name = name;
		this.clock = new MachineClock(world.timeline);
		this.#path = outboxPath ?? this.#newPath();
	}

	get isUp(): boolean {
		return this.#life !== undefined && !this.#life.disk.dead;
	}

	/** True after a crash that nobody has cleared away yet. */
	get hasCrashed(): boolean {
		return this.#life?.disk.dead ?? false;
	}

	get outbox(): Outbox {
		return this.#running.agent.outbox;
	}

	get agent(): Agent {
		return this.#running.agent;
	}

	get disk(): Disk {
		return this.#running.disk;
	}

	/** True when an op of the entity is, or was, set aside on the machine's disk. */
	hasBuried(sessionId: string, key: string): boolean {
		this.#noteLetters();
		return this.#letters.has(`${sessionId} ${key}`);
	}

	/** Throws what is broken in the outbox. */
	check(): void {
		this.#running.check();
	}

	/** What `flush` does: captures what is there, and tries at once what earlier failures put off. */
	flush(): void {
		this.hurry();
		this.agent
			.capture(new AbortController().signal)
			.catch((error: unknown) =>
				this.#world.log(() => `${this.name}: capture: ${error instanceof Error ? error.stack : error}`),
			);
	}

	/** What earlier failures put off is tried at once. */
	hurry(): void {
		hurry(this.outbox, this.clock.now());
	}

	ring(): void {
		this.#life?.doorbell.ring();
	}

	/** What OpenCode tells live. */
	hear(event: OpencodeEvent): void {
		this.#life?.doorbell.hear(event);
	}

	/** What was told live is lost from here on, until the next beginning of a part. */
	cutLane(): void {
		this.#life?.doorbell.cut();
	}

	async start(): Promise<void> {
		await this.#death;
		const { timeline, network, server, opencode, dice, log } = this.#world;
		const afterCrash = this.#newPath();
		const disk = new Disk(() => copyDatabase(this.#path, afterCrash));
		const connections: Connection[] = [];
		const doorbell = new Bell();
		const isAlive = () => !disk.dead;
		const dial = network.dial(isAlive, (connection) => {
			this.attempts++;
			connections.push(connection);
		});
		const transport = capnwebTransport({
			...{ url: URL, clock: this.clock, timing: TIMING, dial },
			fetch: network.fetch(isAlive),
		});
		let sqlite: Sqlite | undefined;
		const agent = await Agent.start({
			lockPath: `${this.#path}.lock`,
			openOutbox: async () => {
				sqlite = await openDatabase(this.#path, OUTBOX_KIND);
				sqlite.exec("PRAGMA wal_autocheckpoint = 40");
				return this.#observed(outboxOn(disk.under(sqlite)), sqlite);
			},
			openSource: (identity) =>
				timeline.during(() =>
					DatabaseSource.open(findOpencodeDatabase({}, opencode.database.path), { identity, now: this.clock.now }),
				),
			opencodeDb: opencode.database.path,
			opencode: undefined,
			lane: doorbell,
			link: async () => ({
				server: { id: server.id, key: () => server.key },
				url: URL,
				transport,
				close: async () => undefined,
			}),
			createKey: createKeysOf("identity of the simulation"),
			mode: "auto",
			pollMs: POLL_MS,
			live: { checkpointMs: CHECKPOINT_MS },
			clock: this.clock,
			random: dice.next,
			log: loggerOf((line) => log(() => `${this.name}: ${line()}`)),
		});
		if (sqlite === undefined) throw new Error("the agent has not opened its outbox");
		this.#life = { agent, disk, doorbell, connections, sqlite, afterCrash, check: outboxCheck(sqlite) };
	}

	/** Stops as a person stops it. */
	async stop(): Promise<void> {
		const life = this.#life;
		if (life === undefined) return;
		this.#noteLetters();
		this.#life = undefined;
		await life.agent.stop();
		life.sqlite.close();
	}

	/** Dies where it stands; what its disk holds is what the next start finds. */
	crash(): void {
		const life = this.#life;
		if (life === undefined) return;
		this.#noteLetters();
		life.disk.crash();
		this.#path = life.afterCrash;
		this.#life = undefined;
		for (const connection of life.connections) {
			if (this.#world.dice.chance(0.5)) connection.abandon();
			else connection.cut();
		}
		// What is left of the process runs against a dead disk and a dead network.
		this.#death = life.agent.stop().finally(() => life.sqlite.close());
	}

	takeBackup(): void {
		this.#backup = join(this.#world.dir, `${this.name}.backup`);
		copyDatabase(this.#path, this.#backup);
	}

	/** Dies, and comes back with the outbox of its last backup; false when there is none. */
	restore(): boolean {
		if (this.#backup === undefined) return false;
		this.crash();
		this.#path = this.#newPath();
		copyDatabase(this.#backup, this.#path);
		return true;
	}

	/** Another machine with a copy of this outbox. */
	clone(name: string): Machine {
		const path = join(this.#world.dir, `${name}.cloned`);
		copyDatabase(this.#path, path);
		return new Machine(this.#world, name, path);
	}

	#noteLetters(): void {
		const letters = this.#life?.sqlite.prepare<{ name: string }>("SELECT session_id || ' ' || key AS name FROM dead");
		for (const { name } of letters?.all() ?? []) this.#letters.add(name);
	}

	get #running(): Life {
		if (this.#life === undefined) throw new Error(`${this.name} is down`);
		return this.#life;
	}

	#newPath(): string {
		const folder = join(this.#world.dir, this.name);
		mkdirSync(folder, { recursive: true });
		return join(folder, `${this.#lives++}.db`);
	}

	/** The outbox, with what it acknowledges told to the oracle. */
	#observed(outbox: Outbox, sqlite: Sqlite): Outbox {
		const { oracle } = this.#world;
		const line = sqlite.prepare<{ op_id: string }>(`
			SELECT op_id FROM op JOIN session USING (session_id)
			WHERE session_id = ? AND op.id > acked_id AND op.id <= sealed_id ORDER BY op.id LIMIT ?`);
		const row = sqlite.prepare<{ acked_cursor: number }>("SELECT acked_cursor FROM session WHERE session_id = ?");
		return {
			...outbox,
			rebase: (sessionId, rebase, now) => {
				// Before it is written: a disk that tells an error may have written it all the same.
				oracle.compared(rebase.fresh.map((op) => op.op_id));
				outbox.rebase(sessionId, rebase, now);
			},
			ack: (sessionId, cursor, now) => {
				const ops = cursor - (row.get(sessionId)?.acked_cursor ?? 0);
				const opIds = ops > 0 ? line.all(sessionId, ops).map((op) => op.op_id) : [];
				const acked = outbox.ack(sessionId, cursor, now);
				oracle.acknowledged(outbox.share(sessionId)?.share_id, opIds.slice(0, acked));
				return acked;
			},
		};
	}
}

/** The doorbell of a simulated machine. */
class Bell implements Doorbell {
	readonly connected = true;
	readonly problem = undefined;
	#box: RingBox | undefined;
	#ear = new LiveEar();
	#onLive: ((live: LiveText) => void) | undefined;

	ring(): void {
		this.#box?.add({ settled: false });
	}

	hear(event: OpencodeEvent): void {
		const live = this.#ear.hear(event);
		if (live) this.#onLive?.(live);
	}

	cut(): void {
		this.#ear = new LiveEar();
	}

	async *rings(signal: AbortSignal, onLive?: (live: LiveText) => void) {
		const box = new RingBox();
		this.#box = box;
		this.#onLive = onLive;
		signal.addEventListener("abort", () => box.close(), { once: true });
		yield* box.heard();
	}
}

function loggerOf(write: (line: () => string) => void): Logger {
	const at = (level: string) => (facts: object, message: string) =>
		write(() => `${level} ${message} ${JSON.stringify(facts)}`);
	return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}
