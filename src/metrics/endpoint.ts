import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { systemClock } from "../model/clock.ts";
import { messageOf, OutboxError } from "../model/errors.ts";
import { listen } from "../model/listen.ts";
import type { Logger } from "../model/logger.ts";

const HOST = "127.0.0.1";
/** What a page in a browser cannot fake for a name of its own that leads to loopback (DNS rebinding). */
const OURS = /^(?:127\.0\.0\.1|localhost|\[::1\])(?::\d+)?$/i;
/** A request's head must have come within this, in ms, and the whole of it, which has no body. */
const REQUEST_MS = 5000;
/** A kept connection without a request ends after this, in ms: longer than between two scrapes. */
const KEPT_MS = 65_000;
/** More than any scraper opens. */
const CONNECTIONS_MAX = 32;
/** Within this, in ms, a further scrape gets the answer of the last: what it costs is bounded however often it is asked. */
const FRESH_MS = 1000;

export interface Endpoint {
	/** Where it answers. */
	readonly url: string;
	close(): Promise<void>;
}

/**
 * Answers `GET /metrics` on loopback, and nothing else.
 *
 * @param port 0 takes any free one.
 * @param collect everything that is told, as text; what it throws is logged, and answered with 500 and no word of it.
 * @throws OutboxError port_taken, config.
 */
export async function startEndpoint(
	{ port, type, log }: { readonly port: number; readonly type: string; readonly log: Logger },
	collect: () => Promise<string>,
): Promise<Endpoint> {
	const text = shared(collect);
	const answer = async (request: IncomingMessage, response: ServerResponse) => {
		const { method, url = "", headers } = request;
		const end = (status: number, body: string, more: Record<string, string> = {}) => {
			const shown = { "content-type": "text/plain; charset=utf-8", "cache-control": "no-store", ...more };
			response.writeHead(status, { ...shown, "x-content-type-options": "nosniff" }).end(method === "HEAD" ? "" : body);
		};
		if (!OURS.test(headers.host ?? "")) return end(403, "Ask for it by its address on loopback.\n");
		if (url.split("?")[0] !== "/metrics") return end(404, "There is /metrics.\n");
		if (method !== "GET" && method !== "HEAD") return end(405, "GET it.\n", { allow: "GET, HEAD" });
		try {
			end(200, await text(), { "content-type": type });
		} catch (error) {
			log.warn({ err: messageOf(error) }, "the metrics could not be collected");
			if (!response.headersSent) end(500, "The metrics could not be collected; the log says why.\n");
		}
	};
	const server = createServer(
		{ requestTimeout: REQUEST_MS, headersTimeout: REQUEST_MS, keepAliveTimeout: KEPT_MS },
		(request, response) => void answer(request, response),
	);
	server.maxConnections = CONNECTIONS_MAX;
	// A scraper does not keep the process alive.
	server.unref();
	const heard = await listen(server, HOST, port, systemClock).catch((error) => {
		throw unheard(error, port);
	});
	const url = `http://${HOST}:${heard}/metrics`;
	log.info({ url }, "metrics are told");
	return {
		url,
		async close() {
			const closed = new Promise((resolve) => server.close(resolve));
			server.closeAllConnections();
			// Bun may never tell it; nothing depends on it.
			if (!process.versions.bun) await closed;
		},
	};
}

function unheard(error: unknown, port: number): OutboxError {
	const { code } = error as { code?: unknown };
	const hint = "Choose another one with --metrics-port, 0 for any that is free, or off.";
	if (code === "EADDRINUSE")
		return new OutboxError("port_taken", `--metrics-port ${port}: something else listens on ${HOST}:${port} already.`, {
			hint,
			cause: error,
		});
	const message = `--metrics-port ${port}: cannot listen on ${HOST}:${port} (${messageOf(error)}).`;
	return new OutboxError("config", message, { hint, cause: error });
}

/** One collection at a time, whose result serves everybody who asks while it is fresh. */
function shared(collect: () => Promise<string>): () => Promise<string> {
	let last: Promise<string> | undefined;
	let at = Number.NEGATIVE_INFINITY;
	return () => {
		if (last === undefined || performance.now() - at >= FRESH_MS) {
			at = Number.POSITIVE_INFINITY;
			last = collect();
			last.then(
				() => {
					at = performance.now();
				},
				() => {
					last = undefined;
				},
			);
		}
		return last;
	};
}
