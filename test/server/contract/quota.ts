import { afterEach, describe, expect, test } from "vitest";
import type { QuotaLimits } from "../../../src/server/quota.ts";
import { batchOf, type Client, connect, createKey, type Draft, makeShare, openShare, SERVER_KEY } from "../client.ts";
import { type Host, OTHER_SERVER_KEY } from "./host.ts";

/** A message of so many bytes. */
function message(id: string, bytes: number): Draft {
	return { op_id: `op-${id}-${bytes}`, key: `message/${id}`, payload: JSON.stringify("x".repeat(bytes - 2)) };
}

/** A part of a message, of so many bytes. */
function part(messageId: string, id: string, bytes: number): Draft {
	return { ...message(id, bytes), op_id: `op-${messageId}-${id}`, type: "part", key: `part/${messageId}/${id}` };
}

function removed(messageId: string): Draft {
	const payload = JSON.stringify({ messageID: messageId });
	return { op_id: `op-rm-${messageId}`, type: "message_removed", key: `message/${messageId}`, payload };
}

const full = { code: "over_quota", retry_after_ms: expect.any(Number) };

/** What shares and their owners may hold, as clients see it. Every host must pass. */
export function quotaContract(name: string, makeHost: (quotas: QuotaLimits) => Promise<Host>): void {
	describe(`quotas on ${name}`, () => {
		const open: (() => Promise<void>)[] = [];
		const clientOf = async (quotas: QuotaLimits): Promise<Client> => {
			const host = await makeHost(quotas);
			const client = await connect(host.url);
			open.push(
				() => host.close(),
				() => client.close(),
			);
			return client;
		};
		afterEach(async () => {
			for (const close of open.splice(0).reverse()) await close();
		});

		test("a batch that a share has no room for is refused whole, and changes nothing; a smaller one is taken", async () => {
			const { share } = await openShare(await clientOf({ shareBytes: 1000 }));
			await share.appendOps(batchOf(0, [message("a", 600)]));
			const large = batchOf(1, [message("b", 100), message("c", 301)]);
			await expect(share.appendOps(large)).rejects.toMatchObject(full);
			await expect(share.appendOps(large)).rejects.toMatchObject(full);
			expect((await share.redemption()).cursor).toBe(1);
			expect((await share.entityDigests()).entities).toHaveLength(1);
			expect(await share.appendOps(batchOf(1, [message("b", 400)]))).toMatchObject({ cursor: 2 });
		});

		test("what is replaced or removed makes room, a removed message's parts too", async () => {
			const { share } = await openShare(await clientOf({ shareBytes: 1000 }));
			await share.appendOps(batchOf(0, [message("a", 400), part("a", "p", 300), part("a", "q", 300)]));
			await expect(share.appendOps(batchOf(3, [message("b", 10)]))).rejects.toMatchObject(full);
			expect(await share.appendOps(batchOf(3, [message("a", 390)]))).toMatchObject({ cursor: 4 });
			expect(await share.appendOps(batchOf(4, [message("b", 10)]))).toMatchObject({ cursor: 5 });
			expect(await share.appendOps(batchOf(5, [removed("a")]))).toMatchObject({ cursor: 6 });
			expect(await share.appendOps(batchOf(6, [message("c", 990)]))).toMatchObject({ cursor: 7 });
			await expect(share.appendOps(batchOf(7, [message("d", 2)]))).rejects.toMatchObject(full);
		});

		test("a replay of what is there is told as such, however full the share is", async () => {
			const { share } = await openShare(await clientOf({ shareBytes: 1000 }));
			const batch = batchOf(0, [message("a", 1000)]);
			await share.appendOps(batch);
			expect(await share.appendOps(batch)).toMatchObject({ cursor: 1, applied: [], duplicates: ["op-a-1000"] });
		});

		test("an owner's shares have a quota together, which is nobody else's; a deleted one gives back what it had", async () => {
			const client = await clientOf({ ownerBytes: 1000 });
			const [one, two] = [await openShare(client), await openShare(client)];
			await one.share.appendOps(batchOf(0, [message("a", 600)]));
			await expect(two.share.appendOps(batchOf(0, [message("a", 401)]))).rejects.toMatchObject(full);
			const foreign = await client.api.createShare(OTHER_SERVER_KEY, { session_id: "ses_1", create_key: createKey() });
			const other = client.api.redeemShare(foreign.share_id, foreign.secret);
			expect(await other.appendOps(batchOf(0, [message("a", 900)]))).toMatchObject({ cursor: 1 });
			await one.share.deleteShare();
			expect(await two.share.appendOps(batchOf(0, [message("a", 1000)]))).toMatchObject({ cursor: 1 });
		});

		test("an owner has so many shares that live; asking again for one of them makes none", async () => {
			const client = await clientOf({ ownerShares: 2 });
			const key = createKey();
			const [first] = [await makeShare(client.api, "ses_1", key), await makeShare(client.api)];
			await expect(makeShare(client.api)).rejects.toMatchObject(full);
			expect(await makeShare(client.api, "ses_1", key)).toEqual(first);
			const request = { session_id: "ses_1", create_key: createKey() };
			await expect(client.api.createShare(OTHER_SERVER_KEY, request)).resolves.toMatchObject({ capability_epoch: 1 });
			await client.api.redeemShare(first.share_id, first.secret).deleteShare();
			await expect(client.api.createShare(SERVER_KEY, { ...request, create_key: createKey() })).resolves.toBeDefined();
		});
	});
}
