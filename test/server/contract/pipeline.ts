import type { RpcStub } from "capnweb";
import { describe, expect, test } from "vitest";
import type { ShareCapability, ShareRpc } from "../../../src/protocol/rpc.ts";
import { batchOf, type Client, connect, openShare, plain, post, refusal, rotation } from "../client.ts";
import type { Host } from "./host.ts";

const KEEP = { rotate_secret: false, rotate_slug: false } as const;

interface Ended {
	readonly cursor?: number;
	readonly code?: string;
}

/** How a call ended: with a cursor, or with a code. */
function endOf(call: PromiseLike<{ cursor: number }>): Promise<Ended> {
	return Promise.resolve(call).then(
		({ cursor }) => ({ cursor }),
		({ code }) => ({ code }),
	);
}

/** What a revocation does to calls that are under way: those before it count, those behind it do not (G2, G3, G8). */
export function pipelineContract(host: () => Host): void {
	async function withClient<T>(body: (client: Client) => Promise<T>): Promise<T> {
		const client = await connect(host().url);
		try {
			return await body(client);
		} finally {
			await client.close();
		}
	}

	/** Runs `body` on what a transport pipelines from: a socket's session, or a fresh POST. */
	const transports: [name: string, run: <T>(body: (api: RpcStub<ShareRpc>) => Promise<T>) => Promise<T>][] = [
		["a WebSocket", (body) => withClient(({ api }) => body(api))],
		["one POST", (body) => body(post(host().url))],
	];

	describe.each(transports)("pipelined over %s", (_, run) => {
		test.each([
			["a revocation", "stale_epoch", (share: RpcStub<ShareCapability>) => share.revokeCapability(KEEP)],
			["a rotation", "stale_epoch", (share: RpcStub<ShareCapability>) => share.revokeCapability(rotation(true))],
			["a deletion", "revoked", (share: RpcStub<ShareCapability>) => share.deleteShare()],
		])("what is behind %s is refused, what is before it counts", async (_name, code, end) => {
			await withClient(async (owner) => {
				const { grant, share } = await openShare(owner);
				const ends = await run(async (api) => {
					const held = api.redeemShare(grant.share_id, grant.secret) as unknown as RpcStub<ShareCapability>;
					const append = (at: number) => endOf(held.appendOps(batchOf(at, plain(1))));
					const before = [append(0), append(1)];
					const ended = Promise.resolve(end(held));
					return await Promise.all([...before, ended.then(() => ({}) as Ended), append(2), append(3)]);
				});
				expect(ends).toEqual([{ cursor: 1 }, { cursor: 2 }, {}, { code }, { code }]);
				expect(await refusal(share.redemption())).toMatchObject({ code });
			});
		});

		test("a redemption behind a rotation is refused with the old secret", async () => {
			await withClient(async (owner) => {
				const { grant } = await openShare(owner);
				const request = rotation();
				const [rotated, old] = await run(async (api) => {
					const rotating = api.redeemShare(grant.share_id, grant.secret).revokeCapability(request);
					const again = api.redeemShare(grant.share_id, grant.secret);
					return await Promise.all([rotating, endOf(again.appendOps(batchOf(0, plain(1))))]);
				});
				// The rotation waits for its capability: the second redemption may overtake it, and is worth nothing then.
				expect(["denied", "stale_epoch"]).toContain(old.code);
				const anew = await owner.api.redeemShare(grant.share_id, request.next_secret);
				expect(await anew.redemption()).toMatchObject({ cursor: 0, capability_epoch: rotated.capability_epoch });
			});
		});
	});

	test.each([
		["a revocation", "stale_epoch", (share: RpcStub<ShareCapability>) => share.revokeCapability(KEEP)],
		["a deletion", "revoked", (share: RpcStub<ShareCapability>) => share.deleteShare()],
	])(
		"%s by another connection cuts a series of appends in two: a prefix is applied, nothing behind it",
		async (_name, code, end) => {
			await withClient((client) =>
				withClient(async (other) => {
					const { grant, share } = await openShare(client);
					const rival = await other.api.redeemShare(grant.share_id, grant.secret);
					const append = (from: number, count: number) =>
						Array.from({ length: count }, (_value, index) => endOf(share.appendOps(batchOf(from + index, plain(1)))));
					const first = append(0, 40);
					// Under way together; how the server mixes them is the system's own choice.
					const ended = first[0]?.then(async () => void (await end(rival)));
					const more = append(40, 40);
					await ended;
					const last = append(80, 5);
					const ends = await Promise.all([...first, ...more, ...last]);
					const applied = ends.findIndex((call) => call.cursor === undefined);
					expect(applied).toBeGreaterThanOrEqual(1);
					expect(applied).toBeLessThanOrEqual(80);
					expect(ends).toEqual(ends.map((_call, index) => (index < applied ? { cursor: index + 1 } : { code })));
					if (code === "revoked") return;
					const anew = await client.api.redeemShare(grant.share_id, grant.secret);
					expect(await anew.redemption()).toMatchObject({ cursor: applied, last_op_id: `op-${applied - 1}` });
					expect((await anew.entityDigests()).entities).toHaveLength(applied);
				}),
			);
		},
	);

	describe("a view capability is not upgraded", () => {
		/** Calls and paths as no client of ours sends them; `1` is the view capability, as the server knows it. */
		const tricks = [
			'["pipeline",1,["constructor"],[]]',
			'["pipeline",1,["constructor","prototype","appendOps"],[]]',
			'["pipeline",1,["__proto__"]]',
			'["pipeline",1,["__proto__","deleteShare"],[]]',
			'["pipeline",1,["deleteShare","call"],[]]',
			'["pipeline",1,["redemption","constructor"],["return process"]]',
			'["pipeline",1,["redemption","bind"],[]]',
			'["pipeline",1,["#holder"]]',
			'["pipeline",1,["#holder","scope"]]',
			'["pipeline",1,["#context","rules"]]',
			'["pipeline",1,["holder"]]',
			'["pipeline",1,["rules","deleteShare"],[]]',
			'["pipeline",1,["createShare"],["key",{}]]',
			'["pipeline",1,["redeemShare"],["id","secret"]]',
			'["pipeline",1,["toString"],[]]',
			'["pipeline",1,["valueOf"],[]]',
			'["pipeline",1,["__defineGetter__"],["scope",1]]',
			'["pipeline",1,["Symbol.dispose"],[]]',
			'["pipeline",1,[0],[]]',
			'["pipeline",1,["then"],[]]',
		];

		test.each(tricks)("by %s", async (trick) => {
			await withClient(async (owner) => {
				const { grant, share } = await openShare(owner);
				const body = [`["push",["pipeline",0,["viewShare"],["${grant.slug}"]]]`, `["push",${trick}]`, '["pull",2]'];
				const response = await fetch(`${host().url}/rpc`, { method: "POST", body: body.join("\n") });
				const answer = await response.text();
				expect(answer).toMatch(/^\["(?:reject|resolve)",2,/);
				if (answer.startsWith('["resolve"')) expect(answer).toBe('["resolve",2,["undefined"]]');
				expect(await share.redemption()).toMatchObject({ cursor: 0, capability_epoch: 1 });
				await share.appendOps(batchOf(0, plain(1)));
			});
		});

		test("by calling its answers, or handing it in where a secret belongs", async () => {
			await withClient(async (owner) => {
				const { grant, share } = await openShare(owner);
				const view = owner.api.viewShare(grant.slug);
				const append = view.redemption() as unknown as RpcStub<ShareCapability>;
				expect(await endOf(append.appendOps(batchOf(0, plain(1))))).toEqual({ code: undefined });
				const held = await view;
				const wrong = owner.api.redeemShare(grant.share_id, held as never);
				expect(await refusal(wrong)).toMatchObject({ code: "invalid_request" });
				expect(await share.redemption()).toMatchObject({ cursor: 0 });
			});
		});
	});
}
