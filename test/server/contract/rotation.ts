import { describe, expect, test } from "vitest";
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
	Viewer,
} from "../client.ts";
import type { Host } from "./host.ts";

/** What becomes of the old secret and the old link, and of the new ones. */
export function rotationContract(client: () => Client, host: () => Host): void {
	/** How a link answers: to capnweb, to people, to `opencode import`. */
	async function answersOf(slug: string): Promise<unknown[]> {
		const viewed = await client()
			.api.viewShare(slug)
			.then(
				() => "ok",
				({ code }) => code,
			);
		const responses = await Promise.all(
			[`/share/${slug}`, `/api/share/${slug}/data`].map((path) => fetch(host().url + path)),
		);
		for (const response of responses) await response.text();
		return [viewed, ...responses.map(({ status }) => status)];
	}

	describe("a rotation", () => {
		test("leaves the old secret and the old link good for nothing, and the new ones work at once", async () => {
			const create_key = createKey();
			const old = await makeShare(client().api, "ses_rotated", create_key);
			const share = await client().api.redeemShare(old.share_id, old.secret);
			await share.appendOps(batchOf(0, plain(1)));
			const watching = [await client().api.viewShare(old.slug), share].map(async (watched) => {
				const viewer = new Viewer();
				const subscription = await watched.watch(viewer, 0);
				return { viewer, subscription };
			});
			const viewers = await Promise.all(watching);
			expect(await answersOf(old.slug)).toEqual(["ok", 200, 200]);

			const request = rotation(true);
			const grant = await share.revokeCapability(request);
			expect(grant).toMatchObject({ share_id: old.share_id, secret: request.next_secret });
			expect(grant.capability_epoch).toBeGreaterThan(old.capability_epoch);
			expect(grant.slug).not.toBe(old.slug);
			for (const { viewer } of viewers) {
				await viewer.until(() => viewer.endings.length > 0);
				expect(viewer.endings).toEqual(["revoked"]);
			}
			expect(await answersOf(old.slug)).toEqual(["revoked", 410, 410]);
			expect(await refusal(client().api.redeemShare(old.share_id, old.secret))).toMatchObject({ code: "denied" });
			expect(await refusal(makeShare(client().api, "ses_rotated", create_key))).toMatchObject({ code: "revoked" });

			expect(await answersOf(grant.slug)).toEqual(["ok", 200, 200]);
			const anew = await client().api.redeemShare(grant.share_id, grant.secret);
			expect(await anew.appendOps(batchOf(1, [{ capability_epoch: grant.capability_epoch }]))).toMatchObject({
				cursor: 2,
			});
			expect(viewers.map(({ viewer }) => viewer.cursor)).toEqual([1, 1]);
		});

		test("of the link alone keeps the secret, and one of the secret alone keeps the link", async () => {
			const create_key = createKey();
			const first = await makeShare(client().api, "ses_1", create_key);
			const share = await client().api.redeemShare(first.share_id, first.secret);
			const second = await share.revokeCapability({ rotate_secret: false, rotate_slug: true });
			expect(second.secret).toBe(first.secret);
			expect(await makeShare(client().api, "ses_1", create_key)).toEqual(second);
			const anew = await client().api.redeemShare(second.share_id, second.secret);
			const third = await anew.revokeCapability(rotation());
			expect(third.slug).toBe(second.slug);
			expect(await answersOf(third.slug)).toEqual(["ok", 200, 200]);
		});

		test("asked for again ends with the same secret", async () => {
			const { grant, share } = await openShare(client());
			const request = rotation();
			const first = await share.revokeCapability(request);
			expect(await refusal(share.revokeCapability(request))).toMatchObject({ code: "stale_epoch" });
			const anew = await client().api.redeemShare(grant.share_id, request.next_secret);
			const second = await anew.revokeCapability(request);
			expect(second.secret).toBe(request.next_secret);
			expect(second.capability_epoch).toBeGreaterThan(first.capability_epoch);
			const again = await client().api.redeemShare(grant.share_id, request.next_secret);
			expect(await again.redemption()).toMatchObject({ capability_epoch: second.capability_epoch });
		});

		test("that races another one either wins or learns that it has lost", async () => {
			const { grant, share } = await openShare(client());
			const other = await connect(host().url);
			const rival = await other.api.redeemShare(grant.share_id, grant.secret);
			const requests = [rotation(), rotation()];
			const calls = [share, rival].map((holder, index) => holder.revokeCapability(requests[index] ?? rotation()));
			const outcomes = await Promise.allSettled(calls);
			expect(outcomes.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
			const lost = outcomes.findIndex(({ status }) => status === "rejected");
			expect(outcomes[lost]).toMatchObject({ reason: { code: "stale_epoch" } });
			const redeem = (secret = "") => client().api.redeemShare(grant.share_id, secret);
			const won = await redeem(requests[1 - lost]?.next_secret);
			expect((await won.redemption()).capability_epoch).toBeGreaterThan(grant.capability_epoch);
			for (const secret of [requests[lost]?.next_secret, grant.secret])
				expect(await refusal(redeem(secret))).toMatchObject({ code: "denied" });
			await other.close();
		});

		test("to a secret that could be guessed, or to none, changes nothing", async () => {
			const { grant, share } = await openShare(client());
			const { next_secret } = rotation();
			const bad = [
				...["", next_secret.slice(1), `${next_secret.slice(1)} `, `${next_secret}${"x".repeat(200)}`, 7].map(
					(other) => ({
						...{ rotate_secret: true, next_secret: other, rotate_slug: true },
					}),
				),
				{ rotate_secret: true, rotate_slug: true },
				{ rotate_secret: false, next_secret, rotate_slug: true },
			];
			for (const request of bad)
				expect(await refusal(share.revokeCapability(request as never))).toMatchObject({ code: "invalid_request" });
			expect(await share.redemption()).toMatchObject({ capability_epoch: 1 });
			await client().api.redeemShare(grant.share_id, grant.secret);
		});
	});
}
