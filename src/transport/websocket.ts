import { RpcSession, WebSocketTransport } from "capnweb";
import { type ClientOptions, WebSocket } from "ws";
import type { Clock } from "../model/clock.ts";
import { DEFLATE } from "../protocol/deflate.ts";
import { MESSAGE_BYTES_MAX } from "../protocol/limits.ts";
import { guarded } from "../protocol/message.ts";
import type { ShareRpc } from "../protocol/rpc.ts";
import { Calls } from "./calls.ts";
import { type Api, type HeldShare, SESSION_LIMITS, type Wire } from "./connection.ts";
import { describe } from "./reply.ts";
import type { Timing } from "./timing.ts";

/** Begins to open a WebSocket; the platform's own `ws` unless a test owns the network. */
export type Dial = (url: string) => WebSocket;

export function dialWebSocket(url: string, options: ClientOptions = {}): WebSocket {
	return new WebSocket(url, { perMessageDeflate: DEFLATE, maxPayload: MESSAGE_BYTES_MAX, ...options });
}

/**
 * Waits until a WebSocket is open and proves by a pong that frames pass both ways; some proxies grant the upgrade and no more.
 *
 * @throws whatever went wrong; a system's error keeps its `code`. The signal's reason when it is aborted.
 */
export async function openWebSocket(
	socket: WebSocket,
	clock: Clock,
	timing: Timing,
	signal: AbortSignal,
): Promise<WebSocketWire> {
	const { promise: ponged, resolve, reject } = Promise.withResolvers<void>();
	const settled = new AbortController();
	socket.on("error", reject);
	socket.once("close", (code) => reject(new Error(`it was closed (${code}) before it was of use`)));
	socket.once("open", () => socket.ping());
	socket.once("pong", () => resolve());
	signal.addEventListener("abort", () => reject(signal.reason), { signal: settled.signal });
	void clock
		.sleep(timing.handshakeMs, settled.signal)
		.then(() => reject(new Error(`no answer within ${timing.handshakeMs} ms`)));
	try {
		await ponged;
		return new WebSocketWire(socket, clock, timing);
	} catch (error) {
		socket.terminate();
		throw error;
	} finally {
		settled.abort();
	}
}

/**
 * A capnweb session over one socket.
 *
 *     open ──► (call fails at its deadline | pong missing | socket or session broken | close()) ──► ended
 *
 * Ended once and for all: the socket is destroyed, what was under way has failed, `closed` tells why.
 */
export class WebSocketWire implements Wire {
	readonly kind = "websocket";
	readonly #socket: WebSocket;
	readonly #api: Api;
	readonly #calls: Calls;
	/** The message sent last is handed to the network. */
	#written = Promise.resolve();
	readonly #shares = new Map<string, ReturnType<Api["redeemShare"]>>();

	/** @param socket open, and from now on ours. */
	constructor(socket: WebSocket, clock: Clock, timing: Timing) {
		this.#socket = socket;
		this.#calls = new Calls(clock, timing.callMs);
		// Before capnweb's own listeners, which know less of the reason.
		socket.on("error", (error) => this.#end(new Error(`the WebSocket failed: ${describe(error)}`)));
		socket.on("close", (code) => this.#end(new Error(`the server closed the WebSocket (${code})`)));
		// The cast: ws has the interface that capnweb uses, its event types differ in detail.
		const carrier = new WebSocketTransport(socket as unknown as globalThis.WebSocket);
		// Compressing takes turns of the event loop; ws tells when it is done, and capnweb's own transport does not ask.
		const send = (message: string) => {
			this.#written = new Promise((resolve) => socket.send(message, () => resolve()));
		};
		const transport = { ...guarded(carrier, "server"), send };
		this.#api = new RpcSession<ShareRpc>(transport, undefined, { limits: SESSION_LIMITS }).getRemoteMain();
		// Runs before capnweb rejects what is under way, so that a broken session's error is taken for nobody's answer.
		this.#api.onRpcBroken((error) => this.#end(new Error(`the session broke: ${describe(error)}`)));
		void this.#beat(clock, timing.heartbeatMs);
	}

	get closed(): AbortSignal {
		return this.#calls.closed;
	}

	call(method: string, bytes: number, make: (api: Api) => PromiseLike<unknown>): Promise<unknown> {
		// Async, because capnweb throws at once on what is disposed.
		return this.#calls.run(
			method,
			bytes,
			async () => make(this.#api),
			(reason) => this.#end(reason),
		);
	}

	written(): Promise<void> {
		return this.#written;
	}

	redeem(shareId: string, secret: string): HeldShare {
		const name = `${shareId}\n${secret}`;
		const fresh = this.#calls.ended ? undefined : this.#api.redeemShare(shareId, secret);
		let kept = false;
		return {
			capability: () => (kept ? this.#shares.get(name) : fresh) as ReturnType<Api["redeemShare"]>,
			keep: () => {
				kept = true;
				this.#shares.get(name)?.[Symbol.dispose]();
				if (fresh) this.#shares.set(name, fresh);
			},
			release: () => fresh?.[Symbol.dispose](),
		};
	}

	close(): void {
		this.#end(new Error("the connection was closed on this side"));
	}

	async #beat(clock: Clock, heartbeatMs: number): Promise<void> {
		let alive = true;
		this.#socket.on("pong", () => {
			alive = true;
		});
		while (alive) {
			alive = false;
			this.#socket.ping();
			// The ping waits in line behind what is being sent.
			const pongMs = Math.ceil(heartbeatMs + this.#calls.transferMs);
			await clock.sleep(pongMs, this.#calls.closed);
			if (this.#calls.ended) return;
			if (!alive) this.#end(new Error(`no pong within ${pongMs} ms`));
		}
	}

	#end(reason: Error): void {
		if (!this.#calls.end(reason)) return;
		for (const share of this.#shares.values()) share[Symbol.dispose]();
		this.#shares.clear();
		this.#api[Symbol.dispose]();
		// After the session's last frame, which says goodbye; nothing waits for the other side to close.
		this.#socket.terminate();
	}
}
