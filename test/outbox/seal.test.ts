import { describe, expect, test } from "vitest";
import {
	append,
	capture,
	freshOutbox,
	message,
	opIds,
	part,
	reserveAll,
	rowsOf,
	S,
	sealAndReserve,
	tamper,
	WIDE,
	watermark,
} from "./fixture.ts";

const text = (bytes: number) => "x".repeat(bytes - '{"text":""}'.length);

describe("limits of seal", () => {
	test("a batch ends at the most ops", async () => {
		const { outbox } = await freshOutbox();
		append(
			outbox,
			["1", "2", "3", "4", "5"].map((n) => message(`e${n}`, n)),
		);
		const batches = sealAndReserve(outbox, { ...WIDE, ops_per_batch: 2 });
		expect(batches.map((batch) => [batch.first_position, opIds([batch])])).toEqual([
			[0, ["e1", "e2"]],
			[2, ["e3", "e4"]],
			[4, ["e5"]],
		]);
	});

	test("a batch ends at the most bytes, unless its only op is larger", async () => {
		const { outbox } = await freshOutbox();
		const sizes = [60, 40, 41, 150, 20];
		append(
			outbox,
			sizes.map((bytes, n) => message(`e${n}`, `m${n}`, text(bytes))),
		);
		const batches = sealAndReserve(outbox, { ...WIDE, batch_bytes: 100, op_bytes: 200 });
		expect(batches.map((batch) => batch.bytes)).toEqual([100, 41, 150, 20]);
	});

	test("bytes are UTF-8, not characters", async () => {
		const { outbox } = await freshOutbox();
		append(outbox, [message("e1", "m1", "é".repeat(10))]);
		expect(sealAndReserve(outbox)[0]?.bytes).toBe(20 + '{"text":""}'.length);
	});

	test("an op that is too large is buried with its dependants, and the rest goes on in the same call", async () => {
		const { outbox } = await freshOutbox();
		append(outbox, [
			message("e1", "m1", text(300)),
			part("e2", "m1", "p1"),
			message("e3", "m2"),
			part("e4", "m1", "p2"),
		]);
		append(outbox, [message("e5", "m3", text(300))]);
		const result = outbox.seal(S, { ...WIDE, op_bytes: 200 }, 2000);
		expect(result.sealed).toBe(1);
		expect(opIds(reserveAll(outbox))).toEqual(["e3"]);
		const letters = outbox.deadLetters();
		expect(letters.map(({ op_id, code }) => [op_id, code])).toEqual([
			["e1", "too_large"],
			["e2", "missing_dependency"],
			["e4", "missing_dependency"],
			["e5", "too_large"],
		]);
		expect(letters.map((letter) => letter.parent_id)).toEqual([null, letters[0]?.id, letters[0]?.id, null]);
		expect(result.buried).toEqual(letters.map((letter) => letter.id));
		expect(letters[0]?.reason).toContain("300 bytes");
	});

	test("sealed 0 means that there was nothing, even after burials", async () => {
		const { outbox } = await freshOutbox();
		append(outbox, [message("e1", "m1", text(300)), part("e2", "m1", "p1"), message("e3", "m2", text(300))]);
		expect(outbox.seal(S, { ...WIDE, op_bytes: 200, ops_per_batch: 1 }, 2000)).toMatchObject({ sealed: 0 });
		expect(outbox.session(S)?.pending).toBe(0);
	});

	test("nothing is sealed beyond the most sealed, unacknowledged ops", async () => {
		const { outbox } = await freshOutbox();
		append(
			outbox,
			["1", "2", "3", "4", "5"].map((n) => message(`e${n}`, n)),
		);
		const narrow = { ...WIDE, ops_per_batch: 2, sealed_ops: 3 };
		expect([1, 2, 3].map(() => outbox.seal(S, narrow, 2000).sealed)).toEqual([2, 1, 0]);
		outbox.ack(S, 1, 3000);
		expect([1, 2].map(() => outbox.seal(S, narrow, 2000).sealed)).toEqual([1, 0]);
	});
});

