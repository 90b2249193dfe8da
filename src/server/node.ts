import { randomBytes } from "node:crypto";
import { statSync } from "node:fs";
import { STATUS_CODES } from "node:http";
import type { Duplex } from "node:stream";
import type { HttpBindings } from "@hono/node-server";
import { isLoopback } from "../model/address.ts";
import { type Clock, systemClock } from "../model/clock.ts";
import { messageOf, OutboxError } from "../model/errors.ts";
import { listen } from "../model/listen.ts";
import type { Logger } from "../model/logger.ts";
import { version } from "../model/package.ts";
import { LIMITS, type ShareLimits } from "../protocol/limits.ts";
import { RATES, type Rates } from "../protocol/rates.ts";
import { openDatabase } from "../sqlite/database.ts";
import type { Sqlite } from "../sqlite/driver.ts";
import { acquireLock, type Lock } from "../sqlite/lock.ts";
import { UNLIMITED } from "./allowance.ts";
import { builtScripts } from "./asset-files.ts";
import { SETTLE_MS } from "./audit.ts";
import { type CertificateFiles, followCertificate, readCertificate } from "./certificate.ts";
import type { RandomBytes } from "./credential.ts";
import { Doors } from "./doors.ts";
import { Gate } from "./gate.ts";
import { httpApp } from "./http.ts";
import { Hub } from "./hub.ts";
import { Limiter } from "./limiter.ts";
import { createListener, demandTls, renewCertificate } from "./listener.ts";
import type { ServerMeter } from "./meter.ts";
import type { QuotaLimits } from "./quota.ts";
import { Redactor } from "./redact.ts";
import { retain } from "./retention.ts";
import { ShareRules } from "./share.ts";
import { SHARE_DATABASE } from "./share-database.ts";
import { Sockets } from "./socket.ts";

export type { ServerMeter } from "./meter.ts";

export { SHARE_DATABASE };

export interface ShareServerOptions {
	/** Created when it does not exist. One server per file. */
	readonly databasePath: string;
	/** Who may make shares; at least one, each a bearer secret. */
	readonly serverKeys: readonly string[];
	/** Default 127.0.0.1. One that others reach takes `tls` or `trustedProxies`. */
	readonly host?: string;
	/** Speak TLS with this certificate; read again when its files change. */
	readonly tls?: CertificateFiles | undefined;
	/** Networks (`ADDRESS/BITS`) of the reverse proxies that speak TLS for it; see Gate. */
	readonly trustedProxies?: readonly string[] | undefined;
	/** 0 takes any free one. */
	readonly port: number;
	/** Where people reach it, when not at `host:port`: the origin of the links it gives out. */
	readonly publicUrl?: string;
	/** Whether OpenCode's own share, which shows no key, may make shares here: anybody who reaches it, then. Default false. */
	readonly opencodeShare?: boolean;
	readonly logger: Logger;
	/** Lower than LIMITS where this server takes less; the redemption tells them. */
	readonly limits?: Partial<ShareLimits>;
	/** What shares and their owners may hold; see Quotas. */
	readonly quotas?: QuotaLimits | undefined;
	/** Lets go of shares that have not changed for so many ms; undefined: of none. */
	readonly retainMs?: number | undefined;
	/** What differs from RATES; whoever is on this machine is not limited, unless a trusted proxy forwards it. */
	readonly rates?: Rates | undefined;
	readonly clock?: Clock;
	readonly random?: RandomBytes;
	/** Told what is done, while it is done; undefined: nobody counts. */
	readonly meter?: ServerMeter | undefined;
}

export interface ShareServer {
	/** Where it listens: the origin, without a trailing slash. */
	readonly url: string;
	readonly port: number;
	/** Reads the certificate again, if there is one. A wrong one is logged, and the old one stays. */
	renew(): void;
	/**
	 * Takes nothing new, lets what is under way finish for `graceMs` (default 5000), tells WebSockets 1001, closes the
	 * database. Safe to repeat.
	 */
	close(graceMs?: number): Promise<void>;
}

const GRACE_MS = 5000;
/** Bun never tells that a server is closed which had WebSockets, so there it is given this long, in ms, and not waited for. */
const BUN_GRACE_MS = 500;

/**
 * Starts the share server on Node: one SQLite file, one port, capnweb on /rpc over POST and WebSocket alike.
 *
 * @throws OutboxError server_owned, port_taken, config (the address cannot be listened on, or not without TLS; a
 * certificate that is of no use), and what `openDatabase` throws.
 */
