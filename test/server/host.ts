import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Logger, silent } from "../../src/model/logger.ts";
import { LIMITS, type ShareLimits } from "../../src/protocol/limits.ts";
import { SHARE_DATABASE, type ShareServer, type ShareServerOptions, startShareServer } from "../../src/server/node.ts";
import { openForReading } from "../../src/sqlite/database.ts";
import { discard } from "../evidence/folder.ts";
import { recorded, secret } from "../evidence/record.ts";
import { SERVER_KEY } from "./client.ts";
import { type Decision, OTHER_SERVER_KEY } from "./contract/host.ts";

export interface NodeHost extends ShareServer {
	readonly limits: ShareLimits;
	readonly databasePath: string;
	/** As it lies in the file. */
	audit(): Promise<Decision[]>;
	/** Stops the server, at once unless told a grace in ms, and leaves its file. */
	stop(graceMs?: number): Promise<void>;
}

/** A share server of its own, in a folder of its own that goes with it. */
export async function startHost(options: Partial<ShareServerOptions> = {}): Promise<NodeHost> {
	const folder = mkdtempSync(join(tmpdir(), "share-server-"));
	const databasePath = join(folder, "share.db");
	const serverKeys = [SERVER_KEY, OTHER_SERVER_KEY];
	for (const key of serverKeys) secret("server key", key);
	const remove = () => discard(folder);
	const logger = recorded(options.logger ?? silent);
	const server = await startShareServer({ databasePath, serverKeys, port: 0, ...options, logger }).catch((error) => {
		remove();
		throw error;
	});
	return {
		...server,
		limits: LIMITS,
		databasePath: options.databasePath ?? databasePath,
		stop: (graceMs = 0) => server.close(graceMs),
		audit: () => decisionsIn(options.databasePath ?? databasePath),
		async close() {
			await server.close(0);
			remove();
		},
	};
}

async function decisionsIn(path: string): Promise<Decision[]> {
	const sqlite = await openForReading(path, SHARE_DATABASE);
	if (sqlite === undefined) throw new Error(`${path} has not been made`);
	try {
		const rows = sqlite.prepare("SELECT event, method, share_id, code FROM audit ORDER BY id").all();
		return rows.map((row) => Object.values(row) as unknown as Decision);
	} finally {
		sqlite.close();
	}
}

/** A logger that keeps what it is told. */
export function recordingLogger(): Logger & {
	lines: { level: string; facts: Record<string, unknown>; message: string }[];
} {
	const lines: { level: string; facts: Record<string, unknown>; message: string }[] = [];
	const at = (level: string) => (facts: object, message: string) =>
		void lines.push({ level, facts: facts as Record<string, unknown>, message });
	return { lines, debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}
