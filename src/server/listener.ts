import { createServer as createHttpServer, type Server, type ServerOptions } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import type { Socket } from "node:net";
import { createAdaptorServer } from "@hono/node-server";
import type { Clock } from "../model/clock.ts";
import { MESSAGE_BYTES_MAX, SLOWEST_LINK_BYTES_PER_MS } from "../protocol/limits.ts";
import type { Certificate } from "./certificate.ts";

/** A request must have arrived whole within this, in ms: the largest body over the slowest link. Its pace is watched. */
const REQUEST_MS = MESSAGE_BYTES_MAX / SLOWEST_LINK_BYTES_PER_MS + 60_000;
/** A connection must have said what it wants within this, in ms, and every time anew. */
const HEAD_MS = 15_000;
/** Between two looks for connections that are too slow, in ms. */
const SLOW_LOOK_MS = 5000;

const TLS_MIN = "TLSv1.2";
/** The first byte of a TLS connection: a handshake record (RFC 8446, 5.1). */
const HANDSHAKE = 0x16;
/** How long a browser remembers to come over TLS only, in seconds: a year. */
const HSTS = "max-age=31536000";

/** What answers: HTTP, or with a certificate HTTPS, on the same port as WebSockets. Does not listen yet. */
export function createListener(
	fetch: (request: Request, env: unknown) => Response | Promise<Response>,
	certificate: Certificate | undefined,
	clock: Clock,
): Server {
	const secrets = certificate && { cert: certificate.cert, key: certificate.key, minVersion: TLS_MIN };
	const serverOptions: ServerOptions = {
		requestTimeout: REQUEST_MS,
		headersTimeout: HEAD_MS,
		connectionsCheckingInterval: SLOW_LOOK_MS,
		...(secrets && { ...secrets, handshakeTimeout: HEAD_MS }),
	};
	const server = createAdaptorServer({
		fetch,
		// The process is shared with an agent, whose own fetch must stay Node's.
		overrideGlobalObjects: false,
		createServer: (certificate ? createHttpsServer : createHttpServer) as typeof createHttpServer,
		serverOptions,
	}) as Server;
	if (certificate) answerPlainHttp(server, clock);
	return server;
}

/** From now on handshakes are made with this one. */
export function renewCertificate(server: Server, { cert, key }: Certificate): void {
	(server as ReturnType<typeof createHttpsServer>).setSecureContext({ cert, key, minVersion: TLS_MIN });
}

/** Tells browsers to come over TLS only. To be called for a request that did, before it is answered. */
export function demandTls(response: { setHeader(name: string, value: string): void }): void {
	response.setHeader("strict-transport-security", HSTS);
}

/** Who speaks plain HTTP to a TLS port would wait for an answer that never comes; so the first byte is looked at. */
function answerPlainHttp(server: Server, clock: Clock): void {
	const handshakes = server.listeners("connection");
	server.removeAllListeners("connection");
	server.on("connection", (socket: Socket) => {
		const told = new AbortController();
		const drop = () => socket.destroy();
		socket.on("error", drop);
		socket.once("close", () => told.abort());
		socket.once("data", (first: Buffer) => {
			told.abort();
			if (first[0] !== HANDSHAKE) return refusePlain(socket);
			socket.pause();
			socket.unshift(first);
			socket.removeListener("error", drop);
			for (const handshake of handshakes) handshake.call(server, socket);
		});
		void clock.sleep(HEAD_MS, told.signal).then(() => !told.signal.aborted && socket.destroy());
	});
}

function refusePlain(socket: Socket): void {
	const text = "This port speaks TLS. Use https://, and wss:// for WebSockets.\n";
	socket.once("finish", () => socket.destroy());
	socket.end(
		`HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: ${text.length}\r\n\r\n${text}`,
	);
}