export async function startShareServer(options: ShareServerOptions): Promise<ShareServer> {
	const { logger, clock = systemClock, random = randomBytes, host = "127.0.0.1", meter, tls } = options;
	const { trustedProxies = [] } = options;
	const isLocal = isLoopback(host);
	if (!isLocal && tls === undefined && trustedProxies.length === 0)
		throw new OutboxError("config", `${host} is reached by others, so it takes TLS or a trusted proxy.`);
	const gate = new Gate({ trustedProxies, isTls: tls !== undefined, isLocal, publicUrl: options.publicUrl });
	const certificate = tls && readCertificate(tls, clock.now());
	const lock = await lockDatabase(options.databasePath);
	let sqlite: Sqlite | undefined;
	try {
		const database = await openDatabase(options.databasePath, SHARE_DATABASE);
		sqlite = database;
		// What is deleted is gone from the file, not just from its index.
		database.exec("PRAGMA secure_delete = ON");
		let origin = "";
		const url = (slug: string) => `${(options.publicUrl ?? origin).replace(/\/+$/, "")}/share/${slug}`;
		const limits = { ...LIMITS, ...options.limits };
		const { serverKeys, opencodeShare = false, quotas, retainMs } = options;
		const rules = new ShareRules(await database.orm(), {
			clock,
			random,
			serverKeys,
			url,
			limits,
			opencodeShare,
			meter,
			quotas,
		});
		const hub = new Hub(clock);
		const doors = new Doors();
		const limiter = new Limiter({ ...RATES, ...options.rates }, clock);
		const allowanceOf = (env: unknown) => {
			const { address, isLocal } = gate.clientOf((env as HttpBindings).incoming);
			return isLocal ? UNLIMITED : limiter.of(address);
		};
		const onKnown = (env: unknown) => doors.known((env as HttpBindings).incoming.socket);
		const redactor = new Redactor(logger, random);
		const scripts = builtScripts();
		// Bun has none.
		const compresses = "CompressionStream" in globalThis;
		const context = {
			rules,
			hub,
			clock,
			redactor,
			logger,
			version: version(),
			scripts,
			compresses,
			url,
			onKnown,
			allowanceOf,
		};
		const app = httpApp(context);
		const fetch = (request: Request, env: unknown) => {
			const turned = gate.turn((env as HttpBindings).incoming);
			if (turned) return Response.json({ error: turned.error, message: turned.message }, { status: turned.status });
			return app.fetch(request, env as HttpBindings);
		};
		const server = createListener(fetch, certificate, clock);
		server.prependListener("connection", (socket) => doors.enter(socket));
		server.prependListener("request", (request, response) => {
			if (gate.clientOf(request).isSecure) demandTls(response);
			// A connection that is kept alive would hold up the close that waits for its last answer.
			response.once("close", () => !server.listening && server.closeIdleConnections());
		});
		const port = await listen(server, host, options.port, clock).catch((error) => {
			throw unheard(error, `${host}:${options.port}`);
		});
		origin = `${tls ? "https" : "http"}://${host.includes(":") ? `[${host}]` : host}:${port}`;
		const sockets = new Sockets(context);
		meter?.figures(() => ({ websockets: sockets.count, databaseBytes: sizeOf(options.databasePath) }));
		server.on("upgrade", (request, socket, head) => {
			const turned = gate.turn(request);
			if (!server.listening || request.url?.split("?")[0] !== "/rpc") refuseUpgrade(socket, 404, "");
			else if (turned) refuseUpgrade(socket, turned.status, `${JSON.stringify(turned)}\n`);
			else sockets.upgrade(request, socket, head);
		});
		logger.info({ url: origin, database: options.databasePath }, "The share server listens.");

		const settle = () => {
			try {
				rules.settle();
			} catch (error) {
				logger.error({ err: error }, "The audit log could not be written.");
			}
		};
		const ticking = new AbortController();
		const renew = certificate
			? followCertificate(tls, certificate, (next) => renewCertificate(server, next), {
					...{ clock, logger, stop: ticking.signal },
				})
			: () => {};
		void every(SETTLE_MS, settle, clock, ticking.signal);
		if (retainMs !== undefined) {
			const onExpired = (shareId: string) => hub.ended(shareId);
			void retain({ retainMs, expire: (at) => rules.expire(at), onExpired, clock, logger }, ticking.signal);
		}
		let closing: Promise<void> | undefined;
		const stop = async (graceMs: number) => {
			const closed = new Promise((resolve) => server.close(resolve));
			hub.close();
			sockets.goAway();
			const grace = new AbortController();
			await Promise.race([closed, clock.sleep(process.versions.bun ? BUN_GRACE_MS : graceMs, grace.signal)]);
			grace.abort();
			sockets.terminate();
			server.closeAllConnections();
			doors.shut();
			if (!process.versions.bun) await closed;
			ticking.abort();
			settle();
			database.close();
			lock.release();
			logger.info({ url: origin }, "The share server has stopped.");
		};
		return {
			url: origin,
			port,
			renew,
			close(graceMs = GRACE_MS) {
				closing ??= stop(graceMs);
				return closing;
			},
		};
	} catch (error) {
		sqlite?.close();
		lock.release();
		throw error;
	}
}

/** One server per file: two would not know of each other's watchers. */
async function lockDatabase(path: string): Promise<Lock> {
	const lock = await acquireLock(`${path}.lock`);
	if ("release" in lock) return lock;
	const who = lock.pid === null ? "" : ` (pid ${lock.pid})`;
	throw new OutboxError("server_owned", `Another share server${who} has ${path}.`);
}

/** Of a database with its write-ahead log, in bytes. */
function sizeOf(path: string): number {
	const size = (name: string) => statSync(name, { throwIfNoEntry: false })?.size ?? 0;
	return size(path) + size(`${path}-wal`);
}

function unheard(error: unknown, address: string): OutboxError {
	if ((error as { code?: unknown }).code === "EADDRINUSE")
		return new OutboxError("port_taken", `Something else listens on ${address} already.`, { cause: error });
	return new OutboxError("config", `Cannot listen on ${address} (${messageOf(error)}).`, { cause: error });
}

async function every(ms: number, act: () => void, clock: Clock, stop: AbortSignal): Promise<void> {
	for (;;) {
		await clock.sleep(ms, stop);
		if (stop.aborted) return;
		act();
	}
}

function refuseUpgrade(socket: Duplex, status: number, text: string): void {
	socket.on("error", () => socket.destroy());
	socket.once("finish", () => socket.destroy());
	const head = `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nConnection: close\r\nContent-Type: application/json`;
	socket.end(`${head}\r\nContent-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`);
}
