import { existsSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Agent, type AgentOptions } from "../../src/agent/agent.ts";
import { systemClock } from "../../src/model/clock.ts";
import type { Logger } from "../../src/model/logger.ts";
import { openKeptOutbox } from "../../src/outbox/keeper.ts";
import { DatabaseSource } from "../../src/source/database.ts";
import { findOpencodeDatabase } from "../../src/source/discovery.ts";
import { Lane } from "../../src/source/lane.ts";
import type { Transport } from "../../src/transport/transport.ts";
import { discard } from "../evidence/folder.ts";
import { createKey, SERVER_KEY } from "./direct.ts";

export interface LogLine {
	readonly level: string;
	readonly message: string;
	readonly facts: Record<string, unknown>;
}

/** A folder in memory where there is one, so that thousands of syncs cost nothing. */
export function fastFolder(): { path: string; remove(): void } {
	const path = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "outbox-storage-"));
	return { path, remove: () => discard(path) };
}

export interface MachineOptions {
	/** Holds the outbox. */
	readonly folder: string;
	readonly opencode: string;
	readonly transport: Transport;
	readonly log: LogLine[];
	readonly more?: Partial<AgentOptions>;
}

/** The real agent on the outbox of a folder, as the CLI composes it, with the transport of the test. */
export function startAgent({ folder, opencode, transport, log, more }: MachineOptions): Promise<Agent> {
	const write = (level: string) => (facts: object, message: string) =>
		void log.push({ level, message, facts: facts as Record<string, unknown> });
	const logger: Logger = { debug: write("debug"), info: write("info"), warn: write("warn"), error: write("error") };
	const path = join(folder, "outbox.db");
	const keeper = { path, hasTraces: true, ballast: undefined, clock: systemClock, log: logger };
	return Agent.start({
		lockPath: join(folder, "agent.lock"),
		openOutbox: (found) => openKeptOutbox(keeper, found),
		openSource: (identity) => DatabaseSource.open(findOpencodeDatabase({}, opencode), { identity }),
		opencodeDb: opencode,
		opencode: undefined,
		lane: new Lane({ dataDir: folder, hello: { pid: process.pid, version: "0.0.0" }, clock: systemClock }),
		link: async () => ({
			server: { id: "test", key: () => SERVER_KEY },
			url: "http://share.example",
			transport,
			close: async () => undefined,
		}),
		createKey,
		mode: "auto",
		pollMs: 3_600_000,
		hurry: true,
		clock: systemClock,
		random: () => 0.01,
		log: logger,
		...more,
	});
}
