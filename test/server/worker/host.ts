import { mkdtempSync, readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { Miniflare } from "miniflare";
import { WORKER_LIMITS } from "../../../src/server/worker/env.ts";
import { discard } from "../../evidence/folder.ts";
import { secret } from "../../evidence/record.ts";
import { SERVER_KEY } from "../client.ts";
import { type Decision, type Host, OTHER_SERVER_KEY } from "../contract/host.ts";
import { bundledWorker } from "./bundle.ts";
import { workerConfig } from "./config.ts";

export const OPERATOR_KEY = "operator-key-of-the-tests-0123456789abcdef";

const CLASSES = { SHARE: "ShareObject", DIRECTORY: "DirectoryObject", WATCH: "WatchObject" };
export type Binding = keyof typeof CLASSES;

export interface WorkerHost extends Host {
	/** Calls an object of a Worker that is probed. What it throws, with its properties, is thrown. */
	probe(binding: Binding, name: string, method: string, ...args: readonly unknown[]): Promise<unknown>;
	/** What the objects of one kind have stored, a file each. */
	files(binding: Binding): string[];
}

export interface WorkerHostOptions {
	/** Text bindings besides the keys. */
	readonly env?: Readonly<Record<string, string>>;
	/** Whether its objects can be looked into. */
	readonly isProbed?: boolean;
	/** Where the objects lie; a folder of its own, that goes with the host, unless given. */
	readonly folder?: string;
}

/** The Worker on workerd, on this machine, with its objects in files. */
export async function startWorker({ env = {}, folder, isProbed = false }: WorkerHostOptions = {}): Promise<WorkerHost> {
	const root = folder ?? mkdtempSync(join(tmpdir(), "share-worker-"));
	const texts: Record<string, string> = { SERVER_KEYS: `${SERVER_KEY}\n${OTHER_SERVER_KEY}`, OPERATOR_KEY, ...env };
	for (const key of [SERVER_KEY, OTHER_SERVER_KEY]) secret("server key", key);
	const config = workerConfig();
	const miniflare = new Miniflare({
		host: "127.0.0.1",
		port: 0,
		telemetry: { enabled: false },
		resourcePersistencePath: root,
		workers: [
			{
				config: {
					name: "share",
					compatibilityDate: config.compatibility_date,
					compatibilityFlags: config.compatibility_flags,
					manifest: {
						mainModule: "worker.js",
						modules: { "worker.js": { type: "esm", contents: await bundledWorker(isProbed) } },
					},
					exports: Object.fromEntries(
						Object.values(CLASSES).map((name) => [name, { type: "durable-object", storage: "sqlite" }]),
					),
					env: {
						...Object.fromEntries(
							Object.entries(CLASSES).map(([binding, exportName]) => [
								binding,
								{ type: "durable-object", worker: "share", exportName },
							]),
						),
						...Object.fromEntries(Object.entries(texts).map(([name, value]) => [name, { type: "text", value }])),
					},
				},
			},
		],
	});
	const files = (binding: Binding) => {
		const objects = join(root, "do", `share-${CLASSES[binding]}`);
		return readdirSync(objects)
			.filter((name) => /^[0-9a-f]{64}\.sqlite$/.test(name))
			.map((name) => join(objects, name));
	};
	const url = (await miniflare.ready).origin;
	return {
		url,
		limits: WORKER_LIMITS,
		async probe(binding, name, method, ...args) {
			const body = JSON.stringify({ binding, name, method, args });
			const response = await fetch(`${url}/probe`, { method: "POST", body });
			const { answer, error } = (await response.json()) as { answer?: unknown; error?: { message: string } };
			if (error) throw Object.assign(new Error(error.message), error);
			return answer;
		},
		files,
		audit: async () => decisionsIn([...files("SHARE"), ...files("DIRECTORY")]),
		async close() {
			await miniflare.dispose();
			if (folder === undefined) discard(root);
		},
	};
}

/** Of all objects, in the order of their times. */
function decisionsIn(paths: readonly string[]): Decision[] {
	const rows = paths.flatMap((path) => {
		const database = new Database(path, { readonly: true });
		try {
			// An object that leads to another one has none.
			if (!database.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'audit'").get()) return [];
			return database.prepare("SELECT at, id, event, method, share_id, code FROM audit").all() as Row[];
		} finally {
			database.close();
		}
	});
	rows.sort((one, other) => one.at - other.at || one.id - other.id);
	return rows.map(({ event, method, share_id, code }) => [event, method, share_id, code]);
}

interface Row {
	at: number;
	id: number;
	event: string;
	method: string;
	share_id: string | null;
	code: string | null;
}
