import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { RpcSession, WebSocketTransport } from "capnweb";
import { type WebSocket, WebSocketServer } from "ws";
import { DEFLATE } from "../protocol/deflate.ts";
import { MESSAGE_BYTES_MAX } from "../protocol/limits.ts";
import { guarded } from "../protocol/message.ts";
import type { Allowance } from "./allowance.ts";
import { Connection } from "./connection.ts";
import { domSocket } from "./dom-socket.ts";
import { type HttpContext, RPC_LIMITS } from "./http.ts";
import { Api } from "./rpc.ts";

/**
 * A peer from which nothing came for this long, in ms, is gone; a half-open socket never tells by itself. Any byte counts,
 * not only a pong: that waits in line behind the large batch that a slow link is still bringing.
 */
const HEARTBEAT_MS = 30_000;

/** Messages between two looks at what a session holds: the look costs as much as it finds. */
const MESSAGES_PER_LOOK = 256;

/** Capabilities, results and sinks that one session may hold; capnweb itself has no limit. */
const HELD_MAX = 5000;

/** Bytes of answers that a peer may leave unread; capnweb itself has no backpressure. */
const UNREAD_BYTES_MAX = 4 * MESSAGE_BYTES_MAX;

const GOING_AWAY = 1001;
const POLICY_VIOLATION = 1008;

/** The WebSockets of one server, each with one capnweb session. */
export class Sockets {
	readonly #context: HttpContext;
	readonly #server = new WebSocketServer({
		noServer: true,
		clientTracking: true,
		maxPayload: MESSAGE_BYTES_MAX,
		perMessageDeflate: DEFLATE,
		// One event per turn of the loop: a client that sends a flood shares the server with the others (G5).
		allowSynchronousEvents: false,
	});
	/** What had come from each peer, in bytes, when it was last looked at; and how many whole signs of life, for Bun, which counts no bytes. */
	readonly #heard = new WeakMap<WebSocket, { readonly socket: Socket; bytes: number; signs: number }>();
	readonly #stop = new AbortController();

	constructor(context: HttpContext) {
		this.#context = context;
		void this.#heartbeat();
	}

	/** How many are open. */
	get count(): number {
		return this.#server.clients.size;
	}

	upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
		this.#server.handleUpgrade(request, socket, head, (peer) => {
			this.#serve(peer, socket as Socket, this.#context.allowanceOf?.({ incoming: request }));
		});
	}

	/** Asks every peer to go; `terminate` makes those go that did not. */
	goAway(): void {
		this.#stop.abort();
		for (const peer of this.#server.clients) peer.close(GOING_AWAY, "The server stops.");
	}

	terminate(): void {
		for (const peer of this.#server.clients) peer.terminate();
	}

	#serve(peer: WebSocket, socket: Socket, allowance: Allowance | undefined): void {
		const { redactor, onKnown } = this.#context;
		const transport = guarded(new WebSocketTransport(domSocket(peer, MESSAGE_BYTES_MAX)), "client");
		const connection = new Connection("socket", redactor, () => onKnown({ incoming: { socket } }), allowance);
		const session = new RpcSession(transport, new Api(this.#context, connection), {
			// capnweb prepares a last word for a peer that has left, too; nobody gets it.
			onSendError: (error) => (peer.readyState === peer.OPEN ? redactor.sent(error) : error),
			limits: RPC_LIMITS,
		});
		let messages = 0;
		const heard = { socket, bytes: -1, signs: 0 };
		this.#heard.set(peer, heard);
		peer.on("pong", () => void heard.signs++);
		peer.on("message", () => {
			heard.signs++;
			if (++messages % MESSAGES_PER_LOOK !== 0) return;
			const { imports, exports } = session.getStats();
			if (imports + exports > HELD_MAX) peer.close(POLICY_VIOLATION, "Too much is held; release what is done.");
			if (peer.bufferedAmount > UNREAD_BYTES_MAX) peer.terminate();
		});
	}

	async #heartbeat(): Promise<void> {
		const { signal } = this.#stop;
		while (!signal.aborted) {
			await this.#context.clock.sleep(HEARTBEAT_MS, signal);
			for (const peer of this.#server.clients) {
				if (!this.#isAlive(peer) || peer.bufferedAmount > UNREAD_BYTES_MAX) peer.terminate();
				else peer.ping();
			}
		}
	}

	#isAlive(peer: WebSocket): boolean {
		const heard = this.#heard.get(peer);
		if (heard === undefined) return false;
		const bytes = heard.socket.bytesRead + heard.signs;
		if (bytes === heard.bytes) return false;
		heard.bytes = bytes;
		return true;
	}
}
