import { describe, expect, test } from "vitest";
import {
	append,
	capture,
	freshOutbox,
	message,
	messageRemoved,
	opIds,
	part,
	partRemoved,
	rowsOf,
	S,
	sealAndReserve,
	tamper,
	WIDE,
	watermark,
} from "./fixture.ts";

describe("append", () => {
	test("moves the ops and the watermark together", async () => {
		const { outbox } = await freshOutbox();
		const result = outbox.append(capture(null, 2, [message("e1", "m1"), part("e2", "m1", "p1")]), 1000);
		expect(result).toEqual({ outcome: "appended", ops: 2 });
		expect(outbox.session(S)).toMatchObject({ pending: 2, watermark: watermark(2) });
	});

	test("moves neither when it throws", async () => {
		const { outbox } = await freshOutbox();
		append(outbox, [message("e1", "m1")]);
		const broken = { ...message("e3", "m3"), payload: 1n as unknown as string };
		expect(() => outbox.append(capture(1, 3, [message("e2", "m2"), broken]), 1000)).toThrow();
		expect(outbox.session(S)).toMatchObject({ pending: 1, watermark: watermark(1) });
		expect(outbox.isCaptured(S, "message/m2")).toBe(false);
	});

	test("writes nothing at all when another writer has moved the watermark", async () => {
		const { outbox, path } = await freshOutbox();
		const { outbox: other } = await freshOutbox(path);
		append(outbox, [message("e1", "m1")]);
		const before = { session: outbox.session(S), captured: outbox.capturedDigests(S) };
		outbox.setSource(S, "vanished", "looked away");
		const late = { ...capture(null, 2, [message("e2", "m2")]), facts: { parent_id: "p", title: "t", directory: "d" } };
		expect(other.append(late, 1000)).toEqual({ outcome: "stale" });
		expect(outbox.session(S)).toEqual({ ...before.session, source_state: "vanished" });
		expect(outbox.capturedDigests(S)).toEqual(before.captured);
	});

	test("makes no session row for a stale first capture", async () => {
		const { outbox } = await freshOutbox();
		expect(outbox.append(capture(7, 8, [message("e8", "m1")]), 1000)).toEqual({ outcome: "stale" });
		expect(outbox.session(S)).toBeUndefined();
	});

	test("takes a watermark with the same number but another event for another one", async () => {
		const { outbox } = await freshOutbox();
		append(outbox, [message("e1", "m1")]);
		const wiped = { ...capture(1, 2, [message("e2", "m2")]), from: { seq: 1, event_id: "evt_other" } };
		expect(outbox.append(wiped, 1000)).toEqual({ outcome: "stale" });
	});

	test("is harmless when it is repeated after an error of unknown outcome", async () => {
		const { outbox } = await freshOutbox();
		const once = capture(null, 2, [message("e1", "m1"), message("e2", "m1", "later")]);
		outbox.append(once, 1000);
		sealAndReserve(outbox);
		expect(outbox.append(once, 1000)).toEqual({ outcome: "stale" });
		expect(outbox.session(S)).toMatchObject({ pending: 1, watermark: watermark(2) });
	});

	test("gives no op the id of one that is gone", async () => {
		const { outbox, path } = await freshOutbox();
		append(outbox, [message("e1", "m1"), part("e2", "m1", "p1")]);
		await tamper(path, "DELETE FROM op");
		append(outbox, [message("e3", "m3"), message("e4", "m4")]);
		expect(await rowsOf(path, "SELECT id, op_id FROM op ORDER BY id")).toEqual([
			{ id: 3, op_id: "e3" },
			{ id: 4, op_id: "e4" },
		]);
	});

	test("is harmless when it is repeated without a watermark to tell", async () => {
		const { outbox } = await freshOutbox();
		const poison = { op_id: "x1", type: "part", key: "part/m1/p9", code: "invalid_payload", reason: "broken" } as const;
		const once = capture(null, null, [message("e1", "m1"), part("e2", "m1", "p1"), poison]);
		expect(outbox.append(once, 1000)).toEqual({ outcome: "appended", ops: 3 });
		sealAndReserve(outbox);
		expect(outbox.append(once, 1001)).toEqual({ outcome: "appended", ops: 0 });
		expect(outbox.session(S)?.pending).toBe(2);
		expect(outbox.deadLetters()).toHaveLength(1);
	});

	test("makes no op of a payload equal to the last one, sealed, acked or pending", async () => {
		const { outbox } = await freshOutbox();
		append(outbox, [message("e1", "m1", "same")]);
		expect(append(outbox, [message("e2", "m1", "same")])).toBe(0);
		sealAndReserve(outbox);
		expect(append(outbox, [message("e3", "m1", "same")])).toBe(0);
		outbox.ack(S, 1, 3000);
		expect(append(outbox, [message("e4", "m1", "same")])).toBe(0);
		expect(outbox.session(S)).toMatchObject({ pending: 0, watermark: watermark(4) });
	});

	test("sets aside at once what no op can carry", async () => {
		const { outbox } = await freshOutbox();
		const poison = { op_id: "e1", type: "part", key: "part/m1/p1", code: "too_large", reason: "460 MB" } as const;
		append(outbox, [poison, message("e2", "m1")]);
		expect(outbox.session(S)?.pending).toBe(1);
		expect(outbox.deadLetters()).toMatchObject([{ op_id: "e1", code: "too_large", payload: null, parent_id: null }]);
	});
});

