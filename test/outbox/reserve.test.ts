import { describe, expect, test } from "vitest";
import {
	append,
	freshOutbox,
	message,
	messageRemoved,
	opIds,
	part,
	reserveAll,
	rowsOf,
	S,
	sealAndReserve,
	WIDE,
} from "./fixture.ts";

const ONE = { ...WIDE, ops_per_batch: 1 };

/** An outbox with three sealed batches of one op each. */
async function threeBatches() {
	const { outbox, path } = await freshOutbox();
	append(outbox, [message("e1", "m1"), message("e2", "m2"), message("e3", "m3")]);
	while (outbox.seal(S, ONE, 2000).sealed > 0);
	const reserve = (owner: string, now: number) => outbox.reserve(S, owner, 100, now)?.ops[0]?.op_id;
	return { outbox, path, reserve };
}

describe("reserve", () => {
	test("gives one owner the batches in order, then none", async () => {
		const { reserve } = await threeBatches();
		expect([1, 2, 3, 4].map(() => reserve("a", 2000))).toEqual(["e1", "e2", "e3", undefined]);
	});

	test("gives another owner nothing while the head is leased", async () => {
		const { reserve } = await threeBatches();
		expect(reserve("a", 2000)).toBe("e1");
		expect(reserve("b", 2099)).toBeUndefined();
	});

	test("gives another owner the head once the lease has run out", async () => {
		const { reserve } = await threeBatches();
		reserve("a", 2000);
		expect(reserve("b", 2100)).toBe("e1");
		expect(reserve("a", 2100)).toBeUndefined();
	});

	test("starts over at the head when its own lease has run out", async () => {
		const { reserve } = await threeBatches();
		reserve("a", 2000);
		reserve("a", 2050);
		expect([1, 2, 3].map(() => reserve("a", 2100))).toEqual(["e1", "e3", undefined]);
		expect(reserve("a", 2150)).toBe("e2");
	});

	test("counts the attempt before it is made", async () => {
		const { outbox, path } = await threeBatches();
		expect(outbox.reserve(S, "a", 100, 2000)?.attempts).toBe(1);
		outbox.nack(S, 0, "lost");
		expect(outbox.reserve(S, "a", 100, 2000)?.attempts).toBe(2);
		expect(await rowsOf(path, "SELECT attempts FROM batch ORDER BY first_position LIMIT 1")).toEqual([{ attempts: 2 }]);
	});

	test("extend keeps all that an owner holds, and nobody else's", async () => {
		const { outbox, reserve } = await threeBatches();
		reserve("a", 2000);
		reserve("a", 2000);
		outbox.extend(S, "b", 1000, 2000);
		outbox.extend(S, "a", 100, 2090);
		expect(reserve("b", 2189)).toBeUndefined();
		expect(reserve("b", 2190)).toBe("e1");
	});

	test("recover gives every lease back", async () => {
		const { outbox, reserve } = await threeBatches();
		reserve("dead", 2000);
		reserve("dead", 2000);
		expect(outbox.recover()).toBe(2);
		expect(outbox.recover()).toBe(0);
		expect(reserve("new", 2001)).toBe("e1");
	});

	test("knows nothing of unsealed ops or unknown sessions", async () => {
		const { outbox } = await freshOutbox();
		append(outbox, [message("e1", "m1")]);
		expect(outbox.reserve(S, "a", 100, 2000)).toBeUndefined();
		expect(outbox.reserve("ses_none", "a", 100, 2000)).toBeUndefined();
	});
});

describe("nack", () => {
	test("makes the same bytes due again at the given time", async () => {
		const { outbox } = await threeBatches();
		const before = reserveAll(outbox);
		outbox.attempt(S);
		outbox.nack(S, 9000, "connection lost");
		expect(outbox.session(S)).toMatchObject({ next_retry_at: 9000, attempts: 1, pending: 3 });
		expect(outbox.work()).toMatchObject([{ session_id: S, next_retry_at: 9000 }]);
		expect(reserveAll(outbox)).toEqual(before.map((batch) => ({ ...batch, attempts: 2 })));
	});

	test("hurry makes it due at once", async () => {
		const { outbox } = await threeBatches();
		outbox.nack(S, 9000, "connection lost");
		outbox.hurry();
		expect(outbox.session(S)?.next_retry_at).toBe(0);
	});
});

