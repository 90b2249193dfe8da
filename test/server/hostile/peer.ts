import { once } from "node:events";
import { request } from "node:http";
import { connect as connectTcp, type Socket } from "node:net";
import { WebSocket } from "ws";
import type { Target } from "./target.ts";

/** What became of something that was sent. */
export type Fate = { readonly closed: number } | { readonly answered: string };

export async function openSocket(target: Target, perMessageDeflate = false): Promise<WebSocket> {
	const socket = new WebSocket(`${target.url.replace("http", "ws")}/rpc`, { perMessageDeflate });
	socket.on("error", () => undefined);
	await once(socket, "open");
	return socket;
}

/** Sends frames over a WebSocket of its own and waits until the server has answered or closed it. */
export async function sendFrames(target: Target, frames: readonly (string | Buffer)[]): Promise<Fate> {
	const socket = await openSocket(target);
	const fate = new Promise<Fate>((resolve) => {
		socket.on("message", (data) => {
			// The last word before it closes.
			if (!String(data).startsWith('["abort"')) resolve({ answered: String(data).slice(0, 1000) });
		});
		socket.once("close", (closed) => resolve({ closed }));
	});
	for (const frame of frames) socket.send(frame);
	// A frame that asks for nothing is answered with nothing: then the pong is the answer.
	socket.once("pong", () => socket.emit("message", "nothing"));
	socket.ping();
	const result = await fate;
	socket.terminate();
	return result;
}

/** One POST; the body is sent in pieces, with its length or in chunks. */
export async function post(
	target: Target,
	body: Iterable<string | Buffer>,
	length?: number,
): Promise<number | "reset"> {
	const headers = length === undefined ? {} : { "content-length": length };
	const asking = request(`${target.url}/rpc`, { method: "POST", headers, agent: false });
	const answer = new Promise<number | "reset">((resolve) => {
		asking.once("response", (response) => {
			response.resume().on("error", () => undefined);
			resolve(response.statusCode ?? 0);
		});
		asking.on("error", () => resolve("reset"));
	});
	let isOver = false;
	void answer.then(() => {
		isOver = true;
	});
	for (const piece of body) {
		if (isOver || asking.destroyed) break;
		if (!asking.write(piece)) await Promise.race([once(asking, "drain").catch(() => undefined), answer]);
	}
	if (!isOver && !asking.destroyed) asking.end();
	const status = await answer;
	asking.destroy();
	return status;
}

/** The text that one POST of messages is answered with. */
export async function postText(target: Target, body: string): Promise<{ status: number; text: string }> {
	const response = await fetch(`${target.url}/rpc`, { method: "POST", body });
	return { status: response.status, text: await response.text() };
}

/** A bare connection, on which something is said and then nothing more. */
export async function whisper(target: Target, bytes: string | Buffer): Promise<Socket> {
	const socket = connectTcp(target.port, "127.0.0.1");
	socket.on("error", () => undefined);
	await Promise.race([once(socket, "connect"), once(socket, "close")]);
	if (bytes.length > 0) socket.write(bytes);
	socket.resume();
	return socket;
}

export function* pieces(bytes: number, piece = Buffer.alloc(256 * 1024, "x")): Generator<Buffer> {
	for (let sent = 0; sent < bytes; sent += piece.length) yield piece.subarray(0, Math.min(piece.length, bytes - sent));
}
