import { DurableObject } from "cloudflare:workers";
import { randomUUID } from "node:crypto";
import type { Response as WorkerResponse, WebSocket as WorkerSocket } from "@cloudflare/workers-types";
import { refusalOf } from "../../protocol/refusal.ts";
import { type Env, nameOf } from "./env.ts";
import type { Notice } from "./told.ts";

/**
 * The ears of one share: the sockets of the Workers whose clients watch it, in an object of their own, so that a share's
 * object keeps none. They hibernate: neither object is in memory while nothing happens.
 */
export class WatchObject extends DurableObject<Env> {
	/**
	 * A socket on which every notice comes from now on. The share is told before the answer, so that no change falls in
	 * between. 404 when there is no such share.
	 */
	async fetch(_url: string, _upgrade: object): Promise<WorkerResponse> {
		const { 0: theirs, 1: ours } = new WebSocketPair();
		this.ctx.acceptWebSocket(ours);
		try {
			await this.env.SHARE.getByName(nameOf(this.ctx)).watched(randomUUID());
		} catch (error) {
			ours.close();
			return new Response(null, { status: refusalOf(error) ? 404 : 503 }) as unknown as WorkerResponse;
		}
		return new Response(null, { status: 101, webSocket: theirs } as ResponseInit) as unknown as WorkerResponse;
	}

	/** @returns how many sockets there are. */
	tell(notice: Notice): number {
		const sockets = this.ctx.getWebSockets();
		const text = JSON.stringify(notice);
		for (const socket of sockets) {
			try {
				socket.send(text);
			} catch {
				// It is being closed.
			}
		}
		return sockets.length;
	}

	webSocketClose(socket: WorkerSocket): void {
		socket.close();
	}
}

declare const WebSocketPair: new () => { 0: WorkerSocket; 1: WorkerSocket };
