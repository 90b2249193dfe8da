import type { RpcStub } from "capnweb";
import { describe, expect, test } from "vitest";
import type { ShareCapability } from "../../../src/protocol/rpc.ts";
import {
	batchOf,
	type Client,
	connect,
	createKey,
	makeShare,
	openShare,
	plain,
	refusal,
	rotation,
	SERVER_KEY,
	Viewer,
} from "../client.ts";
import { type Decision, type Host, OTHER_SERVER_KEY } from "./host.ts";

const KEEP = { rotate_secret: false, rotate_slug: false } as const;

/** Everything that a capability can be asked for. */
function everyCall(share: RpcStub<ShareCapability>): [method: string, call: () => PromiseLike<unknown>][] {
	return [["redemption", () => share.redemption()], ["watch", () => share.watch(new Viewer(), 0)], ...writes(share)];
}

function writes(share: RpcStub<ShareCapability>): [method: string, call: () => PromiseLike<unknown>][] {
	return [
		["appendOps", () => share.appendOps(batchOf(0, plain(1)))],
		["entityDigests", () => share.entityDigests()],
		["publishDelta", () => share.publishDelta({ key: "k", field: "text", delta: "x" })],
		["revokeCapability", () => share.revokeCapability(rotation(true))],
		["deleteShare", () => share.deleteShare()],
	];
}

