import type { RawData, WebSocket } from "ws";

/**
 * A peer of ws as capnweb takes it: with the parts of the DOM's WebSocket that its transport uses.
 *
 * ws has them itself, but not where Bun puts its own in its place (as OpenCode's embedded 1.3.14 does): there a text comes
 * as bytes once `binaryType` was set, and `maxPayload` is not looked at.
 */
export function domSocket(peer: WebSocket, messageBytesMax: number): globalThis.WebSocket {
	const facade = {
		binaryType: "arraybuffer",
		get readyState() {
			return peer.readyState;
		},
		send: (text: string) => peer.send(text),
		close: (code?: number, reason?: string) => peer.close(code, reason),
		addEventListener(type: "message" | "close" | "error", listener: (event: object) => void) {
			if (type === "close") peer.on("close", (code, reason) => listener({ code, reason: String(reason) }));
			else if (type === "error") peer.on("error", (error) => listener({ error }));
			else
				peer.on("message", (data, isBinary) => {
					const bytes = bytesOf(data);
					if (bytes.length > messageBytesMax) peer.close(TOO_BIG);
					else listener({ data: isBinary ? Uint8Array.from(bytes).buffer : bytes.toString("utf8") });
				});
		},
	};
	return facade as unknown as globalThis.WebSocket;
}

const TOO_BIG = 1009;

function bytesOf(data: RawData): Buffer {
	if (Array.isArray(data)) return Buffer.concat(data);
	return Buffer.isBuffer(data) ? data : Buffer.from(data);
}
