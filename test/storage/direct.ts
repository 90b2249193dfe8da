import { randomBytes } from "node:crypto";
import { createKeysOf } from "../../src/model/identity.ts";
import type { AppendBatch } from "../../src/protocol/schema.ts";
import { SHARE_DATABASE } from "../../src/server/node.ts";
import { type Holder, ShareRules } from "../../src/server/share.ts";
import { openDatabase } from "../../src/sqlite/database.ts";
import type { Connection, RedeemedShare, Transport } from "../../src/transport/transport.ts";

export const SERVER_KEY = "server-key-of-the-tests-0123456789abcdef";
export const createKey = createKeysOf("identity-of-the-tests-0123456789abcdefghij");

export interface AppliedOp {
	readonly share_id: string;
	readonly position: number;
	readonly key: string;
	readonly payload: string;
	/** What must never change at a position once the server has taken it. */
	readonly bytes: string;
}

/** The server's rules on a file, and a way to them without a wire, on which everything that is applied is written down. */
export interface Server {
	readonly rules: ShareRules;
	readonly transport: Transport;
	readonly applied: AppliedOp[];
	digests(shareId: string, secret: string): Map<string, string>;
	close(): void;
}

export async function openServer(path: string): Promise<Server> {
	const sqlite = await openDatabase(path, SHARE_DATABASE);
	const rules = new ShareRules(await sqlite.orm(), {
		clock: { now: () => Date.now() },
		random: randomBytes,
		serverKeys: [SERVER_KEY],
		url: (slug) => `http://share.example/share/${slug}`,
	});
	const applied: AppliedOp[] = [];
	const handleOf = (holder: Holder): RedeemedShare => ({
		redemption: rules.redemption(holder),
		async appendOps(batch) {
			const ack = rules.appendOps(holder, batch);
			applied.push(...appliedOf(holder.share_id, batch, new Set(ack.applied)));
			return ack;
		},
		entityDigests: async (after) => rules.entityDigests(holder, after),
		revokeCapability: async (request) => rules.revokeCapability(holder, request),
		deleteShare: async () => rules.deleteShare(holder),
		publishDelta: async () => rules.publishDelta(holder),
	});
	return {
		rules,
		applied,
		transport: {
			async connect(): Promise<Connection> {
				const closed = new AbortController();
				return {
					kind: "websocket",
					closed: closed.signal,
					createShare: async (key, request) => rules.createShare(key, request),
					listShares: async (key, after) => rules.listShares(key, after),
					claimShare: async (key, request) => rules.claimShare(key, request),
					written: async () => undefined,
					redeem: async (shareId, secret) => handleOf(rules.redeemShare(shareId, secret)),
					close: () => closed.abort(new Error("closed")),
				};
			},
		},
		digests(shareId, secret) {
			const digests = new Map<string, string>();
			const holder = rules.redeemShare(shareId, secret);
			for (let after: string | undefined; ; ) {
				const page = rules.entityDigests(holder, after);
				for (const { key, digest } of page.entities) digests.set(key, digest);
				if (page.next === null) return digests;
				after = page.next;
			}
		},
		close: () => sqlite.close(),
	};
}

function appliedOf(share_id: string, batch: AppendBatch, ids: ReadonlySet<string>): AppliedOp[] {
	return batch.ops
		.filter((op) => ids.has(op.op_id))
		.map(({ op_id, type, key, payload, expected_cursor: position }) => {
			return { share_id, position, key, payload, bytes: `${op_id}\n${type}\n${key}\n${payload}` };
		});
}