describe("ack", () => {
	test("takes what is acknowledged out of the line and ends the backoff", async () => {
		const { outbox } = await threeBatches();
		outbox.attempt(S);
		outbox.nack(S, 9000, "lost");
		expect(outbox.ack(S, 2, 3000)).toBe(2);
		const session = { pending: 1, acked_cursor: 2, acked_op_id: "e2", attempts: 0, next_retry_at: 0 };
		expect(outbox.session(S)).toMatchObject(session);
		expect(opIds(reserveAll(outbox))).toEqual(["e3"]);
	});

	test("changes nothing when repeated, lower, or beyond what is sealed", async () => {
		const { outbox } = await threeBatches();
		append(outbox, [message("e4", "m4")]);
		outbox.ack(S, 2, 3000);
		const before = outbox.session(S);
		expect([2, 1, 0, 4, 99].map((cursor) => outbox.ack(S, cursor, 4000))).toEqual([0, 0, 0, 0, 0]);
		expect(outbox.session(S)).toEqual(before);
	});

	test("a batch that lies astride stays as it is, through retention too", async () => {
		const { outbox } = await freshOutbox();
		append(outbox, [message("e1", "m1"), part("e2", "m1", "p1"), message("e3", "m2")]);
		const [sealed] = sealAndReserve(outbox);
		append(outbox, [message("e4", "m1")]);
		expect(outbox.ack(S, 2, 3000)).toBe(2);
		outbox.nack(S, 0, "lost");
		expect(outbox.retain(1e15)).toEqual({ deleted: 0, more: false });
		expect(reserveAll(outbox)).toEqual([{ ...sealed, attempts: 2 }]);
		expect(outbox.ack(S, 3, 3000)).toBe(1);
		expect(outbox.retain(1e15).deleted).toBe(3);
		expect(outbox.session(S)?.pending).toBe(1);
	});

	test("lastBelow names the op before a cursor only where it is ours", async () => {
		const { outbox } = await threeBatches();
		append(outbox, [message("e4", "m4")]);
		outbox.ack(S, 1, 3000);
		const below = [0, 1, 2, 3, 4].map((cursor) => outbox.lastBelow(S, cursor)?.op_id);
		expect(below).toEqual([undefined, undefined, "e2", "e3", undefined]);
		expect(outbox.lastBelow("ses_none", 1)).toBeUndefined();
	});
});

describe("retention", () => {
	test("never deletes an op that is not acknowledged", async () => {
		const { outbox } = await threeBatches();
		append(outbox, [message("e4", "m4")]);
		expect(outbox.retain(1e15, 0).deleted).toBe(0);
		expect(outbox.session(S)?.pending).toBe(4);
		const { outbox: unsealed } = await freshOutbox();
		append(unsealed, [message("e1", "m1"), messageRemoved("e2", "m1")]);
		expect(unsealed.retain(1e15, 0).deleted).toBe(0);
	});

	test("deletes a superseded op at once, an entity's last one after keepMs", async () => {
		const { outbox, path } = await freshOutbox();
		append(outbox, [message("e1", "m1"), message("e2", "m2")], 1000);
		sealAndReserve(outbox);
		append(outbox, [message("e3", "m1")], 1500);
		sealAndReserve(outbox);
		outbox.ack(S, 3, 3000);
		const left = async () => (await rowsOf<{ op_id: string }>(path, "SELECT op_id FROM op")).map((row) => row.op_id);
		expect(outbox.retain(1600, 600).deleted).toBe(1);
		expect(await left()).toEqual(["e2", "e3"]);
		expect(outbox.retain(1601, 600).deleted).toBe(1);
		expect(await left()).toEqual(["e3"]);
		expect(outbox.retained(S).map((row) => row.key)).toEqual(["message/m1"]);
		expect(outbox.retain(2101, 600).deleted).toBe(1);
		expect(outbox.capturedDigests(S).size).toBe(2);
	});

	test("deletes an acknowledged removal and what it removed", async () => {
		const { outbox } = await freshOutbox();
		append(outbox, [message("e1", "m1"), part("e2", "m1", "p1")]);
		append(outbox, [{ op_id: "e3", type: "message_removed", key: "message/m1", payload: "{}" }]);
		sealAndReserve(outbox);
		outbox.ack(S, 3, 3000);
		expect(outbox.retain(3000).deleted).toBe(3);
	});

	test("goes in steps", async () => {
		const { outbox } = await freshOutbox();
		append(
			outbox,
			Array.from({ length: 2500 }, (_, n) => message(`e${n}`, `m${n}`)),
		);
		while (outbox.seal(S, { ...WIDE, sealed_ops: 5000 }, 2000).sealed > 0);
		outbox.ack(S, 2500, 3000);
		expect(outbox.retain(1e15)).toEqual({ deleted: 2000, more: true });
		expect(outbox.retain(1e15)).toEqual({ deleted: 500, more: false });
	});
});
