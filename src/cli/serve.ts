import { BlockList, isIP } from "node:net";
import { defineCommand } from "citty";
import { OutboxError } from "../model/errors.ts";
import { startShareServer } from "../server/node.ts";
import { createLogger } from "./logger.ts";
import { openMetrics } from "./metrics.ts";
import { pathsIn } from "./paths.ts";
import { ensureServerKey, readServerKey } from "./server-key.ts";
import { httpAddress, URL_FORM } from "./setting-forms.ts";
import { resolveSettings, settingsArgs } from "./settings.ts";
import { teach } from "./teach.ts";
import { jsonLine, printable } from "./terminal.ts";

export const command = teach(
	defineCommand({
		meta: { name: "serve", description: "Run a share server by itself, in the foreground." },
		args: {
			...settingsArgs("port"),
			host: { type: "string", valueHint: "HOST", default: "127.0.0.1", description: "Loopback address to listen on." },
			"public-url": {
				type: "string",
				valueHint: "URL",
				description: "Where people reach it, when that is not where it listens; the links that it gives out begin so.",
			},
			...settingsArgs("opencode-share", "metrics-port", "data-dir", "server-key-file", "log-level"),
			json: {
				type: "boolean",
				description:
					"Print {url, pid, key_file} as one line of JSON when it listens, and metrics_url with --metrics-port.",
			},
		},
		async run({ args }) {
			const settings = resolveSettings(args);
			checkHost(args.host);
			const publicUrl = parsePublicUrl(args["public-url"]);
			const { serverDatabase, serverKey } = pathsIn(settings.dataDir);
			const signals = listenToSignals();
			const keyFile = settings.serverKeyFile ?? serverKey;
			const key = settings.serverKeyFile === undefined ? ensureServerKey(keyFile) : readServerKey(keyFile);
			const logger = createLogger({ level: settings.logLevel });
			const metrics = await openMetrics(settings, logger, { agent: false, server: true });
			const server = await startShareServer({
				...{ databasePath: serverDatabase, serverKeys: [key], host: args.host, port: settings.port },
				...(publicUrl === undefined ? {} : { publicUrl }),
				opencodeShare: settings.opencodeShare,
				...{ logger, meter: metrics?.server },
			});
			const told = await metrics?.listen().catch(async (error: unknown) => {
				await server.close();
				throw error;
			});
			const facts = { url: server.url, pid: process.pid, key_file: keyFile };
			process.stdout.write(
				args.json
					? jsonLine(told === undefined ? facts : { ...facts, metrics_url: told.url })
					: greeting(server.url, keyFile),
			);
			await signals.first;
			await Promise.race([Promise.all([server.close(), told?.close()]), signals.second]);
		},
	}),
	{
		when: "`run` starts a share server of its own when no other is set; use `serve` for one that outlives the agent, or that several machines share through a reverse proxy. It speaks no TLS yet, so it listens on loopback only.",
		exits: {
			0: "stopped: the first SIGTERM or SIGINT lets what is under way finish (up to 5 s), the second ends at once",
			65: "its database is damaged, or the file is none",
			69: "the port is taken, or the one for metrics",
			75: "another `serve` has the same data",
		},
		examples: [
			{
				line: "opencode-outbox serve",
				does: "Prints where it listens and where its key is. The key itself is never printed.",
			},
			{
				line: "opencode-outbox serve --port 4591 --public-url https://share.example.com",
				does: "Behind a reverse proxy that speaks TLS for share.example.com.",
			},
			{
				line: "opencode-outbox serve --opencode-share on",
				does: 'Also for an OpenCode without this program, whose config has "enterprise": { "url": "http://127.0.0.1:4590" }. Whoever reaches the server may then make shares.',
			},
		],
	},
);

function greeting(url: string, keyFile: string): string {
	return `Share server: ${url}\nIts key is in: ${keyFile}\nAgents use it with: opencode-outbox run --server ${url} --server-key-file ${keyFile}\n`;
}

/** @throws OutboxError usage for a host that others can reach. */
function checkHost(host: string): void {
	const loopback = new BlockList();
	loopback.addSubnet("127.0.0.0", 8, "ipv4");
	loopback.addAddress("::1", "ipv6");
	const version = isIP(host);
	const isLoopback = version === 0 ? host === "localhost" : loopback.check(host, version === 4 ? "ipv4" : "ipv6");
	if (isLoopback) return;
	throw new OutboxError(
		"usage",
		`--host ${printable(host)}: the share server speaks no TLS yet, so it listens on loopback only.`,
		{
			hint: "Let a reverse proxy with TLS forward to it, and name the proxy's address with --public-url.",
		},
	);
}

/** @throws OutboxError usage. */
function parsePublicUrl(text: string | undefined): string | undefined {
	if (text === undefined) return undefined;
	const parsed = httpAddress(text);
	if (!parsed.success) throw new OutboxError("usage", `--public-url: expected ${URL_FORM}.`);
	return parsed.data;
}

/** Installed before anything is opened, so that no signal is lost. */
function listenToSignals(): { readonly first: Promise<void>; readonly second: Promise<void> } {
	const first = Promise.withResolvers<void>();
	const second = Promise.withResolvers<void>();
	let count = 0;
	const onSignal = () => (++count === 1 ? first.resolve() : second.resolve());
	for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, onSignal);
	return { first: first.promise, second: second.promise };
}
