import { describe, expect, test } from "vitest";
import { firstSecret } from "../../../src/model/identity.ts";
import { LISTINGS_PER_PAGE } from "../../../src/protocol/limits.ts";
import type { ClaimRequest, ShareGrant, ShareListing } from "../../../src/protocol/schema.ts";
import { secret } from "../../evidence/record.ts";
import { batchOf, type Client, connect, createKey, makeShare, plain, refusal, SERVER_KEY, Viewer } from "../client.ts";
import { type Host, OTHER_SERVER_KEY } from "./host.ts";

/** How a share's owner finds it again without the machine that made it, and takes it over. */
export function claimContract(client: () => Client, host: () => Host): void {
	/** A request that nobody else has made. */
	function claimOf({ share_id }: ShareGrant, create_key = createKey()): ClaimRequest {
		const next_secret = firstSecret(create_key, share_id);
		secret("share secret", next_secret);
		return { share_id, create_key, next_secret };
	}

	async function listed(key = SERVER_KEY): Promise<ShareListing[]> {
		const shares: ShareListing[] = [];
		for (let after: string | undefined; ; ) {
			const page = await (after === undefined ? client().api.listShares(key) : client().api.listShares(key, after));
			shares.push(...page.shares);
			if (page.next === null) return shares;
			after = page.next;
		}
	}

	describe("a claim", () => {
		test("takes a share over: the new holder goes on, the old one is fenced and told when", async () => {
			const create_key = createKey();
			const old = await makeShare(client().api, "ses_claimed", create_key);
			const share = await client().api.redeemShare(old.share_id, old.secret);
			await share.appendOps(batchOf(0, plain(2)));
			const viewer = new Viewer();
			await (await client().api.viewShare(old.slug)).watch(viewer, 0);

			const before = Date.now();
			const grant = await client().api.claimShare(SERVER_KEY, claimOf(old));
			expect(grant).toMatchObject({ share_id: old.share_id, slug: old.slug, url: old.url });
			expect(grant.capability_epoch).toBeGreaterThan(old.capability_epoch);
			await viewer.until(() => viewer.endings.length > 0);

			expect(await refusal(share.appendOps(batchOf(2, plain(1))))).toMatchObject({
				code: "stale_epoch",
				details: { capability_epoch: grant.capability_epoch },
			});
			const calls = [
				() => client().api.redeemShare(old.share_id, old.secret),
				() => makeShare(client().api, "ses_claimed", create_key),
				() => makeShare(client().api, "ses_of_another_name", create_key),
				() => client().api.claimShare(SERVER_KEY, { ...claimOf(old, create_key) }),
			];
			for (const call of calls) {
				const { code, details } = (await refusal(call())) as { code: string; details: { claimed_at: number } };
				expect(code).toBe("denied");
				expect(details.claimed_at).toBeGreaterThanOrEqual(before - 1);
				expect(details.claimed_at).toBeLessThanOrEqual(Date.now() + 1);
			}
			expect((await listed()).filter(({ session_id }) => session_id === "ses_claimed")).toHaveLength(1);

			const anew = await client().api.redeemShare(grant.share_id, grant.secret);
			expect(await anew.redemption()).toMatchObject({ cursor: 2, capability_epoch: grant.capability_epoch });
			const { capability_epoch } = grant;
			expect(await anew.appendOps(batchOf(2, [{ capability_epoch }]))).toMatchObject({ cursor: 3 });
		});

		test("said again after a lost reply changes nothing, also with another connection in between", async () => {
			const old = await makeShare(client().api, "ses_again");
			const request = claimOf(old);
			const grant = await client().api.claimShare(SERVER_KEY, request);
			const other = await connect(host().url);
			expect(await other.api.claimShare(SERVER_KEY, request)).toEqual(grant);
			await other.close();
			const share = await client().api.redeemShare(grant.share_id, grant.secret);
			expect(await client().api.claimShare(SERVER_KEY, request)).toEqual(grant);
			expect(await share.redemption()).toMatchObject({ capability_epoch: grant.capability_epoch });
		});

		test("that was overtaken by a later one does not take the share back", async () => {
			const old = await makeShare(client().api, "ses_overtaken");
			const [first, second] = [claimOf(old), claimOf(old)];
			await client().api.claimShare(SERVER_KEY, first);
			const grant = await client().api.claimShare(SERVER_KEY, second);
			expect(await refusal(client().api.claimShare(SERVER_KEY, first))).toMatchObject({
				code: "denied",
				details: { claimed_at: expect.any(Number) },
			});
			await client().api.redeemShare(grant.share_id, grant.secret);
		});

		test("with the derived secret leaves a share that its create key finds again", async () => {
			const old = await makeShare(client().api, "ses_found");
			const request = claimOf(old);
			const grant = await client().api.claimShare(SERVER_KEY, request);
			expect(await makeShare(client().api, "ses_found", request.create_key)).toEqual(grant);
		});

		test("is for the owner only, and tells a guesser nothing", async () => {
			const old = await makeShare(client().api, "ses_owned");
			const request = claimOf(old);
			const refused = [
				[client().api.claimShare(OTHER_SERVER_KEY, request), "denied"],
				[client().api.claimShare("not-a-key", request), "denied"],
				[client().api.claimShare(SERVER_KEY, { ...request, share_id: "shr_unknown" }), "not_found"],
				[client().api.listShares("not-a-key"), "denied"],
			] as const;
			for (const [call, code] of refused) expect(await refusal(call)).toEqual({ code, details: {} });
			await client().api.redeemShare(old.share_id, old.secret);

			const claimed = await client().api.claimShare(SERVER_KEY, request);
			const other = await makeShare(client().api, "ses_other");
			const guesses = [
				client().api.redeemShare(claimed.share_id, createKey()),
				client().api.redeemShare(other.share_id, old.secret),
				client().api.createShare(OTHER_SERVER_KEY, { session_id: "ses_owned", create_key: request.create_key }),
				client().api.claimShare(SERVER_KEY, claimOf(other, request.create_key)),
			];
			for (const call of guesses) expect(await refusal(call)).toEqual({ code: "denied", details: {} });
			expect(await refusal(client().api.viewShare(old.secret))).toMatchObject({ code: "not_found" });
		});

		test("of a deleted share is revoked, and one that could be guessed is no request", async () => {
			const old = await makeShare(client().api, "ses_gone");
			const share = await client().api.redeemShare(old.share_id, old.secret);
			const bad = { ...claimOf(old), next_secret: "too-short" };
			expect(await refusal(client().api.claimShare(SERVER_KEY, bad))).toMatchObject({ code: "invalid_request" });
			await share.deleteShare();
			expect(await refusal(client().api.claimShare(SERVER_KEY, claimOf(old)))).toMatchObject({ code: "revoked" });
		});

		test("is in the audit log, and so is who asked for a list", async () => {
			const old = await makeShare(client().api, "ses_audited");
			await client().api.claimShare(SERVER_KEY, claimOf(old));
			await refusal(client().api.redeemShare(old.share_id, old.secret));
			await client().api.listShares(SERVER_KEY);
			expect((await host().audit()).slice(-4)).toEqual([
				["granted", "createShare", old.share_id, null],
				["claimed", "claimShare", old.share_id, null],
				["refused", "redeemShare", old.share_id, "denied"],
				["listed", "listShares", null, null],
			]);
		});
	});

	describe("a list of shares", () => {
		test("tells what the session says of itself, what is deleted, and only the owner's", async () => {
			const { api } = client();
			const grant = await makeShare(api, "ses_listed");
			const share = await api.redeemShare(grant.share_id, grant.secret);
			const session = { id: "ses_listed", title: "A title", directory: "/a", parentID: "ses_p", time: { updated: 7 } };
			await share.appendOps(batchOf(0, [{ type: "session", key: "session", payload: JSON.stringify(session) }]));
			const marked = await makeShare(api, "ses_marked");
			const mark = { type: "session_deleted", key: "session_deleted", payload: "{}" } as const;
			await (await api.redeemShare(marked.share_id, marked.secret)).appendOps(
				batchOf(0, [{ type: "session", key: "session", payload: '{"title":1,"time":"never"}' }, mark]),
			);
			const gone = await makeShare(api, "ses_tombstone");
			await (await api.redeemShare(gone.share_id, gone.secret)).deleteShare();
			const foreign = await api.createShare(OTHER_SERVER_KEY, { session_id: "ses_foreign", create_key: createKey() });
			secret("share secret", foreign.secret);

			const of = (list: ShareListing[], { share_id }: ShareGrant) => list.filter((one) => one.share_id === share_id);
			// A host whose shares tell a list of themselves may tell it late.
			const titleOf = (list: ShareListing[]) => of(list, grant)[0]?.title;
			const isMarked = (list: ShareListing[]) => of(list, marked)[0]?.session_deleted;
			await expect
				.poll(async () => {
					const list = await listed();
					return [titleOf(list), isMarked(list)];
				})
				.toEqual(["A title", true]);
			const mine = await listed();
			const nothing = { parent_id: null, title: null, directory: null, updated_at: null };
			const { share_id, slug, url } = grant;
			expect(of(mine, grant).map(({ as_of, ...told }) => told)).toEqual([
				{
					...{ share_id, slug, url, session_id: "ses_listed", cursor: 1, created_at: expect.any(Number) },
					...{ deleted: false, session_deleted: false },
					...{ parent_id: "ses_p", title: "A title", directory: "/a", updated_at: 7 },
				},
			]);
			expect(of(mine, marked)).toMatchObject([{ deleted: false, session_deleted: true, ...nothing }]);
			expect(of(mine, gone)).toMatchObject([{ deleted: true, session_deleted: false, ...nothing }]);
			expect(of(mine, foreign)).toEqual([]);
			const theirs = await listed(OTHER_SERVER_KEY);
			expect(of(theirs, foreign)).toHaveLength(1);
			expect(of(theirs, grant)).toEqual([]);
			expect(JSON.stringify(mine)).not.toContain(grant.secret);
		});

		test("comes in pages, each share once", async () => {
			const names = Array.from({ length: LISTINGS_PER_PAGE + 1 }, (_, share) => `ses_page_${share}`);
			await Promise.all(names.map((name) => makeShare(client().api, name)));
			const { shares, next } = await client().api.listShares(SERVER_KEY);
			expect(shares).toHaveLength(LISTINGS_PER_PAGE);
			expect(next).toBe(shares.at(-1)?.share_id);
			const ids = (await listed()).map((one) => one.share_id);
			expect(new Set(ids).size).toBe(ids.length);
			expect(ids.length).toBeGreaterThan(LISTINGS_PER_PAGE);
		});
	});
}
