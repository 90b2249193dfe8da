import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { newHttpBatchRpcSession, newWebSocketRpcSession, type RpcStub, RpcTarget } from "capnweb";
import { WebSocket } from "ws";
import type { OpType } from "../../src/model/op.ts";
import type { ShareCapability, ShareRpc, WatchSink } from "../../src/protocol/rpc.ts";
import type { AppendBatch, Delta, DurableOp, RevokeRequest, ShareGrant, WatchedOp } from "../../src/protocol/schema.ts";
import { errorLine, secret } from "../evidence/record.ts";
import { rejection } from "../evidence/taps.ts";

export const SERVER_KEY = "server-key-of-the-tests-0123456789abcdef";

export interface Client {
	readonly api: RpcStub<ShareRpc>;
	readonly socket: WebSocket;
	close(): Promise<void>;
}

/** A WebSocket session with the server at `url`. */
export async function connect(url: string): Promise<Client> {
	const socket = new WebSocket(`${url.replace(/^http/, "ws")}/rpc`);
	const closed = once(socket, "close");
	socket.on("message", (data) => rejection(String(data)));
	await once(socket, "open");
	const api = newWebSocketRpcSession<ShareRpc>(socket as unknown as globalThis.WebSocket);
	return {
		api,
		socket,
		async close() {
			api[Symbol.dispose]();
			await closed;
		},
	};
}

/** A fresh HTTP batch: good for the calls of one turn. */
export function post(url: string): RpcStub<ShareRpc> {
	return newHttpBatchRpcSession<ShareRpc>(`${url}/rpc`);
}

/** A create key that nobody else has. */
export function createKey(): string {
	const key = randomBytes(32).toString("base64url");
	secret("create key", key);
	return key;
}

/** A request to rotate the secret, to one that nobody else has. */
export function rotation(rotate_slug = false): RevokeRequest & { next_secret: string } {
	const next_secret = randomBytes(32).toString("base64url");
	secret("share secret", next_secret);
	return { rotate_secret: true, next_secret, rotate_slug };
}

export async function makeShare(
	api: RpcStub<ShareRpc>,
	session_id = "ses_1",
	create_key = createKey(),
): Promise<ShareGrant> {
	const grant = await api.createShare(SERVER_KEY, { session_id, create_key });
	secret("share secret", grant.secret);
	return grant;
}

/** A share, and the capability to append to it. */
export async function openShare(client: Client): Promise<{ grant: ShareGrant; share: RpcStub<ShareCapability> }> {
	const grant = await makeShare(client.api);
	const share = await client.api.redeemShare(grant.share_id, grant.secret);
	return { grant, share };
}

export interface Draft {
	op_id?: string;
	type?: OpType;
	key?: string;
	payload?: string;
	expected_cursor?: number;
	capability_epoch?: number;
	depends_on?: string;
}

/** A batch whose ops take the positions from `first` on; op at position n is `op-n`, a message of its own. */
export function batchOf(first: number, drafts: readonly Draft[], over: Partial<AppendBatch> = {}): AppendBatch {
	const batch_id = over.batch_id ?? `batch-${first}`;
	const ops = drafts.map(({ depends_on, ...draft }, seq): DurableOp => {
		const position = draft.expected_cursor ?? first + seq;
		return {
			op_id: `op-${position}`,
			batch_id,
			seq,
			expected_cursor: position,
			capability_epoch: 1,
			type: "message",
			key: `message/msg_${position}`,
			payload: JSON.stringify({ id: `msg_${position}` }),
			...draft,
			...(depends_on === undefined ? {} : { depends_on }),
		};
	});
	return { batch_id, ops, source_watermark: null, ...over };
}

/** `count` plain ops. */
export function plain(count: number): Draft[] {
	return Array.from({ length: count }, () => ({}));
}

/** A viewer that keeps what it is told, and can be awaited. */
export class Viewer extends RpcTarget implements WatchSink {
	readonly seen: WatchedOp[] = [];
	readonly deltas: Delta[] = [];
	readonly endings: string[] = [];
	deliveries = 0;
	cursor = 0;
	/** While set, deliveries are answered only when it resolves. */
	hold: Promise<void> | undefined;
	#changed = Promise.withResolvers<void>();

	async ops(ops: readonly WatchedOp[], cursor: number): Promise<void> {
		this.seen.push(...ops);
		this.cursor = cursor;
		this.deliveries++;
		this.#tell();
		await this.hold;
	}

	async delta(delta: Delta): Promise<void> {
		this.deltas.push(delta);
		this.#tell();
	}

	async ended(code: string): Promise<void> {
		this.endings.push(code);
		this.#tell();
	}

	/** Resolves as soon as `condition` holds. Local: over the wire it would make no sense. */
	async until(condition: () => boolean): Promise<void> {
		while (!condition()) await this.#changed.promise;
	}

	#tell(): void {
		this.#changed.resolve();
		this.#changed = Promise.withResolvers();
	}
}

/** What a call is refused with: its code, and the properties that came along. */
export async function refusal(call: PromiseLike<unknown>): Promise<Record<string, unknown>> {
	try {
		await call;
	} catch (error) {
		errorLine(error);
		return { ...(error as object) };
	}
	throw new Error("The call was not refused.");
}