describe("seal", () => {
	test("the same rows seal to the same batches, whenever they are sealed", async () => {
		const [a, b] = [await freshOutbox(), await freshOutbox()];
		for (const { outbox } of [a, b]) {
			append(outbox, [message("e1", "m1"), part("e2", "m1", "p1")], 1000);
			append(outbox, [part("e3", "m1", "p1"), message("e4", "m2")], 1001);
		}
		const limits = { ...WIDE, ops_per_batch: 2 };
		expect(sealAndReserve(a.outbox, limits, 5000)).toEqual(sealAndReserve(b.outbox, limits, 9000));
		const digests = ({ path }: { path: string }) => rowsOf(path, "SELECT batch_id, digest, bytes FROM batch");
		expect(await digests(a)).toEqual(await digests(b));
	});

	test("another position, session or dependency makes another batch", async () => {
		const ids = new Set<string | undefined>();
		const { outbox } = await freshOutbox();
		for (const session of ["ses_a", "ses_b"]) {
			outbox.append(capture(null, 1, [message("e1", "m1")], session), 1000);
			outbox.seal(session, WIDE, 2000);
			ids.add(outbox.reserve(session, "owner", 1, 2000)?.batch_id);
		}
		outbox.append(capture(null, 2, [message("e0", "m0"), message("e1", "m1")], "ses_c"), 1000);
		for (let n = 0; n < 2; n++) outbox.seal("ses_c", { ...WIDE, ops_per_batch: 1 }, 2000);
		for (const batch of reserveAll(outbox, 2000, "owner", "ses_c")) ids.add(batch.batch_id);
		expect(ids.size).toBe(4);
	});

	test("batches outlive a re-open, bytes and all", async () => {
		const { outbox, path } = await freshOutbox();
		append(outbox, [message("e1", "m1"), part("e2", "m1", "p1"), message("e3", "m2")]);
		const before = sealAndReserve(outbox, { ...WIDE, ops_per_batch: 2 });
		outbox.close();
		const { outbox: again } = await freshOutbox(path);
		again.recover();
		append(again, [message("e4", "m1"), part("e5", "m1", "p1")]);
		expect(reserveAll(again, 3000, "another")).toEqual(before.map((batch) => ({ ...batch, attempts: 2 })));
	});
});

describe("depends_on", () => {
	test("names the op that makes the message, as it was when it was sealed", async () => {
		const { outbox } = await freshOutbox();
		append(outbox, [message("e1", "m1"), part("e2", "m1", "p1"), message("e3", "m1")]);
		const [batch] = sealAndReserve(outbox);
		expect(batch?.ops.map((op) => [op.op_id, op.depends_on])).toEqual([
			["e3", null],
			["e2", "e3"],
		]);
	});

	test("chains a batch to the one before it, while that is unacknowledged", async () => {
		const { outbox } = await freshOutbox();
		append(outbox, [message("e1", "m1"), message("e2", "m2"), message("e3", "m3"), message("e4", "m4")]);
		const pairs = { ...WIDE, ops_per_batch: 2 };
		const batches = sealAndReserve(outbox, pairs);
		expect(batches.map((batch) => batch.ops.map((op) => op.depends_on))).toEqual([
			[null, null],
			[batches[0]?.batch_id, null],
		]);
		outbox.ack(S, 4, 2000);
		append(outbox, [message("e5", "m5")]);
		expect(sealAndReserve(outbox, pairs)[0]?.ops.map((op) => op.depends_on)).toEqual([null]);
	});

	test("names only what was unacknowledged when it was sealed", async () => {
		const { outbox } = await freshOutbox();
		append(outbox, [message("e1", "m1"), part("e2", "m1", "p1")]);
		outbox.seal(S, { ...WIDE, ops_per_batch: 1 }, 2000);
		outbox.ack(S, 1, 2000);
		append(outbox, [part("e3", "m1", "p2")]);
		expect(sealAndReserve(outbox)[0]?.ops.map((op) => op.depends_on)).toEqual([null, null]);
	});

	test("is frozen: an ack does not change it any more", async () => {
		const { outbox } = await freshOutbox();
		append(outbox, [message("e1", "m1"), part("e2", "m1", "p1")]);
		const [first, sealed] = sealAndReserve(outbox, { ...WIDE, ops_per_batch: 1 });
		outbox.ack(S, 1, 2000);
		outbox.nack(S, 0, "lost");
		expect(reserveAll(outbox)).toEqual([{ ...sealed, attempts: 2 }]);
		expect(sealed?.ops[0]?.depends_on).toBe(first?.batch_id);
	});

	test("a removal depends on nothing", async () => {
		const { outbox } = await freshOutbox();
		append(outbox, [message("e1", "m1"), part("e2", "m1", "p1")]);
		append(outbox, [{ op_id: "e3", type: "part_removed", key: "part/m1/p1", payload: "{}" }]);
		expect(sealAndReserve(outbox)[0]?.ops.map((op) => op.depends_on)).toEqual([null, "e1", null]);
	});
});

