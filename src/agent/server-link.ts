import type { Clock } from "../model/clock.ts";
import type { Logger } from "../model/logger.ts";
import type { ServerMeter, ShareServerOptions } from "../server/node.ts";
import { capnwebTransport } from "../transport/capnweb.ts";
import type { Transport } from "../transport/transport.ts";
import type { ShareServer } from "./redeemer.ts";

/** The share server that an agent works with, and how to reach it. */
export interface ServerLink {
	readonly server: ShareServer;
	/** Base url, for people. */
	readonly url: string;
	readonly transport: Transport;
	/** Stops what was started for it. */
	close(): Promise<void>;
}

/** What grants of the embedded server are filed under: its port may change, its shares do not. */
const EMBEDDED = "embedded";

export interface EmbeddedOptions {
	readonly databasePath: string;
	readonly key: string;
	readonly port: number;
	readonly meter?: ServerMeter | undefined;
	/** What differs from the defaults of a server of its own. */
	readonly server?: Pick<ShareServerOptions, "opencodeShare" | "quotas" | "retainMs">;
	readonly clock: Clock;
	readonly log: Logger;
}

/** Starts a share server in this process, on loopback. Throws OutboxError port_taken and what its database says. */
export async function embeddedLink(options: EmbeddedOptions): Promise<ServerLink> {
	const { databasePath, key, port, meter, clock, log } = options;
	// Whoever sends to another server need not load one.
	const { startShareServer } = await import("../server/node.ts");
	const server = { databasePath, serverKeys: [key], port, meter, ...options.server };
	const host = await startShareServer({ ...server, logger: log, clock });
	return {
		server: { id: EMBEDDED, key: () => key },
		url: host.url,
		transport: capnwebTransport({ url: host.url, clock }),
		close: () => host.close(),
	};
}

export interface RemoteOptions {
	readonly url: string;
	readonly key: () => string;
	readonly clock: Clock;
	/** As CapnwebOptions has it. */
	readonly compress?: boolean | undefined;
}

/** Another machine's server, or one of this machine that was started by itself. */
export function remoteLink(options: RemoteOptions): ServerLink {
	const { url, key, clock, compress } = options;
	const transport = capnwebTransport({ url, clock, compress });
	return { server: { id: url, key }, url, transport, close: async () => undefined };
}

/** The embedded server of an agent that runs: its grants are filed under the same name. */
export function runningEmbeddedLink(options: { url: string; key: string; clock: Clock }): ServerLink {
	const { url, key, clock } = options;
	return { ...remoteLink({ url, key: () => key, clock }), server: { id: EMBEDDED, key: () => key } };
}
