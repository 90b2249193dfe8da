import { isLoopback } from "../model/address.ts";
import type { Clock } from "../model/clock.ts";
import { OutboxError } from "../model/errors.ts";
import { connectionOver } from "./connection.ts";
import { type Fetch, HttpBatchWire } from "./http-batch.ts";
import { codeOf, describe } from "./reply.ts";
import { TIMING, type Timing } from "./timing.ts";
import type { Transport } from "./transport.ts";
import { untrusted } from "./trust.ts";
import { type Dial, dialWebSocket, openWebSocket } from "./websocket.ts";

export interface CapnwebOptions {
	/** The share server's address, http: or https:, with the path that it is served under, if any. */
	readonly url: string;
	readonly clock: Clock;
	/**
	 * Whether what is sent over a WebSocket is compressed. Unless given, it is where the server is on another host: on this
	 * one it costs more time than it saves.
	 */
	readonly compress?: boolean | undefined;
	/** What differs from TIMING. */
	readonly timing?: Partial<Timing>;
	/** Carries the HTTP batches; the platform's own unless given. */
	readonly fetch?: Fetch;
	/** Opens the WebSockets; `ws` unless given. */
	readonly dial?: Dial;
}

/** Failures before there was a connection to upgrade: HTTP would meet the same. */
const NOBODY_THERE: ReadonlySet<string | undefined> = new Set([
	"ECONNREFUSED",
	"ENOTFOUND",
	"EAI_AGAIN",
	"EHOSTUNREACH",
	"ENETUNREACH",
]);

/**
 * The share server over capnweb, on one path: a WebSocket, or HTTP batches where something in between refuses upgrades.
 *
 * A refused upgrade is remembered for `upgradeRetryMs`, provided that HTTP works meanwhile. `connect` throws the
 * signal's reason when it is aborted.
 *
 * `connect` throws OutboxError unreachable; untrusted, where the server's certificate is: no retry mends that.
 *
 * @throws OutboxError config when the address is not usable.
 */
export function capnwebTransport(options: CapnwebOptions): Transport {
	const { clock, fetch = globalThis.fetch } = options;
	const timing = { ...TIMING, ...options.timing };
	const url = rpcUrl(options.url);
	const compress = options.compress ?? !isLoopback(new URL(url).hostname);
	const dial = options.dial ?? ((address) => dialWebSocket(address, compress ? {} : { perMessageDeflate: false }));
	let upgradeRefusedAt: number | undefined;

	const isUpgradeRefused = (): boolean => {
		if (upgradeRefusedAt === undefined) return false;
		const age = clock.now() - upgradeRefusedAt;
		// A clock that was set back would keep it for longer.
		return age >= 0 && age < timing.upgradeRetryMs;
	};

	return {
		async connect(signal) {
			signal.throwIfAborted();
			const tried: string[] = [];
			if (!isUpgradeRefused()) {
				try {
					const wire = await openWebSocket(dial(url.replace(/^http/, "ws")), clock, timing, signal);
					upgradeRefusedAt = undefined;
					return connectionOver(wire);
				} catch (error) {
					signal.throwIfAborted();
					const fault = untrusted(url, error);
					if (fault) throw fault;
					tried.push(`WebSocket: ${describe(error)}`);
					if (NOBODY_THERE.has(codeOf(error))) throw unreachable(url, tried, error);
				}
			}
			try {
				const wire = new HttpBatchWire(url, fetch, clock, timing);
				await wire.probe(timing.handshakeMs, signal);
				if (tried.length > 0) upgradeRefusedAt = clock.now();
				return connectionOver(wire);
			} catch (error) {
				signal.throwIfAborted();
				upgradeRefusedAt = undefined;
				const fault = untrusted(url, error);
				if (fault) throw fault;
				tried.push(`HTTP: ${describe(error)}`);
				throw unreachable(url, tried, error);
			}
		},
	};
}

function rpcUrl(address: string): string {
	const url = URL.canParse(address) ? new URL(address) : undefined;
	if (url?.protocol !== "http:" && url?.protocol !== "https:")
		throw new OutboxError("config", "The server's address is not an http: or https: URL.");
	if (url.username || url.password)
		throw new OutboxError(
			"config",
			"The server's address has a user name or password in it; the server takes neither.",
		);
	return `${url.origin}${url.pathname.replace(/\/+$/, "")}/rpc`;
}

function unreachable(url: string, tried: readonly string[], cause: unknown): OutboxError {
	return new OutboxError("unreachable", `No share server answers at ${url} (${tried.join("; ")}).`, { cause });
}
