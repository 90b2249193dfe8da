import { describe, expect, test } from "vitest";
import { compare, snapshotDifference } from "../../src/agent/compare.ts";
import { type Action, decide, type Outcome, type Step } from "../../src/agent/decide.ts";
import { type LocalPosition, reconcile } from "../../src/agent/reconcile.ts";
import { verdictOf } from "../../src/agent/verdict.ts";
import { digestOf } from "../../src/model/json.ts";
import { REFUSALS, REJECTIONS } from "../../src/protocol/codes.ts";
import type { AppendBatch } from "../../src/protocol/schema.ts";

const ours = (acked_cursor: number, sealed_cursor: number): LocalPosition => ({
	acked_cursor,
	sealed_cursor,
	acked_op_id: acked_cursor === 0 ? null : `op_${acked_cursor - 1}`,
	opIdBelow: (cursor) => (cursor > acked_cursor && cursor <= sealed_cursor ? `op_${cursor - 1}` : undefined),
	batchIdBelow: (cursor) => (cursor > acked_cursor && cursor <= sealed_cursor ? "ours" : undefined),
});

describe("reconcile", () => {
	test.each([
		["nothing of ours arrived: the same bytes again", ours(3, 7), 3, "op_2", "send"],
		["nothing was ever sent", ours(0, 0), 0, null, "send"],
		["our prefix arrived and its reply was lost", ours(3, 7), 5, "op_4", "ack"],
		["everything arrived and its reply was lost", ours(3, 7), 7, "op_6", "ack"],
		["the share is ahead of what is sealed here", ours(3, 7), 8, "op_7", "compare"],
		["the op at the cursor is another writer's", ours(3, 7), 5, "evt_theirs", "compare"],
		["the last acked op is not ours", ours(3, 7), 3, "evt_theirs", "compare"],
		["the server went back", ours(3, 7), 2, "op_1", "compare"],
		["the server went back to nothing", ours(3, 3), 0, null, "compare"],
	] as const)("%s", (_name, local, cursor, last_op_id, expected) => {
		const result = reconcile(local, { cursor, last_op_id, last_batch_id: "ours" });
		expect(result.do).toBe(expected);
		if (result.do === "ack") expect(result.cursor).toBe(cursor);
	});

	test.each(["theirs", null, undefined])("our op in a batch that is not ours proves nothing (%s)", (last_batch_id) => {
		expect(reconcile(ours(3, 7), { cursor: 5, last_op_id: "op_4", last_batch_id })).toEqual({ do: "send" });
	});

	test("every pair of positions has an answer, and nothing is sent but on top of what is ours", () => {
		for (let acked = 0; acked < 5; acked++)
			for (let sealed = acked; sealed < 8; sealed++)
				for (let cursor = 0; cursor < 10; cursor++)
					for (const last of [null, `op_${cursor - 1}`, "other"])
						for (const last_batch_id of ["ours", "theirs"]) {
							const last_op_id = cursor === 0 ? null : last;
							const result = reconcile(ours(acked, sealed), { cursor, last_op_id, last_batch_id });
							const isOurs = cursor === 0 || last === `op_${cursor - 1}`;
							expect(result.do !== "compare").toBe(isOurs && cursor >= acked && cursor <= sealed);
							if (result.do === "ack") expect(cursor > acked && last_batch_id === "ours").toBe(true);
						}
	});
});

describe("decide", () => {
	const outcomes: Outcome[] = [...REFUSALS, ...REJECTIONS, "unknown"];
	const actions = (step: Step, action: Action) =>
		outcomes.filter((outcome) => decide(step, outcome, 1, () => 0).action === action);

	test("only a structured not_found to a redemption makes a share anew", () => {
		expect(actions("redeem", "make_anew")).toEqual(["not_found"]);
		expect(actions("create", "make_anew")).toEqual([]);
		expect(actions("use", "make_anew")).toEqual([]);
	});

	test("an op is buried only for a permanent rejection, never for what nobody decided", () => {
		expect(actions("use", "bury")).toEqual(["invalid_payload", "too_large"]);
		expect(actions("use", "compare")).toEqual(["cursor_conflict", "missing_dependency"]);
		expect(actions("redeem", "bury")).toEqual([]);
	});

	test("a stale epoch is redeemed again at once, then ever more slowly", () => {
		expect(decide("use", "stale_epoch", 1, () => 0.99)).toEqual({ action: "reconcile", waitMs: 0 });
		expect(decide("use", "stale_epoch", 4, () => 0.99).waitMs).toBeGreaterThan(3000);
		expect(decide("use", "stale_epoch", 60, () => 0.9999).waitMs).toBeLessThanOrEqual(300_000);
	});

	test("an unknown outcome always waits its share of the backoff, and what the server asks for is never undercut", () => {
		expect(decide("use", "unknown", 1, () => 0.5)).toEqual({ action: "reconnect", waitMs: 250 });
		expect(decide("use", "busy", 1, () => 0, 7000).waitMs).toBe(7000);
	});
});