describe("watermark of a batch", () => {
	test("stops below the first op that is still unsealed", async () => {
		const { outbox } = await freshOutbox();
		for (let n = 1; n <= 3; n++) append(outbox, [message(`e${n}`, `m${n}`)]);
		const batches = sealAndReserve(outbox, { ...WIDE, ops_per_batch: 1 });
		expect(batches.map((batch) => batch.source_watermark)).toEqual([1, 2, 3].map(watermark));
	});

	test("is not raised by what superseded an op in an earlier place", async () => {
		const { outbox } = await freshOutbox();
		append(outbox, [message("e1", "m1")]);
		append(outbox, [message("e2", "m2")]);
		append(outbox, [message("e3", "m1")]);
		const batches = sealAndReserve(outbox, { ...WIDE, ops_per_batch: 1 });
		expect(batches.map((batch) => [opIds([batch]), batch.source_watermark?.seq])).toEqual([
			[["e3"], 1],
			[["e2"], 3],
		]);
	});
});

describe("damage", () => {
	const DAMAGE: Record<string, string> = {
		"an op's payload": "UPDATE op SET payload = payload || ' ' WHERE op_id = 'e2'",
		"an op's key": "UPDATE op SET key = 'message/m9' WHERE op_id = 'e2'",
		"an op's hash": "UPDATE op SET hash = hex(zeroblob(32)) WHERE op_id = 'e2'",
		"a lost op": "DELETE FROM op WHERE op_id = 'e2'",
		"an op of elsewhere": "UPDATE op SET session_id = 'ses_2' WHERE op_id = 'e1'",
		"the time of an op": "UPDATE op SET captured_at = captured_at + 1 WHERE op_id = 'e1'",
		"a batch's name": "UPDATE batch SET batch_id = '01HZZZZZZZZZZZZZZZZZZZZZZZ'",
		"a batch's digest": "UPDATE batch SET digest = 'none'",
		"a batch's position": "UPDATE batch SET first_position = first_position + 1",
		"a batch's range": "UPDATE batch SET last_id = last_id - 1",
		"a batch's watermark": "UPDATE batch SET watermark_seq = watermark_seq + 1",
		"a watermark's event": "UPDATE batch SET watermark_event_id = NULL",
		"depends that is no JSON": "UPDATE batch SET depends = '[null,'",
		"depends that is no list": "UPDATE batch SET depends = '{}'",
		"depends on another op": "UPDATE batch SET depends = '[null,\"e7\"]'",
		"depends that is too long": "UPDATE batch SET depends = '[null,\"e1\",null]'",
	};
	for (const [what, sql] of Object.entries(DAMAGE))
		test(`${what}: the batch is corrupt and nothing is leased`, async () => {
			const { outbox, path } = await freshOutbox();
			append(outbox, [message("e1", "m1"), part("e2", "m1", "p1")]);
			outbox.seal(S, WIDE, 2000);
			await tamper(path, sql);
			expect(() => outbox.reserve(S, "owner", 1000, 2000)).toThrow(expect.objectContaining({ code: "corrupt" }));
			const leases = await rowsOf(path, "SELECT attempts, lease_owner FROM batch");
			expect(leases).toEqual([{ attempts: 0, lease_owner: null }]);
		});
});
