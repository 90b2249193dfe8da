import type { OpencodeLink } from "../agent/agent.ts";
import { OutboxError } from "../model/errors.ts";
import { OpencodeApi } from "../source/api.ts";
import { findOpencodeDatabase } from "../source/discovery.ts";
import { ServerExtras } from "../source/extras.ts";
import { Heard } from "../source/heard.ts";
import { type ServerAddress, serverAddress } from "../source/http.ts";
import { openLocalSource } from "../source/open.ts";
import { ServerSource, type ServerSourceOptions } from "../source/remote.ts";
import { OpencodeServer } from "../source/server.ts";
import type { Source } from "../source/source.ts";
import type { Settings } from "./settings.ts";

/** OpenCode as the settings name it: what its sessions are read from, and what rings for them. */
export interface Opencode {
	/** Null where its server is the source. */
	readonly databasePath: string | null;
	readonly link: OpencodeLink | undefined;
	/** The source, looked for anew at every call. Throws no_source while there is none. */
	open(options: ServerSourceOptions): Promise<Source>;
}

/** @throws OutboxError config when the source is to be a server that is not named. */
export function opencodeOf(settings: Settings): Opencode {
	const address = settings.opencodeUrl === undefined ? undefined : serverAddress(settings.opencodeUrl, process.env);
	if (sourceKind(settings.source, address) === "server") return remote(address);
	const database = findOpencodeDatabase(process.env, settings.opencodeDb);
	return {
		databasePath: database.path,
		link: address && linkTo(address, new OpencodeServer(address)),
		open: ({ identity }) => openLocalSource(process.env, settings.opencodeDb, { identity }),
	};
}

/** One connection for the doorbell and for all sources that are opened one after the other. */
function remote(address: ServerAddress | undefined): Opencode {
	if (address === undefined)
		throw new OutboxError("config", "source is server, and opencode-url is not set.", {
			hint: "Name OpenCode's server with --opencode-url, and give its password in OPENCODE_SERVER_PASSWORD.",
		});
	const heard = new Heard();
	const server = new OpencodeServer(address, { ear: heard });
	const api = new OpencodeApi(address);
	return {
		databasePath: null,
		link: linkTo(address, server),
		open: async (options) => new ServerSource(api, heard, server, options),
	};
}

function linkTo(address: ServerAddress, doorbell: OpencodeServer): OpencodeLink {
	return { url: address.url.href, doorbell, extras: new ServerExtras(address) };
}

/** A server on this host leaves its files within reach, and they tell more, sooner. */
export function sourceKind(
	setting: Settings["source"],
	address: Pick<ServerAddress, "url"> | undefined,
): "database" | "server" {
	if (setting !== "auto") return setting;
	return address === undefined || isLoopback(address.url.hostname) ? "database" : "server";
}

function isLoopback(hostname: string): boolean {
	return /^(localhost|.*\.localhost|127\.\d+\.\d+\.\d+|\[::1\])\.?$/.test(hostname);
}
