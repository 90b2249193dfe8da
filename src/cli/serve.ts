import { defineCommand } from "citty";
import { isLoopback } from "../model/address.ts";
import { startShareServer } from "../server/node.ts";
import { EXPOSURE_ARGS, exposureOf } from "./exposure.ts";
import { createLogger } from "./logger.ts";
import { openMetrics } from "./metrics.ts";
import { pathsIn } from "./paths.ts";
import { ensureServerKey, readServerKey } from "./server-key.ts";
import { resolveSettings, settingsArgs } from "./settings.ts";
import { ownServerOf } from "./settings-of-server.ts";
import { teach } from "./teach.ts";
import { jsonLine } from "./terminal.ts";

export const command = teach(
	defineCommand({
		meta: { name: "serve" },
		args: {
			...settingsArgs("port"),
			...EXPOSURE_ARGS,
			...settingsArgs(
				"opencode-share",
				"limit-creates",
				"limit-redemptions",
				"limit-guesses",
				"limit-append",
				"retain",
				"share-bytes-max",
				"owner-bytes-max",
				"owner-shares-max",
				"metrics-port",
				"data-dir",
				"server-key-file",
				"log-level",
			),
			json: {
				type: "boolean",
				description:
					"Print {url, pid, key_file} as one line of JSON when it listens, and metrics_url with --metrics-port.",
			},
		},
		async run({ args }) {
			const settings = resolveSettings(args);
			const { publicUrl, ...exposure } = exposureOf(args);
			const { serverDatabase, serverKey } = pathsIn(settings.dataDir);
			const signals = listenToSignals();
			const keyFile = settings.serverKeyFile ?? serverKey;
			const key = settings.serverKeyFile === undefined ? ensureServerKey(keyFile) : readServerKey(keyFile);
			const logger = createLogger({ level: settings.logLevel });
			const metrics = await openMetrics(settings, logger, { agent: false, server: true });
			const server = await startShareServer({
				...{ databasePath: serverDatabase, serverKeys: [key], port: settings.port, ...exposure },
				...(publicUrl === undefined ? {} : { publicUrl }),
				...ownServerOf(settings),
				rates: {
					creates: settings.limitCreates,
					redemptions: settings.limitRedemptions,
					guesses: settings.limitGuesses,
					appendBytes: settings.limitAppend,
				},
				...{ logger, meter: metrics?.server },
			});
			if (settings.opencodeShare && !isLoopback(exposure.host))
				logger.warn(
					{ host: exposure.host },
					"opencode-share is on: whoever reaches this server makes shares without a key.",
				);
			const told = await metrics?.listen().catch(async (error: unknown) => {
				await server.close();
				throw error;
			});
			process.on("SIGHUP", () => server.renew());
			const facts = { url: server.url, pid: process.pid, key_file: keyFile };
			process.stdout.write(
				args.json
					? jsonLine(told === undefined ? facts : { ...facts, metrics_url: told.url })
					: greeting(publicUrl ?? server.url, keyFile),
			);
			await signals.first;
			await Promise.race([Promise.all([server.close(), told?.close()]), signals.second]);
		},
	}),
	{
		when: "`run` starts a share server of its own when no other is set; use `serve` for one that outlives the agent, or that several machines share. It listens on loopback unless --host says otherwise, and then takes TLS: its own, or that of a reverse proxy.",
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
				line: "opencode-outbox serve --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem --public-url https://a.example:4590",
				does: "For other machines, over its own TLS. A renewed certificate is taken up by itself.",
			},
			{
				line: "opencode-outbox serve --host 0.0.0.0 --trusted-proxy 10.0.0.0/8 --public-url https://a.example",
				does: "Behind a reverse proxy on another host, which speaks TLS and says for whom (X-Forwarded-For, X-Forwarded-Proto).",
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

/** Installed before anything is opened, so that no signal is lost. */
function listenToSignals(): { readonly first: Promise<void>; readonly second: Promise<void> } {
	const first = Promise.withResolvers<void>();
	const second = Promise.withResolvers<void>();
	let count = 0;
	const onSignal = () => (++count === 1 ? first.resolve() : second.resolve());
	for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, onSignal);
	return { first: first.promise, second: second.promise };
}
