import { randomBytes, randomUUID } from "node:crypto";
import { silent } from "../../src/model/logger.ts";
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
import { Hub } from "../../src/server/hub.ts";
import { Redactor } from "../../src/server/redact.ts";
import type { Holder } from "../../src/server/share.ts";
import type { Env } from "../../src/server/worker/env.ts";
import { ObjectRules } from "../../src/server/worker/object-rules.ts";
import { Strangers } from "../../src/server/worker/strangers.ts";
import { type Binding, startWorker, type WorkerHost } from "../server/worker/host.ts";
import {
	type Held,
	hostOf,
	KEY,
	LEDGER_OPS,
	LIMITS,
	type ServerHost,
	type ServerSite,
	type Trouble,
} from "./share-server.ts";

/** workerd, for the walks of one process: their shares have different ids. */
export function startObjects(): Promise<WorkerHost> {
	const bounds = JSON.stringify({ limits: LIMITS, ledgerOps: LEDGER_OPS });
	return startWorker({ isProbed: true, env: { SERVER_KEYS: KEY, BOUNDS: bounds } });
}

/**
 * The share server's objects on workerd, and the Worker's end of the sessions on the simulated network: no virtual time
 * passes while an object works. Where the server of a walk fails before or after a commit, an object is reset.
 */
export class ObjectServer implements ServerHost {
	readonly id = `objects ${randomUUID()}`;
	readonly trouble: Trouble = { before: 0, after: 0, busy: 0 };
	calls = 0;
	knowsKey = true;
	readonly key = KEY;
	readonly shares = new Set<string>();
	readonly site: ServerSite;
	readonly objects: WorkerHost;
	readonly rules: ObjectRules;
	isUp = false;
	#backup: { readonly shares: ReadonlySet<string>; readonly restore: () => void } | undefined;

	constructor(site: ServerSite, objects: WorkerHost) {
		this.site = site;
		this.objects = objects;
		this.rules = new ObservedObjects(this);
	}

	async start(): Promise<void> {
		const { clock, network } = this.site;
		this.isUp = true;
		network.serve(hostOf({ rules: this.rules, hub: new Hub(), clock }, new Redactor(silent, randomBytes)));
	}

	stop(): void {
		this.isUp = false;
		this.site.network.serve(undefined);
	}

	async takeBackup(): Promise<void> {
		await this.#ofEach((id) => this.share(id, "save"));
		this.#backup = { shares: new Set(this.shares), restore: this.site.oracle.backup() };
	}

	/** Every object goes back, and is fenced, as deploy/cloudflare/README.md has it. */
	async restore(): Promise<boolean> {
		const backup = this.#backup;
		if (backup === undefined) return false;
		this.stop();
		await this.#ofEach(async (id) => {
			const isThere = backup.shares.has(id);
			await this.share(id, isThere ? "rewind" : "erase").catch(() => undefined);
			if (isThere) await this.share(id, "fence", id);
			else this.shares.delete(id);
		});
		backup.restore();
		await this.start();
		return true;
	}

	heal(): void {
		Object.assign(this.trouble, { before: 0, after: 0, busy: 0 });
		this.knowsKey = true;
	}

	async held(): Promise<Held[]> {
		const held: Held[] = [];
		await this.#ofEach(async (share_id) => {
			const { digests, ...told } = (await this.share(share_id, "held")) as Omit<Held, "share_id" | "digests"> & {
				digests: [string, string][];
			};
			held.push({ share_id, ...told, digests: new Map(digests) });
		});
		return held;
	}

	share(id: string, method: string, ...args: readonly unknown[]): Promise<unknown> {
		return this.objects.probe("SHARE", id, method, ...args);
	}

	async #ofEach(act: (id: string) => Promise<unknown>): Promise<void> {
		await this.site.timeline.during(async () => {
			for (const id of [...this.shares]) await act(id);
		});
	}
}

/** The Worker's rules over workerd's objects, watched by the oracle. */
class ObservedObjects extends ObjectRules {
	readonly #server: ObjectServer;

	constructor(server: ObjectServer) {
		const { objects, site } = server;
		const namespace = (binding: Binding) => ({
			getByName: (name: string) =>
				new Proxy(
					{},
					{
						get:
							(_, method) =>
							(...args: unknown[]) =>
								objects.probe(binding, name, String(method), ...args),
					},
				),
		});
		const env = { SERVER_KEYS: KEY, SHARE: namespace("SHARE"), DIRECTORY: namespace("DIRECTORY") } as unknown as Env;
		super(env, (slug) => `http://share/share/${slug}`, new Strangers(), site.clock, true);
		this.#server = server;
	}

	override createShare(serverKey: string, request: CreateShareRequest): Promise<ShareGrant> {
		return this.#call(async () => {
			if (!this.#server.knowsKey) return super.createShare(`not ${serverKey}`, request);
			const grant = await super.createShare(serverKey, request);
			this.#server.shares.add(grant.share_id);
			this.#server.site.oracle.made(grant.share_id, request.session_id);
			return grant;
		});
	}

	override redeemShare(shareId: string, secret: string): Promise<Holder> {
		return this.#call(() => super.redeemShare(shareId, secret), shareId);
	}

	override redemption(holder: Holder): Promise<ShareRedemption> {
		return this.#call(() => super.redemption(holder), holder.share_id);
	}

	override appendOps(holder: Holder, batch: AppendBatch): Promise<OpAck> {
		const { site, trouble } = this.#server;
		const { share_id } = holder;
		return this.#call(async () => {
			if (trouble.after > 0 && trouble.after--) await this.#server.share(share_id, "dieAt", "after");
			try {
				return await super.appendOps(holder, batch);
			} finally {
				const told = (await this.#server.share(share_id, "drain")) as { batch: AppendBatch; ack: OpAck }[];
				for (const { batch, ack } of told) site.oracle.appended(share_id, batch, ack);
			}
		}, share_id);
	}

	override entityDigests(holder: Holder, after?: string): Promise<DigestPage> {
		return this.#call(() => super.entityDigests(holder, after), holder.share_id);
	}

	override revokeCapability(holder: Holder, request: RevokeRequest): Promise<ShareGrant> {
		return this.#call(() => super.revokeCapability(holder, request), holder.share_id);
	}

	override deleteShare(holder: Holder): Promise<void> {
		return this.#call(async () => {
			await super.deleteShare(holder);
			this.#server.site.oracle.deleted(holder.share_id);
		}, holder.share_id);
	}

	/** @param shareId whose object is reset where the call is to fail; none yet where a share is made. */
	#call<T>(body: () => Promise<T>, shareId?: string): Promise<T> {
		const { site, trouble } = this.#server;
		this.#server.calls++;
		const reset = async () => {
			if (shareId !== undefined) await this.#server.share(shareId, "die").catch(() => undefined);
			throw new Error("the object was reset");
		};
		return site.timeline.during(async () => {
			if (trouble.busy > 0 && trouble.busy--) throw new ShareRefusal("busy", "Later.", { retry_after_ms: 500 });
			if (trouble.before > 0 && trouble.before--) await reset();
			const result = await body();
			if (trouble.after > 0 && trouble.after--) await reset();
			return result;
		});
	}
}
