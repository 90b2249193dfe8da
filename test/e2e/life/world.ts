import { join } from "node:path";
import type { Agent, AgentOptions } from "../../../src/agent/agent.ts";
import { differenceOf, expectedDigests, isClean } from "../../../src/agent/verify.ts";
import { type Clock, systemClock } from "../../../src/model/clock.ts";
import { OutboxError } from "../../../src/model/errors.ts";
import { DatabaseSource } from "../../../src/source/database.ts";
import { findOpencodeDatabase } from "../../../src/source/discovery.ts";
import { type Change, isPoison } from "../../../src/source/source.ts";
import { openServer, type Server } from "../../storage/direct.ts";
import { fastFolder, type LogLine, startAgent } from "../../storage/machine.ts";
import { PATIENCE_MS } from "./share.ts";

/** Every wait of the agent is this much shorter, so that a test need not wait out its patience. */
const HURRY = 10;
const clock: Clock = { now: systemClock.now, sleep: (ms, signal) => systemClock.sleep(ms / HURRY, signal) };

type Folder = ReturnType<typeof fastFolder>;

/** The real agent, in this process, between one OpenCode database and the rules of the share server without a wire. */
export class World {
	readonly path: string;
	readonly log: LogLine[] = [];
	readonly server: Server;
	/** False: the server cannot be reached. */
	isReachable = true;
	readonly #folder: Folder;
	readonly #more: Partial<AgentOptions>;
	#agent: Agent | undefined;

	static async beside(opencodeDb: string, more: Partial<AgentOptions> = {}): Promise<World> {
		const folder = fastFolder();
		return new World(opencodeDb, more, folder, await openServer(join(folder.path, "share.db")));
	}

	private constructor(path: string, more: Partial<AgentOptions>, folder: Folder, server: Server) {
		this.path = path;
		this.#more = more;
		this.#folder = folder;
		this.server = server;
	}

	/** @param more for this start alone. */
	async start(more: Partial<AgentOptions> = {}): Promise<Agent> {
		const transport = {
			connect: async (signal: AbortSignal) => {
				if (!this.isReachable) throw new OutboxError("unreachable", "the cable is cut");
				return this.server.transport.connect(signal);
			},
		};
		const { path: folder } = this.#folder;
		const options = { folder, opencode: this.path, transport, log: this.log };
		this.#agent = await startAgent({ ...options, more: { clock, pollMs: 200, ...this.#more, ...more } });
		return this.#agent;
	}

	get agent(): Agent {
		if (this.#agent === undefined) throw new Error("no agent was started");
		return this.#agent;
	}

	/** The share's digests by key; undefined when there is no share of it. */
	shareOf(sessionId: string): Map<string, string> | undefined {
		const { share_id, secret } = this.agent.outbox.share(sessionId) ?? {};
		if (share_id == null || secret == null) return undefined;
		return this.server.digests(share_id, secret);
	}

	/** What `verify` would name of a session: nothing when its share is as it should be. */
	async unequal(sessionId: string): Promise<string[]> {
		const source = await DatabaseSource.open(findOpencodeDatabase({}, this.path));
		const snapshot = await source.snapshot(sessionId);
		source.close();
		const truth = snapshot?.entities.filter((entity): entity is Change => !isPoison(entity));
		const expected = expectedDigests(truth, this.agent.outbox.capturedDigests(sessionId));
		const actual = this.shareOf(sessionId);
		if (actual === undefined) return ["no share"];
		const difference = differenceOf(expected, actual);
		if (isClean(difference) && difference.compared > 0) return [];
		const { missing, different, extra } = difference;
		return [`missing ${missing}; different ${different}; extra ${extra}`];
	}

	async untilEqual(...sessionIds: string[]): Promise<void> {
		for (const id of sessionIds) {
			let told: string[] = [];
			await this.until(
				`${id} to be equal`,
				async () => {
					told = await this.unequal(id);
					return told.length === 0;
				},
				() => told.join(),
			);
		}
	}

	/** Waits for a claim, and tells what the agent said last when it never holds. A claim that throws does not hold. */
	async until(what: string, claim: () => unknown, also = () => ""): Promise<void> {
		for (const end = performance.now() + PATIENCE_MS / 3; ; await systemClock.sleep(50)) {
			let failure: unknown;
			try {
				if (await claim()) return;
			} catch (error) {
				failure = error;
			}
			if (performance.now() < end) continue;
			const said = JSON.stringify(this.log.slice(-12), null, 1);
			throw new Error(`waited for ${what} ${also()} ${failure ?? ""}\n${said}`);
		}
	}

	said(pattern: RegExp): boolean {
		return this.log.some(({ message, facts }) => pattern.test(`${message} ${facts.err ?? ""} ${facts.reason ?? ""}`));
	}

	async close(): Promise<void> {
		await this.#agent?.stop();
		this.server.close();
		this.#folder.remove();
	}
}
