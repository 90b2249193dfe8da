import { randomBytes } from "node:crypto";
import { onTestFinished } from "vitest";
import { LIMITS } from "../../src/protocol/limits.ts";
import type { AppendBatch, OpAck, RevokeRequest } from "../../src/protocol/schema.ts";
import type { Holder, ShareRules } from "../../src/server/share.ts";
import { type ScriptedServer, startScriptedServer } from "../fixture/scripted-server.ts";
import { startRules } from "../server/rules.ts";

export type Method = "createShare" | "redemption" | "appendOps" | "entityDigests" | "revokeCapability";

/** What the liar says in place of the honest answer to the next call of `method`. */
export interface Lie {
	readonly method: Method;
	/** Whether the honest server gets to see the call; without it `honest` is what it would have answered. */
	readonly isDone: boolean;
	tell(honest: unknown): unknown;
	/** How often it is told; once unless set. */
	times?: number;
}

/** An honest server's rules behind a scripted server that lies when told to. One session at a time. */
export interface Liar extends ScriptedServer {
	readonly rules: ShareRules;
	lie: Lie | undefined;
	/** How often it has lied. */
	lies: number;
	/** What the honest server has applied, in order: the op_ids of the share redeemed last. */
	applied(): string[];
	digests(): Map<string, string>;
}

export async function startLiar(): Promise<Liar> {
	const { share: rules, sqlite, close } = await startRules({ sealedOps: LIMITS.sealed_ops, ledgerOps: 5000 });
	const server = await startScriptedServer();
	onTestFinished(async () => {
		await server.close();
		close();
	});
	let holder: Holder | undefined;
	const held = () => {
		if (!holder) throw new Error("nothing was redeemed");
		return holder;
	};
	const answer = (method: Method, honest: () => unknown, pretended: () => unknown): unknown => {
		const { lie } = liar;
		if (lie?.method !== method) return honest();
		liar.lies++;
		if (liar.lies >= (lie.times ?? 1)) liar.lie = undefined;
		return lie.tell(lie.isDone ? honest() : pretended());
	};
	Object.assign(server.script, {
		createShare: (key: string, request: { session_id: string; create_key: string }) => {
			const make = () => rules.createShare(key, request);
			return answer("createShare", make, make);
		},
		redeemShare: (shareId: string, secret: string) => {
			holder = rules.redeemShare(shareId, secret);
		},
		redemption: () => {
			const tell = () => rules.redemption(held());
			return answer("redemption", tell, tell);
		},
		appendOps: (batch: AppendBatch) =>
			answer(
				"appendOps",
				() => rules.appendOps(held(), batch),
				() => asIfApplied(batch),
			),
		entityDigests: (after?: string) => {
			const tell = () => rules.entityDigests(held(), after);
			return answer("entityDigests", tell, tell);
		},
		revokeCapability: (request: RevokeRequest) => {
			const told = (epoch: number) => ({
				...{ share_id: held().share_id, slug: "s".repeat(24), url: "http://127.0.0.1/share/s" },
				...{ secret: randomBytes(32).toString("base64url"), capability_epoch: epoch },
			});
			return answer(
				"revokeCapability",
				() => rules.revokeCapability(held(), request),
				() => told(held().capability_epoch + 1),
			);
		},
		deleteShare: () => rules.deleteShare(held()),
	});
	const liar: Liar = Object.assign(Object.create(server) as ScriptedServer, {
		...{ rules, lie: undefined, lies: 0 },
		applied: () =>
			sqlite
				.prepare<{ op_id: string }>("SELECT op_id FROM ledger WHERE share_id = ? ORDER BY position")
				.all(held().share_id)
				.map(({ op_id }) => op_id),
		digests: () => {
			const fresh = { ...held(), capability_epoch: epochOf(sqlite, held().share_id) };
			return new Map(rules.entityDigests(fresh).entities.map(({ key, digest }) => [key, digest]));
		},
	});
	return liar;
}

function epochOf(sqlite: Awaited<ReturnType<typeof startRules>>["sqlite"], shareId: string): number {
	const row = sqlite.prepare<{ epoch: number }>("SELECT capability_epoch AS epoch FROM share WHERE share_id = ?");
	return row.get(shareId)?.epoch ?? 0;
}

/** The ack that an honest server would give if nothing were in the way. */
function asIfApplied(batch: AppendBatch): OpAck {
	const last = batch.ops.at(-1)?.expected_cursor ?? -1;
	return { cursor: last + 1, applied: batch.ops.map(({ op_id }) => op_id), duplicates: [], rejected: [] };
}