describe("verdict", () => {
	const batch = {
		batch_id: "b",
		source_watermark: null,
		ops: [4, 5, 6].map((expected_cursor, seq) => ({ op_id: `op_${expected_cursor}`, expected_cursor, seq })),
	} as unknown as AppendBatch;

	test("applied and duplicate ops acknowledge the whole batch", () => {
		const ack = { cursor: 7, applied: ["op_5", "op_6"], duplicates: ["op_4"], rejected: [] };
		expect(verdictOf(batch, ack)).toEqual({ cursor: 7 });
	});

	test("a rejection acknowledges what lies before it and names the first refused op", () => {
		const gap = { op_id: "op_6", code: "cursor_gap", reason: "" } as const;
		const bad = { op_id: "op_5", code: "invalid_payload", reason: "not JSON" } as const;
		expect(verdictOf(batch, { cursor: 5, applied: ["op_4"], duplicates: [], rejected: [gap, bad] })).toEqual({
			cursor: 5,
			rejected: { position: 5, code: "invalid_payload", reason: "not JSON" },
		});
	});

	test("an ack whose cursor lies before its own ops says nothing", () => {
		const ack = { cursor: 6, applied: ["op_4", "op_5", "op_6"], duplicates: [], rejected: [] };
		expect(verdictOf(batch, ack)).toBeUndefined();
	});
});

describe("compare", () => {
	let ids = 0;
	const newId = () => `fresh_${ids++}`;
	const message = (id: string, text: string) => ({ type: "message" as const, key: `message/${id}`, payload: text });

	test("makes ops for what the share lacks or holds differently, and removes nothing on its own", () => {
		const share = new Map([
			["message/a", digestOf('"same"')],
			["message/b", digestOf('"old"')],
			["message/theirs", digestOf('"x"')],
		]);
		const truth = [message("a", '"same"'), message("b", '"new"'), message("c", '"lacking"')];
		const { fresh, same } = compare(share, truth, [], newId);
		expect(fresh.map((op) => op.key)).toEqual(["message/b", "message/c"]);
		expect([...same.keys()]).toEqual(["message/a"]);
	});

	test("removes what OpenCode has removed only where the share has it and OpenCode does not", () => {
		const held = ["message/gone", "part/gone/1", "message/back", "part/back/1", "part/back/2"];
		const share = new Map(held.map((key) => [key, digestOf("1")]));
		const gone = [...held.slice(0, 4), "message/unknown"];
		const { fresh } = compare(share, [message("back", "1")], gone, newId);
		expect(fresh.map((op) => [op.type, op.key])).toEqual([
			["message_removed", "message/gone"],
			["part_removed", "part/back/1"],
		]);
	});

	test("a snapshot removes what was captured and is gone, a message taking its parts along", () => {
		const captured = new Map(
			["session", "message/a", "part/a/1", "message/b", "part/b/1", "part/b/2", "todo"].map((key) => [
				key,
				digestOf("1"),
			]),
		);
		const entities = [
			{ type: "session" as const, key: "session", payload: "2" },
			message("b", "1"),
			{ type: "part" as const, key: "part/b/1", payload: "1" },
		];
		const ops = snapshotDifference(captured, entities, new Set(), newId);
		expect(ops.map((op) => [op.type, op.key])).toEqual([
			["message_removed", "message/a"],
			["part_removed", "part/b/2"],
			["session", "session"],
		]);
	});

	test("what the source cannot read is not taken for gone", () => {
		const captured = new Map([["message/a", digestOf("1")]]);
		expect(snapshotDifference(captured, [], new Set(["message/a"]), newId)).toEqual([]);
	});
});
