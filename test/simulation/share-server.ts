import { RpcSession, WebSocketTransport } from "capnweb";
import type { WebSocket } from "ws";
import type { Clock } from "../../src/model/clock.ts";
import { silent } from "../../src/model/logger.ts";
import { guarded } from "../../src/protocol/message.ts";
import { ShareRefusal } from "../../src/protocol/refusal.ts";
import type {
	AppendBatch,
	CreateShareRequest,
	DigestPage,
	OpAck,
	RevokeRequest,
	ShareGrant,
	ShareRedemption,
} from "../../src/protocol/schema.ts";
import { Connection } from "../../src/server/connection.ts";
import { RPC_LIMITS } from "../../src/server/http.ts";
import { Hub } from "../../src/server/hub.ts";
import { SHARE_DATABASE } from "../../src/server/node.ts";
import { PostTransport } from "../../src/server/post.ts";
import { Redactor } from "../../src/server/redact.ts";
import { Api, type RpcContext } from "../../src/server/rpc.ts";
import type { Eventual, Rules } from "../../src/server/rules.ts";
import { type Holder, ShareRules, type ShareRulesOptions } from "../../src/server/share.ts";
import { openDatabase } from "../../src/sqlite/database.ts";
import type { Orm, Sqlite } from "../../src/sqlite/driver.ts";
import type { Dice } from "../fixture/random.ts";
import { copyDatabase } from "./disk.ts";
import type { Host, Network } from "./network.ts";
import { OP_BYTES, PAYLOAD_DEPTH } from "./opencode.ts";
import type { Oracle } from "./oracle.ts";
import type { Timeline } from "./timeline.ts";

export const LEDGER_OPS = 40;
export const LIMITS = {
	ops_per_batch: 6,
	batch_bytes: 3000,
	op_bytes: OP_BYTES,
	payload_depth: PAYLOAD_DEPTH,
	sealed_ops: 20,
};
export const KEY = "server-key-of-the-simulation-0123456789";

/** How the server's next calls end that should have been decided. */
export interface Trouble {
	/** Calls that fail before anything was done, and after it was. */
	before: number;
	after: number;
	/** Calls that are put off. */
	busy: number;
}

/** What a share holds, as its tables tell. */
export interface Held {
	readonly share_id: string;
	readonly cursor: number;
	readonly isDeleted: boolean;
	/** Digests of the live entities, by key. */
	readonly digests: ReadonlyMap<string, string>;
}

/** A share server on the simulated network, as a world meets it. */
export interface ServerHost {
	/** Names the server in create keys. */
	readonly id: string;
	readonly trouble: Trouble;
	/** Calls that reached the rules. */
	readonly calls: number;
	/** Whom it lets in: nobody while false. */
	knowsKey: boolean;
	readonly key: string;
	readonly rules: Rules;
	readonly isUp: boolean;
	start(): Promise<void>;
	/** Dies at once; what it committed stays. */
	stop(): void;
	takeBackup(): Eventual<void>;
	/** Starts again from the backup; false when there is none. */
	restore(): Promise<boolean>;
	heal(): void;
	held(): Eventual<readonly Held[]>;
}

/** What a host is made on. */
export interface ServerSite {
	readonly dir: string;
	readonly clock: Clock;
	readonly timeline: Timeline;
	readonly network: Network;
	readonly oracle: Oracle;
	readonly dice: Dice;
}

/** The share server: production rules, RPC and database on the simulated network. */
export class SimulatedServer implements ServerHost {
	readonly id = "simulated";
	readonly trouble: Trouble = { before: 0, after: 0, busy: 0 };
	calls = 0;
	knowsKey = true;
	readonly key = KEY;
	readonly #dir: string;
	readonly #clock: Clock;
	readonly #network: Network;
	readonly #oracle: Oracle;
	readonly #dice: Dice;
	#version = 0;
	#sqlite: Sqlite | undefined;
	#rules: ShareRules | undefined;
	#backup: { path: string; restore: () => void } | undefined;

	constructor({ dir, clock, network, oracle, dice }: ServerSite) {
		this.#dir = dir;
		this.#clock = clock;
		this.#network = network;
		this.#oracle = oracle;
		this.#dice = dice;
	}

