import { describe, expect, test } from "vitest";
import { LEDGER_OPS, LIMITS, type ShareLimits } from "../../../src/protocol/limits.ts";
import { batchOf, type Client, type Draft, openShare, plain, refusal, rotation, Viewer } from "../client.ts";
import type { Host } from "./host.ts";

/** What becomes of ops: verdicts, replay, the fence. */
export function appendContract(client: () => Client, host: () => Host): void {
	describe("verdicts", () => {
		test("an op at the cursor is applied and moves the cursor", async () => {
			const { share } = await openShare(client());
			const ack = await share.appendOps(batchOf(0, plain(2)));
			expect(ack).toEqual({ cursor: 2, applied: ["op-0", "op-1"], duplicates: [], rejected: [] });
		});

		test("an op in the ledger is a duplicate at whatever position", async () => {
			const { share } = await openShare(client());
			await share.appendOps(batchOf(0, plain(3)));
			const again = batchOf(0, [
				{ op_id: "op-1", expected_cursor: 2 },
				{ op_id: "op-0", expected_cursor: 9 },
			]);
			expect(await share.appendOps(again)).toEqual({
				cursor: 3,
				applied: [],
				duplicates: ["op-1", "op-0"],
				rejected: [],
			});
		});

		test("an unknown op at a taken position is a cursor_conflict", async () => {
			const { share } = await openShare(client());
			await share.appendOps(batchOf(0, plain(2)));
			const ack = await share.appendOps(batchOf(1, [{ op_id: "stranger" }]));
			expect(ack).toMatchObject({
				cursor: 2,
				applied: [],
				rejected: [{ op_id: "stranger", code: "cursor_conflict" }],
			});
		});

		test("an op beyond the cursor is a cursor_gap", async () => {
			const { share } = await openShare(client());
			const ack = await share.appendOps(batchOf(1, plain(1)));
			expect(ack).toMatchObject({ cursor: 0, applied: [], rejected: [{ op_id: "op-1", code: "cursor_gap" }] });
		});

		test.each([
			["not JSON", () => ({ payload: "{" }), "invalid_payload"],
			["empty", () => ({ payload: "" }), "invalid_payload"],
			["JSON of too many levels", ({ payload_depth }) => ({ payload: nested(payload_depth + 1) }), "invalid_payload"],
			["under a key of another type", () => ({ key: "part/msg_0/prt_0" }), "invalid_payload"],
			["too large", ({ op_bytes }) => ({ payload: JSON.stringify("é".repeat(op_bytes / 2)) }), "too_large"],
		] as [string, (limits: ShareLimits) => Draft, string][])(
			"a payload that is %s is rejected for good",
			async (_, draft, code) => {
				const { share } = await openShare(client());
				const ack = await share.appendOps(batchOf(0, [draft(host().limits)]));
				expect(ack).toMatchObject({ cursor: 0, applied: [], duplicates: [], rejected: [{ op_id: "op-0", code }] });
			},
		);

		test("a payload at the limits is applied", async () => {
			const { share } = await openShare(client());
			const { payload_depth, op_bytes } = host().limits;
			const payloads = [nested(payload_depth), JSON.stringify("x".repeat(op_bytes - 2)), '"[[{\\"]["'];
			for (const [position, payload] of payloads.entries())
				expect(await share.appendOps(batchOf(position, [{ payload }]))).toMatchObject({ cursor: position + 1 });
		});

		test("an op of no known type refuses the call and applies nothing", async () => {
			const { share } = await openShare(client());
			const batch = batchOf(0, [{}, { type: "secret" as never }]);
			expect(await refusal(share.appendOps(batch))).toMatchObject({ code: "invalid_request" });
			expect(await share.redemption()).toMatchObject({ cursor: 0 });
		});

		test("an op whose dependency was not applied is a missing_dependency", async () => {
			const { share } = await openShare(client());
			const ack = await share.appendOps(batchOf(0, [{}, { depends_on: "op-0" }, { depends_on: "never" }]));
			expect(ack).toMatchObject({
				cursor: 2,
				applied: ["op-0", "op-1"],
				rejected: [{ op_id: "op-2", code: "missing_dependency" }],
			});
		});

		test("a batch that follows another one is applied only right behind it, whoever had its ops applied", async () => {
			const { share } = await openShare(client());
			const follower = (after: string) => batchOf(2, [{ depends_on: after }]);
			await share.appendOps(batchOf(0, plain(2), { batch_id: "theirs" }));
			const refused = await share.appendOps(follower("ours"));
			expect(refused).toMatchObject({ cursor: 2, rejected: [{ op_id: "op-2", code: "missing_dependency" }] });
			expect(await share.appendOps(batchOf(0, plain(2), { batch_id: "ours" }))).toMatchObject({ applied: [] });
			expect((await share.appendOps(follower("ours"))).applied).toEqual([]);
			expect(await share.redemption()).toMatchObject({ cursor: 2, last_op_id: "op-1", last_batch_id: "theirs" });
			expect(await share.appendOps(follower("theirs"))).toMatchObject({ cursor: 3, applied: ["op-2"] });
		});

		test("a batch that begins with duplicates is applied no further where the batch before it was refused", async () => {
			const { share } = await openShare(client());
			await share.appendOps(batchOf(0, [{ op_id: "theirs" }, {}, {}], { batch_id: "theirs" }));
			const refused = await share.appendOps(batchOf(0, plain(2), { batch_id: "first" }));
			expect(refused).toMatchObject({ duplicates: ["op-1"], rejected: [{ op_id: "op-0", code: "cursor_conflict" }] });
			const ack = await share.appendOps(batchOf(2, [{ depends_on: "first" }, {}, {}], { batch_id: "second" }));
			expect(ack).toMatchObject({ cursor: 3, applied: [], duplicates: ["op-2"] });
			expect(ack.rejected.map(({ op_id, code }) => [op_id, code])).toEqual([
				["op-3", "missing_dependency"],
				["op-4", "cursor_gap"],
			]);
			// Else whoever lost both answers would take the first batch for applied: the second is its own, and depends on it.
			expect(await share.redemption()).toMatchObject({ cursor: 3, last_op_id: "op-2", last_batch_id: "theirs" });
		});

		test("nothing is applied behind a duplicate that lies elsewhere, and everything behind those in their places", async () => {
			const { share } = await openShare(client());
			await share.appendOps(batchOf(0, plain(4), { batch_id: "theirs" }));
			const ours = [{ op_id: "op-3" }, { op_id: "op-2" }, { op_id: "ours" }];
			expect(await share.appendOps(batchOf(2, ours, { batch_id: "moved" }))).toMatchObject({
				cursor: 4,
				duplicates: ["op-3", "op-2"],
				rejected: [{ op_id: "ours", code: "cursor_conflict" }],
			});
			const ack = await share.appendOps(batchOf(2, [{}, {}, { op_id: "ours" }], { batch_id: "in place" }));
			expect(ack).toMatchObject({ cursor: 5, applied: ["ours"], rejected: [] });
		});

		test("a rejected op in the middle leaves its prefix applied and the rest a cursor_gap", async () => {
			const { share } = await openShare(client());
			const ack = await share.appendOps(batchOf(0, [{}, {}, { payload: "nope" }, {}, {}]));
			expect(ack.applied).toEqual(["op-0", "op-1"]);
			expect(ack.rejected.map(({ op_id, code }) => [op_id, code])).toEqual([
				["op-2", "invalid_payload"],
				["op-3", "cursor_gap"],
				["op-4", "cursor_gap"],
			]);
			expect(ack.cursor).toBe(2);
		});

		test("an op behind a rejected one is a cursor_gap, although it would fit the cursor", async () => {
			const { share } = await openShare(client());
			await share.appendOps(batchOf(0, [{}, { op_id: "theirs" }]));
			const ack = await share.appendOps(batchOf(1, plain(2)));
			expect(ack).toMatchObject({ cursor: 2, applied: [], duplicates: [] });
			expect(ack.rejected.map(({ op_id, code }) => [op_id, code])).toEqual([
				["op-1", "cursor_conflict"],
				["op-2", "cursor_gap"],
			]);
		});

		test("a batch whose ops are not numbered or named as its own is refused as a whole", async () => {
			const { share } = await openShare(client());
			const batch = batchOf(0, plain(2));
			const [first, second] = batch.ops;
			if (!first || !second) throw new Error("two ops");
			for (const ops of [
				[second, first],
				[first, { ...second, batch_id: "other" }],
			])
				expect(await refusal(share.appendOps({ ...batch, ops }))).toMatchObject({ code: "invalid_request" });
			expect(await share.redemption()).toMatchObject({ cursor: 0, last_op_id: null });
		});
	});

	describe("replay", () => {
		test("a batch whose reply was lost is all duplicates, and changes nothing", async () => {
			const { share } = await openShare(client());
			const batch = batchOf(0, plain(3), { source_watermark: { seq: 7, event_id: "evt_7" } });
			await share.appendOps(batch);
			const next = batchOf(3, [{ key: "message/msg_0", payload: '{"id":"msg_0","later":true}' }], {
				source_watermark: { seq: 9, event_id: "evt_9" },
			});
			await share.appendOps(next);
			const before = [await share.redemption(), await share.entityDigests()];
			expect(await share.appendOps(batch)).toEqual({
				cursor: 4,
				applied: [],
				duplicates: ["op-0", "op-1", "op-2"],
				rejected: [],
			});
			expect([await share.redemption(), await share.entityDigests()]).toEqual(before);
			expect(before[0]).toMatchObject({ last_op_id: "op-3", source_watermark: { seq: 9, event_id: "evt_9" } });
		});

		test("a position below the ledger's floor is a duplicate although its id is forgotten", async () => {
			const { share } = await openShare(client());
			const size = LIMITS.ops_per_batch;
			const rounds = Math.ceil(LEDGER_OPS / size) + 1;
			const same = { key: "todo", type: "todo" as const };
			for (let round = 0; round < rounds; round++)
				await share.appendOps(
					batchOf(
						round * size,
						Array.from({ length: size }, () => same),
					),
				);
			const cursor = rounds * size;
			const floor = cursor - LEDGER_OPS;
			expect(await share.appendOps(batchOf(floor - 1, [{ op_id: "stranger" }]))).toMatchObject({
				cursor,
				duplicates: ["stranger"],
			});
			expect(await share.appendOps(batchOf(floor, [{ op_id: "stranger" }]))).toMatchObject({
				cursor,
				rejected: [{ code: "cursor_conflict" }],
			});
			expect(await share.appendOps(batchOf(floor, plain(1)))).toMatchObject({ cursor, duplicates: [`op-${floor}`] });
		});

		test("a watermark stays where it was when a batch is not applied whole", async () => {
			const { share } = await openShare(client());
			await share.appendOps(batchOf(0, plain(1), { source_watermark: { seq: 1, event_id: "evt_1" } }));
			await share.appendOps(batchOf(1, [{}, { payload: "" }], { source_watermark: { seq: 2, event_id: "evt_2" } }));
			await share.appendOps(batchOf(2, plain(1)));
			expect(await share.redemption()).toMatchObject({ cursor: 3, source_watermark: { seq: 1, event_id: "evt_1" } });
		});
	});

	describe("the epoch", () => {
		test("a capability of an earlier epoch can do nothing, and is told the current one", async () => {
			const { grant, share } = await openShare(client());
			const viewer = await client().api.viewShare(grant.slug);
			const next = await share.revokeCapability({ rotate_secret: false, rotate_slug: false });
			const { capability_epoch } = next;
			expect(next).toEqual({ ...grant, capability_epoch });
			expect(capability_epoch).toBeGreaterThan(grant.capability_epoch);
			const stale = { code: "stale_epoch", details: { capability_epoch } };
			expect(await refusal(share.appendOps(batchOf(0, [{ capability_epoch }])))).toEqual(stale);
			expect(await refusal(share.redemption())).toEqual(stale);
			expect(await refusal(share.entityDigests())).toEqual(stale);
			expect(await refusal(share.watch(new Viewer(), 0))).toEqual(stale);
			expect(await refusal(share.publishDelta({ key: "k", field: "text", delta: "" }))).toEqual(stale);
			expect(await refusal(share.revokeCapability(rotation(true)))).toEqual(stale);
			expect(await refusal(share.deleteShare())).toEqual(stale);
			expect(await refusal(viewer.redemption())).toEqual(stale);
			const anew = await client().api.redeemShare(grant.share_id, grant.secret);
			expect(await anew.redemption()).toMatchObject({ cursor: 0, capability_epoch });
			expect(await anew.appendOps(batchOf(0, [{ capability_epoch }]))).toMatchObject({ cursor: 1 });
		});

		test("one op of another epoch refuses its whole batch", async () => {
			const { share } = await openShare(client());
			const batch = batchOf(0, [{}, { capability_epoch: 0 }]);
			expect(await refusal(share.appendOps(batch))).toMatchObject({ code: "stale_epoch" });
			expect(await share.redemption()).toMatchObject({ cursor: 0 });
		});
	});
}

function nested(depth: number): string {
	return "[".repeat(depth) + "]".repeat(depth);
}
