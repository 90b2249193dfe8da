import { describe, expect, test } from "vitest";
import { append, freshOutbox, message, messageRemoved, opIds, part, S, sealAndReserve, WIDE } from "./fixture.ts";

/** m1 with two parts and m2 between them, sealed as one batch; all of it reserved. */
async function sealed() {
	const fresh = await freshOutbox();
	append(fresh.outbox, [message("e1", "m1"), part("e2", "m1", "p1"), message("e3", "m2"), part("e4", "m1", "p2")]);
	sealAndReserve(fresh.outbox);
	return fresh;
}

describe("reject", () => {
	for (const position of [0, 1, 2, 3])
		test(`at position ${position} buries that op, parks what depends on it, and gives back the rest`, async () => {
			const { outbox } = await sealed();
			outbox.ack(S, position, 3000);
			const letters = outbox.reject(S, position, "invalid_payload", "no", 4000);
			const parked = position === 0 ? ["e2", "e4"] : [];
			const buried = [`e${position + 1}`, ...parked];
			expect(letters.map((id) => outbox.deadLetter(id)?.op_id)).toEqual(buried);
			const [first, ...others] = letters;
			expect(others.map((id) => outbox.deadLetter(id))).toEqual(
				parked.map(() => expect.objectContaining({ code: "missing_dependency", parent_id: first })),
			);
			const rest = ["e1", "e2", "e3", "e4"].slice(position).filter((id) => !buried.includes(id));
			const batches = sealAndReserve(outbox);
			expect(opIds(batches)).toEqual(rest);
			expect(batches.map((batch) => batch.first_position)).toEqual(rest.length > 0 ? [position] : []);
		});

	test("before the acked cursor, or beyond what is sealed, does nothing", async () => {
		const { outbox } = await sealed();
		outbox.ack(S, 1, 3000);
		append(outbox, [message("e5", "m5")]);
		expect([0, 4, 5, -1].map((position) => outbox.reject(S, position, "too_large", "no", 4000))).toEqual([
			[],
			[],
			[],
			[],
		]);
		expect(outbox.session(S)).toMatchObject({ acked_cursor: 1, sealed_cursor: 4, pending: 4 });
	});

	test("lets later changes of the entity through", async () => {
		const { outbox } = await sealed();
		outbox.reject(S, 0, "too_large", "no", 4000);
		append(outbox, [message("e5", "m1")]);
		expect(opIds(sealAndReserve(outbox))).toEqual(["e3", "e5"]);
	});
});

describe("revive", () => {
	test("puts a letter and what was parked with it at the end of the line, in order", async () => {
		const { outbox } = await sealed();
		const [id = 0] = outbox.reject(S, 0, "invalid_payload", "no", 4000);
		append(outbox, [message("e5", "m5")]);
		expect(outbox.revive(id, 5000)).toEqual({ outcome: "revived", ops: 3 });
		expect(outbox.deadLetters()).toEqual([]);
		const batches = sealAndReserve(outbox);
		expect(opIds(batches)).toEqual(["e3", "e5", "e1", "e2", "e4"]);
		expect(batches[0]?.ops.map((op) => op.depends_on)).toEqual([null, null, null, "e1", "e1"]);
	});

	test("only discards what a newer state has superseded", async () => {
		const { outbox } = await sealed();
		outbox.ack(S, 2, 3000);
		const [id = 0] = outbox.reject(S, 2, "too_large", "no", 4000);
		append(outbox, [message("e5", "m2", "shorter")]);
		expect(outbox.revive(id, 5000)).toEqual({ outcome: "superseded", ops: 0 });
		expect(opIds(sealAndReserve(outbox))).toEqual(["e4", "e5"]);
		expect(outbox.revive(id, 5000)).toEqual({ outcome: "unknown", ops: 0 });
	});

	test("only discards what was removed since", async () => {
		const { outbox } = await sealed();
		outbox.ack(S, 2, 3000);
		const [id = 0] = outbox.reject(S, 2, "too_large", "no", 4000);
		append(outbox, [messageRemoved("e5", "m2")]);
		expect(outbox.revive(id, 5000).outcome).toBe("superseded");
	});

	test("keeps a letter that has nothing to send", async () => {
		const { outbox } = await freshOutbox();
		append(outbox, [{ op_id: "e1", type: "part", key: "part/m/p", code: "too_large", reason: "460 MB" }]);
		const [letter] = outbox.deadLetters();
		expect(outbox.revive(letter?.id ?? 0, 5000)).toEqual({ outcome: "no_payload", ops: 0 });
		expect(outbox.deadLetters()).toHaveLength(1);
	});

	test("brings a buried removal back, unless its entity is there again", async () => {
		for (const again of [false, true]) {
			const { outbox } = await freshOutbox();
			append(outbox, [message("e1", "m1")]);
			sealAndReserve(outbox);
			outbox.ack(S, 1, 3000);
			append(outbox, [messageRemoved("e2", "m1")]);
			sealAndReserve(outbox);
			const [id = 0] = outbox.reject(S, 1, "invalid_payload", "no", 4000);
			if (again) append(outbox, [message("e3", "m1")]);
			expect(outbox.revive(id, 5000).outcome).toBe(again ? "superseded" : "revived");
			expect(opIds(sealAndReserve(outbox))).toEqual(again ? ["e3"] : ["e2"]);
			expect(outbox.isCaptured(S, "message/m1")).toBe(again);
		}
	});

	test("makes a deferred session due", async () => {
		const { outbox } = await sealed();
		const [id = 0] = outbox.reject(S, 3, "too_large", "no", 4000);
		outbox.nack(S, 99_000, "lost");
		outbox.revive(id, 5000);
		expect(outbox.session(S)?.next_retry_at).toBe(0);
	});
});

describe("discard", () => {
	test("throws a letter away with what was parked because of it", async () => {
		const { outbox } = await sealed();
		const [id = 0, child = 0] = outbox.reject(S, 0, "invalid_payload", "no", 4000);
		expect(outbox.discard(child)).toBe(1);
		expect(outbox.discard(id)).toBe(2);
		expect(outbox.discard(id)).toBe(0);
		expect(outbox.deadLetters()).toEqual([]);
		expect(opIds(sealAndReserve(outbox, WIDE))).toEqual(["e3"]);
	});
});