describe("supersede", () => {
	test("202 updates of one streamed part cost one op", async () => {
		const { outbox } = await freshOutbox();
		append(outbox, [message("e0", "m1")]);
		for (let n = 1; n <= 202; n++) append(outbox, [part(`e${n}`, "m1", "p1", `text ${n}`)]);
		expect(outbox.session(S)?.pending).toBe(2);
		const [batch] = sealAndReserve(outbox);
		expect(batch?.ops.map((op) => [op.op_id, op.payload])).toEqual([
			["e0", '{"text":"e0"}'],
			["e202", '{"text":"text 202"}'],
		]);
	});

	test("puts the last state in the earliest one's place", async () => {
		const { outbox } = await freshOutbox();
		append(outbox, [message("e1", "m1"), part("e2", "m1", "p1"), message("e3", "m2"), part("e4", "m1", "p1")]);
		expect(opIds(sealAndReserve(outbox))).toEqual(["e1", "e4", "e3"]);
	});

	test("collapses within a group of many as it does between groups", async () => {
		const { outbox } = await freshOutbox();
		append(outbox, [message("e0", "m0")]);
		const parts = (from: string, text: string) =>
			Array.from({ length: 100 }, (_, n) => part(`${from}${n}`, "m0", `p${n}`, `${text} ${n}`));
		// The first fifty once more; what was removed between is made anew, behind its removal.
		append(outbox, [...parts("a", "first"), ...parts("b", "last").slice(0, 50)]);
		append(outbox, [message("e1", "m0"), ...parts("c", "first").slice(50), partRemoved("d0", "m0", "p0")]);
		append(outbox, [part("f0", "m0", "p0", "late"), part("g0", "m0", "p0", "again")]);
		const expected = ["e1", ...Array.from({ length: 100 }, (_, n) => `${n < 50 ? "b" : "a"}${n}`), ...["d0", "g0"]];
		expect(outbox.session(S)?.pending).toBe(expected.length);
		expect(opIds(sealAndReserve(outbox))).toEqual(expected);
	});

	test("never changes a sealed op", async () => {
		const { outbox } = await freshOutbox();
		append(outbox, [message("e1", "m1")]);
		const [sealed] = sealAndReserve(outbox);
		append(outbox, [message("e2", "m1"), message("e3", "m1")]);
		outbox.nack(S, 0, "lost");
		expect(outbox.reserve(S, "owner", 1000, 3000)).toEqual({ ...sealed, attempts: 2 });
		outbox.seal(S, WIDE, 3000);
		expect(opIds([outbox.reserve(S, "owner", 1000, 3000)].filter((batch) => batch !== undefined))).toEqual(["e3"]);
	});

	test("does not reach across a removal", async () => {
		const { outbox } = await freshOutbox();
		append(outbox, [message("e1", "m1"), messageRemoved("e2", "m1"), message("e3", "m1"), message("e4", "m1")]);
		expect(opIds(sealAndReserve(outbox))).toEqual(["e1", "e2", "e4"]);
	});

	test("does not reach across a removal of the message, for its parts either", async () => {
		const { outbox } = await freshOutbox();
		append(outbox, [message("e1", "m1"), part("e2", "m1", "p1", "same"), part("e3", "m10", "p1")]);
		append(outbox, [messageRemoved("e4", "m1"), message("e5", "m1"), part("e6", "m1", "p1", "same")]);
		append(outbox, [part("e7", "m10", "p1")]);
		expect(opIds(sealAndReserve(outbox))).toEqual(["e1", "e2", "e7", "e4", "e5", "e6"]);
	});

	test("a removal of what was never captured makes no op", async () => {
		const { outbox } = await freshOutbox();
		expect(append(outbox, [messageRemoved("e1", "m1"), partRemoved("e2", "m1", "p1")])).toBe(0);
		expect(outbox.session(S)).toMatchObject({ pending: 0, watermark: watermark(2) });
	});

	test("a removed message takes its parts out of what counts as captured", async () => {
		const { outbox } = await freshOutbox();
		append(outbox, [message("e1", "m1"), part("e2", "m1", "p1"), part("e3", "m1", "p2"), message("e4", "m2")]);
		append(outbox, [messageRemoved("e5", "m1")]);
		expect([...outbox.capturedDigests(S).keys()]).toEqual(["message/m2"]);
		expect(append(outbox, [partRemoved("e6", "m1", "p1")])).toBe(0);
	});
});
