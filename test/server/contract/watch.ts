import { describe, expect, test } from "vitest";
import { DELTA_CHARS_MAX } from "../../../src/protocol/limits.ts";
import { batchOf, type Client, openShare, plain, refusal, Viewer } from "../client.ts";

/** What viewers see. */
export function watchContract(client: () => Client): void {
	describe("watching", () => {
		test("what was there comes first, then each change, each once and in order, while others append", async () => {
			const { grant, share } = await openShare(client());
			const size = 250;
			await share.appendOps(batchOf(0, plain(size)));
			const viewer = new Viewer();
			const view = await client().api.viewShare(grant.slug);
			const appends = [1, 2, 3].map((round) => share.appendOps(batchOf(round * size, plain(size))));
			const watching = view.watch(viewer, 100);
			appends.push(...[4, 5, 6].map((round) => share.appendOps(batchOf(round * size, plain(size)))));
			await Promise.all(appends);
			using _ = await watching;
			await viewer.until(() => viewer.cursor === 7 * size);
			const positions = viewer.seen.map((op) => op.position);
			expect(positions).toEqual(Array.from({ length: 7 * size - 100 }, (_, index) => 100 + index));
		});

		test("a removal is told from an old cursor", async () => {
			const { share } = await openShare(client());
			const part = { type: "part" as const, key: "part/m1/p1" };
			const removed = { type: "message_removed" as const, key: "message/m1" };
			await share.appendOps(batchOf(0, [{ key: "message/m1" }, part, removed]));
			const viewer = new Viewer();
			using _ = await share.watch(viewer, 1);
			await viewer.until(() => viewer.cursor === 3);
			expect(viewer.seen).toEqual([{ position: 2, type: "message_removed", key: "message/m1", payload: null }]);
		});

		test("a slow viewer is waited for by nobody, and sees each entity's last state once", async () => {
			const { share } = await openShare(client());
			const viewer = new Viewer();
			const gate = Promise.withResolvers<void>();
			viewer.hold = gate.promise;
			using _ = await share.watch(viewer, 0);
			await share.appendOps(batchOf(0, [todo("[0]")]));
			await viewer.until(() => viewer.deliveries === 1);
			for (let position = 1; position < 100; position++)
				await share.appendOps(batchOf(position, [todo(`[${position}]`)]));
			expect(viewer.deliveries).toBe(1);
			viewer.hold = undefined;
			gate.resolve();
			await viewer.until(() => viewer.cursor === 100);
			expect(viewer.seen.map((op) => op.payload)).toEqual(["[0]", "[99]"]);
		});

		test("deltas reach viewers and are not stored", async () => {
			const { share } = await openShare(client());
			const viewer = new Viewer();
			using _ = await share.watch(viewer, 0);
			const delta = { key: "part/m1/p1", field: "text", delta: "Hel" };
			await share.publishDelta(delta);
			await viewer.until(() => viewer.deltas.length === 1);
			expect(viewer.deltas).toEqual([delta]);
			expect(await share.redemption()).toMatchObject({ cursor: 0 });
		});

		test("a delta's place in the text comes along as it is, and a wrong one is refused", async () => {
			const { share } = await openShare(client());
			const viewer = new Viewer();
			using _ = await share.watch(viewer, 0);
			const delta = { key: "part/m1/p1", field: "text", delta: "lo" };
			const placed = [0, 3, Number.MAX_SAFE_INTEGER].map((offset) => ({ ...delta, offset }));
			for (const one of placed) await share.publishDelta(one);
			await viewer.until(() => viewer.deltas.length === 3);
			expect(viewer.deltas).toEqual(placed);
			for (const offset of [-1, 0.5, "3", null] as number[])
				expect(await refusal(share.publishDelta({ ...delta, offset }))).toMatchObject({ code: "invalid_request" });
			const long = { ...delta, offset: 0, delta: "x".repeat(DELTA_CHARS_MAX + 1) };
			expect(await refusal(share.publishDelta(long))).toMatchObject({ code: "invalid_request" });
		});

		test.each(["revokeCapability", "deleteShare"] as const)("%s ends it", async (method) => {
			const { grant, share } = await openShare(client());
			const viewer = new Viewer();
			const view = await client().api.viewShare(grant.slug);
			using _ = await view.watch(viewer, 0);
			if (method === "deleteShare") await share.deleteShare();
			else await share.revokeCapability({ rotate_secret: false, rotate_slug: false });
			await viewer.until(() => viewer.endings.length > 0);
			expect(viewer.endings).toEqual(["revoked"]);
		});

		test("a cancelled subscription hears nothing more", async () => {
			const { share } = await openShare(client());
			const [cancelled, watching] = [new Viewer(), new Viewer()];
			using subscription = await share.watch(cancelled, 0);
			using _ = await share.watch(watching, 0);
			await subscription.cancel();
			await share.appendOps(batchOf(0, plain(1)));
			await watching.until(() => watching.cursor === 1);
			expect(cancelled.deliveries).toBe(0);
		});

		test("a cursor beyond the share's is refused", async () => {
			const { share } = await openShare(client());
			expect(await refusal(share.watch(new Viewer(), 1))).toMatchObject({ code: "invalid_request" });
		});
	});
}

function todo(payload: string) {
	return { type: "todo" as const, key: "todo", payload };
}