/** What a capability is worth, to whom, and until when (G8). */
export function capabilityContract(client: () => Client, host: () => Host): void {
	/** What was decided about any share while `body` ran; equal decisions may be told as one. */
	async function decided(body: () => Promise<void>): Promise<Decision[]> {
		const before = (await host().audit()).length;
		await body();
		const decisions = (await host().audit()).slice(before).filter(([, , shareId]) => shareId !== null);
		return [...new Map(decisions.map((decision) => [decision.join(" "), decision])).values()];
	}

	/** Refused, on record, and about no share that exists. */
	async function expectRefused(method: string, code: string): Promise<void> {
		expect(await host().audit()).toContainEqual(["refused", method, null, code]);
	}

	describe("a capability", () => {
		test("that another connection has revoked can do nothing, and each refusal is on record", async () => {
			const { grant, share } = await openShare(client());
			const other = await connect(host().url);
			const rival = await other.api.redeemShare(grant.share_id, grant.secret);
			const { capability_epoch } = await rival.revokeCapability(KEEP);
			expect(capability_epoch).toBeGreaterThan(grant.capability_epoch);
			const stale = { code: "stale_epoch", details: { capability_epoch } };
			const decisions = await decided(async () => {
				for (const [, call] of everyCall(share)) expect(await refusal(call())).toEqual(stale);
			});
			expect(decisions).toEqual(everyCall(share).map(([method]) => ["refused", method, grant.share_id, "stale_epoch"]));
			const anew = await client().api.redeemShare(grant.share_id, grant.secret);
			expect(await anew.redemption()).toMatchObject({ cursor: 0, capability_epoch });
			expect(await anew.appendOps(batchOf(0, [{ capability_epoch }]))).toMatchObject({ cursor: 1 });
			await other.close();
		});

		test.each(["append", "view"])("of scope %s outlives no rotation and no deletion", async (scope) => {
			const ends: ((share: RpcStub<ShareCapability>) => PromiseLike<unknown>)[] = [
				(share) => share.revokeCapability(rotation()),
				(share) => share.revokeCapability({ rotate_secret: false, rotate_slug: true }),
				(share) => share.deleteShare(),
			];
			for (const [index, end] of ends.entries()) {
				const { grant, share } = await openShare(client());
				const kept = await (scope === "view"
					? client().api.viewShare(grant.slug)
					: client().api.redeemShare(grant.share_id, grant.secret));
				await end(share);
				const code = index === 2 ? "revoked" : "stale_epoch";
				for (const call of [() => kept.redemption(), () => kept.watch(new Viewer(), 0)])
					expect(await refusal(call())).toMatchObject({ code });
				// Who may not write at all is told so, and nothing else.
				expect(await refusal(kept.appendOps(batchOf(0, plain(1))))).toMatchObject({
					code: scope === "view" ? "denied" : code,
				});
			}
		});

		test("of scope view can write nothing, and is refused before its arguments are looked at", async () => {
			const { grant, share } = await openShare(client());
			await share.appendOps(batchOf(0, plain(2)));
			const before = [await share.redemption(), await share.entityDigests()];
			const view = await client().api.viewShare(grant.slug);
			const nonsense = view as unknown as Record<string, (argument: unknown) => PromiseLike<unknown>>;
			const decisions = await decided(async () => {
				for (const [method, call] of writes(view)) {
					expect(await refusal(call())).toEqual({ code: "denied", details: {} });
					expect(await refusal(nonsense[method]?.({ ops: 7 }) ?? call())).toEqual({ code: "denied", details: {} });
				}
			});
			expect(decisions).toEqual(writes(view).map(([method]) => ["refused", method, grant.share_id, "denied"]));
			expect([await share.redemption(), await share.entityDigests()]).toEqual(before);
			expect(await view.redemption()).toMatchObject({ scope: "view", cursor: 2, capability_epoch: 1 });
		});

		test("of one share is of no use for another, whatever ids it is given", async () => {
			const [mine, theirs] = [await openShare(client()), await openShare(client())];
			await theirs.share.appendOps(batchOf(0, plain(3)));
			const before = [await theirs.share.redemption(), await theirs.share.entityDigests()];
			// The other share's op ids are new here, and what it has applied is no dependency.
			expect(await mine.share.appendOps(batchOf(0, plain(1)))).toMatchObject({ cursor: 1, applied: ["op-0"] });
			expect(await mine.share.appendOps(batchOf(1, [{ depends_on: "op-2" }]))).toMatchObject({
				rejected: [{ code: "missing_dependency" }],
			});
			expect((await mine.share.entityDigests()).entities.map(({ key }) => key)).toEqual(["message/msg_0"]);
			const decisions = await decided(async () => {
				const wrong = [
					() => client().api.redeemShare(theirs.grant.share_id, mine.grant.secret),
					() => client().api.redeemShare(theirs.grant.slug, theirs.grant.secret),
					() => client().api.viewShare(theirs.grant.share_id),
				];
				expect((await Promise.all(wrong.map((call) => refusal(call())))).map(({ code }) => code)).toEqual([
					"denied",
					"not_found",
					"not_found",
				]);
			});
			expect(decisions).toEqual([["refused", "redeemShare", theirs.grant.share_id, "denied"]]);
			await expectRefused("redeemShare", "not_found");
			await expectRefused("viewShare", "not_found");
			expect([await theirs.share.redemption(), await theirs.share.entityDigests()]).toEqual(before);
		});
	});

	describe("a create key", () => {
		test("of one owner tells another owner nothing, and makes nothing", async () => {
			const keys = [SERVER_KEY, OTHER_SERVER_KEY];
			for (const [index, own] of keys.entries()) {
				const create_key = createKey();
				const request = { session_id: "ses_owned", create_key };
				const grant = await client().api.createShare(own, request);
				const decisions = await decided(async () => {
					const foreign = client().api.createShare(keys[1 - index] ?? "", request);
					expect(await refusal(foreign)).toEqual({ code: "denied", details: {} });
					expect(await client().api.createShare(own, request)).toEqual(grant);
				});
				expect(decisions).toEqual([["granted", "createShare", grant.share_id, null]]);
				await expectRefused("createShare", "denied");
			}
		});

		test("that could be guessed is refused", async () => {
			const call = makeShare(client().api, "ses_1", createKey().slice(0, 31));
			expect(await refusal(call)).toMatchObject({ code: "invalid_request" });
		});
	});
}
