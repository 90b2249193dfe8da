import { describe, expect, test } from "vitest";
import {
	batchOf,
	type Client,
	createKey,
	makeShare,
	openShare,
	plain,
	refusal,
	rotation,
	SERVER_KEY,
} from "../client.ts";
import { type Host, OTHER_SERVER_KEY } from "./host.ts";

/** Who gets in, and who no more. */
export function grantContract(client: () => Client, host: () => Host): void {
	describe("grants", () => {
		test("creating a share twice with one key gives the same grant and one share", async () => {
			const create_key = createKey();
			const first = await makeShare(client().api, "ses_twice", create_key);
			expect(await makeShare(client().api, "ses_twice", create_key)).toEqual(first);
			expect(first.url).toBe(`${host().url}/share/${first.slug}`);
			expect((await makeShare(client().api, "ses_twice")).share_id).not.toBe(first.share_id);
		});

		test("ids are unguessable", async () => {
			const grants = await Promise.all(Array.from({ length: 20 }, () => makeShare(client().api)));
			for (const field of ["share_id", "slug", "secret"] as const)
				expect(new Set(grants.map((grant) => grant[field])).size).toBe(grants.length);
			for (const { slug, share_id } of grants) {
				expect(slug).toMatch(/^[a-zA-Z0-9_-]{22,64}$/);
				expect(share_id.length).toBeGreaterThanOrEqual(22);
			}
		});

		test("a create key is good for its session and its owner only", async () => {
			const create_key = createKey();
			await makeShare(client().api, "ses_mine", create_key);
			const foreign = [
				client().api.createShare(SERVER_KEY, { session_id: "ses_other", create_key }),
				client().api.createShare(OTHER_SERVER_KEY, { session_id: "ses_mine", create_key }),
			];
			for (const call of foreign) expect(await refusal(call)).toMatchObject({ code: "denied" });
		});

		test("who has no server key makes no share", async () => {
			const call = client().api.createShare("not-a-key", { session_id: "ses_1", create_key: createKey() });
			expect(await refusal(call)).toMatchObject({ code: "denied" });
		});

		test("an unknown share is not_found, a wrong secret is denied", async () => {
			const { grant } = await openShare(client());
			const wrong = grant.secret.replace(/^./, (first) => (first === "A" ? "B" : "A"));
			expect(await refusal(client().api.redeemShare(grant.share_id, wrong))).toMatchObject({ code: "denied" });
			expect(await refusal(client().api.redeemShare("shr_unknown", grant.secret))).toMatchObject({ code: "not_found" });
			expect(await refusal(client().api.viewShare("a-slug-nobody-has-01"))).toMatchObject({ code: "not_found" });
		});

		test("a rotated secret is denied, a rotated slug revoked, and the new ones work", async () => {
			const create_key = createKey();
			const old = await makeShare(client().api, "ses_rotated", create_key);
			const share = await client().api.redeemShare(old.share_id, old.secret);
			const grant = await share.revokeCapability(rotation(true));
			expect(grant.secret).not.toBe(old.secret);
			expect(await refusal(client().api.redeemShare(old.share_id, old.secret))).toMatchObject({ code: "denied" });
			expect(await refusal(client().api.viewShare(old.slug))).toMatchObject({ code: "revoked" });
			expect(await refusal(makeShare(client().api, "ses_rotated", create_key))).toMatchObject({ code: "revoked" });
			const anew = await client().api.redeemShare(grant.share_id, grant.secret);
			expect(await anew.redemption()).toMatchObject({ capability_epoch: grant.capability_epoch, scope: "append" });
			const view = await client().api.viewShare(grant.slug);
			expect(await view.redemption()).toMatchObject({ scope: "view" });
		});

		test("a deleted share answers revoked, not not_found", async () => {
			const create_key = createKey();
			const grant = await makeShare(client().api, "ses_deleted", create_key);
			const share = await client().api.redeemShare(grant.share_id, grant.secret);
			await share.appendOps(batchOf(0, plain(3)));
			await share.deleteShare();
			const calls = [
				() => client().api.redeemShare(grant.share_id, grant.secret),
				() => client().api.viewShare(grant.slug),
				() => makeShare(client().api, "ses_deleted", create_key),
				() => share.redemption(),
				() => share.appendOps(batchOf(3, plain(1))),
				() => share.deleteShare(),
			];
			for (const call of calls) expect(await refusal(call())).toEqual({ code: "revoked", details: { deleted: true } });
		});

		test("who only has the link may look and not touch", async () => {
			const { grant, share } = await openShare(client());
			await share.appendOps(batchOf(0, plain(1)));
			const view = await client().api.viewShare(grant.slug);
			expect(await view.redemption()).toMatchObject({ scope: "view", cursor: 1 });
			const calls = [
				view.appendOps(batchOf(1, plain(1))),
				view.entityDigests(),
				view.publishDelta({ key: "k", field: "text", delta: "x" }),
				view.revokeCapability({ rotate_secret: false, rotate_slug: false }),
				view.deleteShare(),
			];
			for (const call of calls) expect(await refusal(call)).toMatchObject({ code: "denied" });
		});
	});
}
