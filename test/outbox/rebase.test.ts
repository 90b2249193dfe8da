import { describe, expect, test } from "vitest";
import { digestOf } from "../../src/model/json.ts";
import type { Rebase } from "../../src/outbox/rebase.ts";
import {
	append,
	capture,
	freshOutbox,
	message,
	messageRemoved,
	opIds,
	part,
	S,
	sealAndReserve,
	WIDE,
	watermark,
} from "./fixture.ts";

function rebase(fields: Partial<Rebase>): Rebase {
	return { cursor: 40, last_op_id: "theirs", fresh: [], same: new Map(), watermark: watermark(9), ...fields };
}

const [M1, M2] = [message("e1", "m1"), message("e2", "m2")];

describe("rebase", () => {
	test("puts fresh ops on top of the share's cursor and forgets the old ones", async () => {
		const { outbox } = await freshOutbox();
		append(outbox, [M1, M2]);
		sealAndReserve(outbox, { ...WIDE, ops_per_batch: 1 });
		outbox.ack(S, 1, 3000);
		append(outbox, [message("e3", "m3")]);
		outbox.mustCompare(S, "another writer");
		outbox.rebase(S, rebase({ fresh: [message("f1", "m2"), message("f2", "m3")] }), 4000);
		expect(outbox.session(S)).toMatchObject({
			...{ acked_cursor: 40, sealed_cursor: 40, acked_op_id: "theirs", compare_reason: null, pending: 2 },
			watermark: watermark(9),
		});
		expect(outbox.reserve(S, "another", 1000, 9000)).toBeUndefined();
		const [batch] = sealAndReserve(outbox);
		expect(batch?.first_position).toBe(40);
		expect(opIds(batch ? [batch] : [])).toEqual(["f1", "f2"]);
	});

	test("goes back with a share that went back", async () => {
		const { outbox } = await freshOutbox();
		append(outbox, [M1, M2]);
		sealAndReserve(outbox);
		outbox.ack(S, 2, 3000);
		outbox.rebase(S, rebase({ cursor: 1, last_op_id: "e1", fresh: [message("f1", "m2")] }), 4000);
		expect(outbox.session(S)).toMatchObject({ acked_cursor: 1, sealed_cursor: 1, acked_op_id: "e1", pending: 1 });
		expect(sealAndReserve(outbox)[0]).toMatchObject({ first_position: 1, ops: [{ op_id: "f1" }] });
	});

	test("is safe to repeat", async () => {
		const { outbox } = await freshOutbox();
		append(outbox, [M1, M2]);
		const what = rebase({ fresh: [message("f1", "m2")], same: new Map([[M1.key, digestOf(M1.payload)]]) });
		outbox.rebase(S, what, 4000);
		const before = outbox.session(S);
		outbox.rebase(S, what, 4001);
		expect(outbox.session(S)).toEqual(before);
		expect(opIds(sealAndReserve(outbox))).toEqual(["f1"]);
	});

	test("captures no entity again on which both agree", async () => {
		const { outbox } = await freshOutbox();
		append(outbox, [M1]);
		outbox.rebase(S, rebase({ same: new Map([[M1.key, digestOf(M1.payload)]]) }), 4000);
		expect(outbox.append(capture(9, 10, [{ ...M1, op_id: "e9" }]), 4000)).toEqual({ outcome: "appended", ops: 0 });
		expect(outbox.append(capture(10, 11, [message("e10", "m1")]), 4000)).toEqual({ outcome: "appended", ops: 1 });
		expect(opIds(sealAndReserve(outbox))).toEqual(["e10"]);
	});

	test("keeps what both agree on retained, so that it can be rebuilt once more", async () => {
		const { outbox } = await freshOutbox();
		append(outbox, [M1, M2]);
		sealAndReserve(outbox, { ...WIDE, ops_per_batch: 1 });
		outbox.ack(S, 1, 3000);
		const same = new Map([M1, M2].map((op) => [op.key, digestOf(op.payload)]));
		for (let n = 0; n < 2; n++) outbox.rebase(S, rebase({ same }), 4000);
		outbox.retain(4000);
		expect(outbox.session(S)?.pending).toBe(0);
		expect(outbox.retained(S).map((row) => row.payload)).toEqual([M1.payload, M2.payload]);
	});

	test("repeats a removal of what only the share still has", async () => {
		const { outbox } = await freshOutbox();
		append(outbox, [M1, part("e3", "m1", "p1")]);
		outbox.rebase(S, rebase({ fresh: [messageRemoved("f1", "m1"), messageRemoved("f2", "m9")] }), 4000);
		expect(opIds(sealAndReserve(outbox))).toEqual(["f1", "f2"]);
		expect(outbox.capturedDigests(S).size).toBe(0);
	});

	test("takes a removal of an entity that is agreed on, or made just before", async () => {
		const { outbox } = await freshOutbox();
		append(outbox, [M1]);
		const fresh = [message("f1", "m2"), messageRemoved("f2", "m2"), messageRemoved("f3", "m1")];
		outbox.rebase(S, rebase({ fresh, same: new Map([[M1.key, digestOf(M1.payload)]]) }), 4000);
		expect(opIds(sealAndReserve(outbox))).toEqual(["f1", "f2", "f3"]);
	});

	test("leaves other sessions alone", async () => {
		const { outbox } = await freshOutbox();
		append(outbox, [M1], 1000, "ses_2");
		outbox.seal("ses_2", WIDE, 2000);
		append(outbox, [M1]);
		outbox.rebase(S, rebase({}), 4000);
		expect(outbox.session("ses_2")).toMatchObject({ pending: 1, sealed_cursor: 1 });
		expect(outbox.reserve("ses_2", "a", 1, 4000)?.ops).toHaveLength(1);
	});

	test("what was removed is remembered, acknowledged or not, until it is captured anew", async () => {
		const { outbox } = await freshOutbox();
		append(outbox, [M1, M2, part("e3", "m1", "p1", "x"), messageRemoved("e4", "m1"), messageRemoved("e5", "never")]);
		sealAndReserve(outbox);
		outbox.ack(S, 4, 3000);
		expect(outbox.removedKeys(S)).toEqual(["message/m1", "message/never", "part/m1/p1"]);
		append(outbox, [message("e6", "m1", "back")]);
		expect(outbox.removedKeys(S)).toEqual(["message/never", "part/m1/p1"]);
		outbox.forget(S);
		expect(outbox.removedKeys(S)).toEqual([]);
	});
});
