import type { AgentOptions } from "../agent/agent.ts";
import { Room } from "../agent/room.ts";
import { embeddedLink, remoteLink, type ServerLink } from "../agent/server-link.ts";
import { systemClock } from "../model/clock.ts";
import { OutboxError } from "../model/errors.ts";
import type { Logger } from "../model/logger.ts";
import { version } from "../model/package.ts";
import { Ballast } from "../outbox/ballast.ts";
import { hasTraces, openKeptOutbox } from "../outbox/keeper.ts";
import type { Outbox } from "../outbox/outbox.ts";
import { Lane } from "../source/lane.ts";
import type { Source } from "../source/source.ts";
import { createKeysIn, ensureIdentity } from "./identity.ts";
import type { ProcessMetrics } from "./metrics.ts";
import { opencodeOf } from "./opencode.ts";
import { pathsIn } from "./paths.ts";
import { rulesOf } from "./rules.ts";
import { ensureServerKey, readServerKey } from "./server-key.ts";
import { remoteServer, type Settings } from "./settings.ts";
import { ownServerOf } from "./settings-of-server.ts";

/**
 * An agent's parts, as the settings ask for them. Opens nothing yet.
 *
 * @param endsByItself a command that looks at everything once, instead of an agent that goes on.
 * @param metrics what counts; undefined: nothing does.
 */
export function agentOptions(
	settings: Settings,
	log: Logger,
	endsByItself = false,
	metrics?: ProcessMetrics,
): AgentOptions & { readonly lane: Lane } {
	const opencode = opencodeOf(settings);
	const paths = pathsIn(settings.dataDir);
	const ballast = new Ballast(paths.outbox);
	let wasHere = hasTraces(paths.outbox, paths.identity);
	return {
		lockPath: paths.lock,
		openOutbox: async (found) => {
			const outbox = await openKeptOutbox(
				{ path: paths.outbox, hasTraces: wasHere, ballast, clock: systemClock, log },
				found,
			);
			prepareIdentity(paths.identity, log);
			wasHere = true;
			return outbox;
		},
		room: (outbox) => roomOf(outbox, settings, log, ballast),
		createKey: createKeysIn(paths.identity),
		openSource: (identity) => opencode.open({ identity, isThorough: endsByItself }),
		opencodeDb: opencode.databasePath,
		opencode: opencode.link,
		lane: new Lane({
			dataDir: settings.dataDir,
			hello: { pid: process.pid, version: version() },
			clock: systemClock,
			onProblem: (problem) =>
				log.warn({ err: problem }, "OpenCode's plugin is not heard; OpenCode's database is polled"),
		}),
		link: () => openLink(settings, log, settings.port, metrics?.server),
		mode: settings.share,
		onDelete: settings.onDelete,
		rules: rulesOf(settings),
		pollMs: settings.pollMs,
		live: { checkpointMs: settings.checkpointMs },
		clock: systemClock,
		random: Math.random,
		meter: metrics?.agent,
		log,
	};
}

/** The way into OpenCode for a command that looks at it once. Throws no_source while there is none. */
export function openSource(settings: Settings, identity?: string): Promise<Source> {
	return opencodeOf(settings).open({ identity });
}

/** The share server that is set, or one of our own on `port`. */
export async function openLink(
	settings: Settings,
	log: Logger,
	port: number = settings.port,
	meter?: ProcessMetrics["server"],
): Promise<ServerLink> {
	const remote = remoteServer(settings);
	if (remote) {
		// Read once now, so that a wrong file is told at the start; then for every use, so that a mended one is seen.
		readServerKey(remote.keyFile);
		const { compress } = settings;
		return remoteLink({ url: remote.url, key: () => readServerKey(remote.keyFile), clock: systemClock, compress });
	}
	const paths = pathsIn(settings.dataDir);
	const key = ensureServerKey(paths.serverKey);
	const server = { databasePath: paths.serverDatabase, key, port, meter, server: ownServerOf(settings) };
	return embeddedLink({ ...server, clock: systemClock, log });
}

/** @param ballast the agent's alone. */
export function roomOf(outbox: Outbox, settings: Settings, log: Logger, ballast?: Ballast): Room {
	return new Room({ outbox, maxBytes: settings.outboxMaxBytes, ballast, log });
}

/** A disk that will not take the identity now may do so later; a file that is no identity is for a person. */
function prepareIdentity(path: string, log: Logger): void {
	try {
		ensureIdentity(path);
	} catch (error) {
		if (!(error instanceof OutboxError) || !["disk_full", "read_only", "io"].includes(error.code)) throw error;
		log.warn({ err: error.message, hint: error.hint }, "no new share can be made for now");
	}
}
