import { describe, expect, test } from "vitest";
import { digestOf } from "../../../src/model/json.ts";
import { DIGESTS_PER_PAGE, LIMITS } from "../../../src/protocol/limits.ts";
import { batchOf, type Client, openShare, plain } from "../client.ts";
import type { Host } from "./host.ts";

/** What ops add up to. */
export function entityContract(client: () => Client, host: () => Host): void {
	describe("entities", () => {
		test("a redemption tells where the share stands", async () => {
			const { grant, share } = await openShare(client());
			await share.appendOps(batchOf(0, plain(2)));
			expect(await share.redemption()).toEqual({
				share_id: grant.share_id,
				session_id: "ses_1",
				scope: "append",
				cursor: 2,
				capability_epoch: 1,
				last_op_id: "op-1",
				last_batch_id: "batch-0",
				source_watermark: null,
				created_at: expect.any(Number),
				limits: host().limits,
			});
		});

		test("the last op of an entity is what its digest tells", async () => {
			const { share } = await openShare(client());
			await share.appendOps(batchOf(0, [todo("[1]"), todo("[2]")]));
			expect(await share.entityDigests()).toEqual({
				entities: [{ key: "todo", digest: digestOf("[2]") }],
				next: null,
				cursor: 2,
			});
		});

		test("removing a message takes its parts along and no other's", async () => {
			const { share } = await openShare(client());
			const part = (message: string, id: string) => ({ type: "part" as const, key: `part/${message}/${id}` });
			await share.appendOps(
				batchOf(0, [
					{ key: "message/m1" },
					part("m1", "p1"),
					part("m1", "p2"),
					{ key: "message/m10" },
					part("m10", "p1"),
					part("m10", "p2"),
					{ type: "part_removed", key: "part/m10/p2" },
					{ type: "message_removed", key: "message/m1" },
				]),
			);
			const { entities } = await share.entityDigests();
			expect(entities.map(({ key }) => key)).toEqual(["message/m10", "part/m10/p1"]);
		});

		test("a removed entity may come back", async () => {
			const { share } = await openShare(client());
			const removed = { type: "message_removed" as const, key: "message/m1" };
			await share.appendOps(batchOf(0, [{ key: "message/m1" }, removed, { key: "message/m1" }]));
			expect((await share.entityDigests()).entities).toHaveLength(1);
		});

		test("a deleted session is an entity, and its share is kept", async () => {
			const { share } = await openShare(client());
			const gone = { type: "session_deleted" as const, key: "session_deleted", payload: "{}" };
			await share.appendOps(batchOf(0, [{ type: "session", key: "session" }, gone]));
			const { entities } = await share.entityDigests();
			expect(entities.map(({ key }) => key)).toEqual(["session", "session_deleted"]);
		});

		test("digests come in pages, each key once and in order", async () => {
			const { share } = await openShare(client());
			const count = 2 * DIGESTS_PER_PAGE;
			for (let first = 0; first < count; first += LIMITS.ops_per_batch)
				await share.appendOps(batchOf(first, plain(LIMITS.ops_per_batch)));
			const first = await share.entityDigests();
			const second = await share.entityDigests(first.next ?? "");
			expect([first.entities.length, second.entities.length, second.next]).toEqual([
				DIGESTS_PER_PAGE,
				DIGESTS_PER_PAGE,
				null,
			]);
			const found = [...first.entities, ...second.entities].map(({ key }) => key);
			expect(found).toEqual([...new Set(found)].sort());
		});
	});
}

function todo(payload: string) {
	return { type: "todo" as const, key: "todo", payload };
}