	get rules(): ShareRules {
		if (this.#rules === undefined) throw new Error("the server is down");
		return this.#rules;
	}

	get isUp(): boolean {
		return this.#rules !== undefined;
	}

	get sqlite(): Sqlite {
		if (this.#sqlite === undefined) throw new Error("the server is down");
		return this.#sqlite;
	}

	async start(): Promise<void> {
		const sqlite = await openDatabase(this.#path, SHARE_DATABASE);
		this.#sqlite = sqlite;
		const options: ShareRulesOptions = {
			clock: this.#clock,
			random: (size) => Uint8Array.from({ length: size }, () => this.#dice.int(0, 255)),
			serverKeys: [KEY],
			url: (slug) => `http://share/share/${slug}`,
			limits: LIMITS,
			ledgerOps: LEDGER_OPS,
		};
		this.#rules = new ObservedRules(await sqlite.orm(), options, this, this.#oracle);
		const hub = new Hub();
		const redactor = new Redactor(silent, options.random);
		const context: RpcContext = { rules: this.#rules, hub, clock: this.#clock };
		this.#network.serve(hostOf(context, redactor));
	}

	stop(): void {
		this.#network.serve(undefined);
		this.#sqlite?.close();
		this.#sqlite = undefined;
		this.#rules = undefined;
	}

	takeBackup(): void {
		const path = `${this.#dir}/backup.db`;
		this.sqlite.exec("PRAGMA wal_checkpoint(TRUNCATE)");
		copyDatabase(this.#path, path);
		this.#backup = { path, restore: this.#oracle.backup() };
	}

	async restore(): Promise<boolean> {
		if (this.#backup === undefined) return false;
		this.stop();
		this.#version++;
		copyDatabase(this.#backup.path, this.#path);
		this.#backup.restore();
		await this.start();
		return true;
	}

	held(): Held[] {
		const shares = this.sqlite.prepare<{ share_id: string; cursor: number; deleted_at: number | null }>(
			"SELECT share_id, cursor, deleted_at FROM share",
		);
		const entities = this.sqlite.prepare<{ key: string; digest: string }>(
			"SELECT key, digest FROM entity WHERE share_id = ? AND digest IS NOT NULL",
		);
		return shares.all().map(({ share_id, cursor, deleted_at }) => {
			const digests = new Map(entities.all(share_id).map((row) => [row.key, row.digest]));
			return { share_id, cursor, isDeleted: deleted_at !== null, digests };
		});
	}

	heal(): void {
		Object.assign(this.trouble, { before: 0, after: 0, busy: 0 });
		this.knowsKey = true;
	}

	get #path(): string {
		return `${this.#dir}/share-${this.#version}.db`;
	}
}

export function hostOf(context: RpcContext, redactor: Redactor): Host {
	const options = { onSendError: redactor.sent, limits: RPC_LIMITS };
	const apiOf = (kind: "post" | "socket") => new Api(context, new Connection(kind, redactor, () => undefined));
	return {
		accept(socket: WebSocket) {
			const transport = new WebSocketTransport(socket as unknown as globalThis.WebSocket);
			new RpcSession(guarded(transport, "client"), apiOf("socket"), options);
		},
		async post(body) {
			const transport = new PostTransport(body);
			const session = new RpcSession(transport, apiOf("post"), options);
			await transport.allReceived;
			await session.drain();
			return transport.answer();
		},
	};
}

/** The rules, watched by the oracle, on a machine that fails now and then. */
class ObservedRules extends ShareRules {
	readonly #server: SimulatedServer;
	readonly #oracle: Oracle;

	constructor(orm: Orm, options: ShareRulesOptions, server: SimulatedServer, oracle: Oracle) {
		super(orm, options);
		this.#server = server;
		this.#oracle = oracle;
	}

	override createShare(serverKey: string, request: CreateShareRequest): ShareGrant {
		return this.#call(() => {
			if (!this.#server.knowsKey) return super.createShare(`not ${serverKey}`, request);
			const grant = super.createShare(serverKey, request);
			this.#oracle.made(grant.share_id, request.session_id);
			return grant;
		});
	}

	override redeemShare(shareId: string, secret: string): Holder {
		return this.#call(() => super.redeemShare(shareId, secret));
	}

	override redemption(holder: Holder): ShareRedemption {
		return this.#call(() => super.redemption(holder));
	}

	override appendOps(holder: Holder, batch: AppendBatch): OpAck {
		return this.#call(() => {
			const ack = super.appendOps(holder, batch);
			this.#oracle.appended(holder.share_id, batch, ack);
			return ack;
		});
	}

	override entityDigests(holder: Holder, after?: string): DigestPage {
		return this.#call(() => super.entityDigests(holder, after));
	}

	override revokeCapability(holder: Holder, request: RevokeRequest): ShareGrant {
		return this.#call(() => super.revokeCapability(holder, request));
	}

	override deleteShare(holder: Holder): void {
		this.#call(() => {
			super.deleteShare(holder);
			this.#oracle.deleted(holder.share_id);
		});
	}

	#call<T>(body: () => T): T {
		const { trouble } = this.#server;
		this.#server.calls++;
		if (trouble.busy > 0 && trouble.busy--) throw new ShareRefusal("busy", "Later.", { retry_after_ms: 500 });
		if (trouble.before > 0 && trouble.before--) throw new Error("disk I/O error");
		const result = body();
		if (trouble.after > 0 && trouble.after--) throw new Error("disk I/O error");
		return result;
	}
}
