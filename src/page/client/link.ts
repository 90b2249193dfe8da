import { newWebSocketRpcSession, type RpcStub } from "capnweb";
import type { ShareRpc } from "../../protocol/rpc.ts";
import { within } from "./wait.ts";

/** To open a socket, in ms. */
const OPEN_MS = 15_000;

export interface Link extends AsyncDisposable {
	readonly api: RpcStub<ShareRpc>;
	/** Resolves when the connection is gone, whoever ended it. */
	readonly closed: Promise<void>;
	/** Whether anything can still be said. */
	readonly isOpen: boolean;
}

/** A connection with this page's own server. */
export async function openLink(): Promise<Link> {
	const socket = new WebSocket(new URL("/rpc", location.href.replace(/^http/, "ws")));
	const closed = new Promise<void>((resolve) => {
		socket.addEventListener("close", () => resolve());
		socket.addEventListener("error", () => resolve());
	});
	const opened = new Promise<void>((resolve) => socket.addEventListener("open", () => resolve()));
	const refused = closed.then((): never => {
		throw new Error("The server cannot be reached.");
	});
	refused.catch(() => undefined);
	try {
		await within(OPEN_MS, Promise.race([opened, refused]));
	} catch (error) {
		socket.close();
		throw error;
	}
	const api = newWebSocketRpcSession<ShareRpc>(socket);
	// Who waits for a call is told by the call.
	api.onRpcBroken(() => socket.close());
	return {
		api,
		closed,
		get isOpen() {
			return socket.readyState === WebSocket.OPEN;
		},
		async [Symbol.asyncDispose]() {
			socket.close();
		},
	};
}
