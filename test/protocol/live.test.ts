import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { extended, grown, RUN_CHARS_MAX, type Run, ShareView } from "../../src/protocol/live.ts";
import type { WatchedOp } from "../../src/protocol/schema.ts";

const KEY = "part/msg_1/prt_1";

function stored(text: string, end?: number): WatchedOp {
	const payload = JSON.stringify({ id: "prt_1", type: "text", text, time: { start: 1, ...(end && { end }) } });
	return { position: 0, type: "part", key: KEY, payload };
}

/** What a viewer shows of the part after each thing it is told: a delta as [offset, text], or an op. */
function shown(...told: (WatchedOp | readonly [number, string])[]): unknown[] {
	const view = new ShareView();
	return told.map((one) => {
		if ("key" in one) view.ops([one], 1);
		else view.delta({ key: KEY, field: "text", offset: one[0], delta: one[1] });
		return view.entity(KEY)?.text;
	});
}

describe("a viewer", () => {
	test("shows a text grow from its beginning, and the final part once", () => {
		const texts = shown(stored(""), [0, "one "], [4, "two "], [8, "three "], stored("one two three", 2));
		expect(texts).toEqual(["", "one ", "one two ", "one two three ", "one two three"]);
	});

	test("does not show twice what a checkpoint holds already", () => {
		expect(shown(stored(""), [0, "one "], [4, "two "], stored("one "), [8, "three"])).toEqual([
			...["", "one ", "one two "],
			...["one two ", "one two three"],
		]);
	});

	test("does not show a repeated delta twice, whole or in part", () => {
		const texts = shown(stored(""), [0, "one "], [0, "one "], [0, "one two"], [2, "e t"]);
		expect(texts).toEqual(["", "one ", "one ", "one two", "one two"]);
	});

	test("that comes late waits for the next checkpoint, and goes on from there with what it heard meanwhile", () => {
		expect(shown(stored("one "), [8, "three "], [14, "four "], stored("one two th"), [19, "five"])).toEqual([
			...["one ", "one ", "one "],
			...["one two three four ", "one two three four five"],
		]);
	});

	test("that lost a delta shows nothing out of place, and catches up with the next checkpoint", () => {
		expect(shown(stored(""), [0, "one "], [8, "three "], stored("one two "), [14, "four"])).toEqual([
			...["", "one ", ""],
			...["one two three ", "one two three four"],
		]);
	});

	test("hears deltas before the part is stored", () => {
		expect(shown([0, "one "], [4, "two"], stored(""))).toEqual([undefined, undefined, "one two"]);
	});

	test("shows nothing of a late delta behind a final part", () => {
		expect(shown(stored(""), [0, "one "], stored("one", 2), [3, " "], [4, "two"])).toEqual([
			...["", "one "],
			...["one", "one", "one"],
		]);
	});

	test("believes a new stored text that contradicts what it heard", () => {
		expect(shown(stored(""), [0, "one "], stored("uno "), [4, "due"])).toEqual(["", "one ", "uno ", "uno "]);
		expect(shown(stored(""), [0, "one "], [0, "uno "], [4, "due"])).toEqual(["", "one ", "uno ", "uno due"]);
	});

	test("forgets what it heard of a text that OpenCode has begun anew", () => {
		expect(shown(stored("a "), [2, "one two "], stored("b "), [2, "three"])).toEqual([
			"a ",
			"a one two ",
			"b ",
			"b three",
		]);
	});

	test("passes over a delta that does not say where it belongs", () => {
		const view = new ShareView();
		view.ops([stored("one")], 1);
		view.delta({ key: KEY, field: "text", delta: "two" });
		expect(view.entity(KEY)?.text).toBe("one");
	});

	test("forgets the parts of a removed message, and what was heard of them", () => {
		const view = new ShareView();
		view.ops([{ position: 0, type: "message", key: "message/msg_1", payload: "{}" }, stored("one")], 2);
		view.delta({ key: KEY, field: "text", offset: 3, delta: " two" });
		expect(view.keys()).toEqual(["message/msg_1", KEY]);
		view.ops([{ position: 2, type: "message_removed", key: "message/msg_1", payload: null }], 3);
		expect([view.keys(), view.entity(KEY), view.cursor]).toEqual([[], undefined, 3]);
		view.ops([stored("")], 4);
		expect(view.entity(KEY)?.text).toBe("");
	});

	test("remembers only so many parts of which nothing is stored", () => {
		const view = new ShareView();
		for (let n = 0; n < 200; n++) view.delta({ key: `part/m/${n}`, field: "text", offset: 0, delta: "x" });
		view.ops(
			[0, 199].map((n) => ({ ...stored(""), key: `part/m/${n}` })),
			2,
		);
		expect([view.entity("part/m/0")?.text, view.entity("part/m/199")?.text]).toEqual(["x", ""]);
	});

	test("never shows a text that was not written, nor a shorter one, whatever is lost, late or repeated", () => {
		const piece = fc.record({ at: fc.nat(60), length: fc.integer({ min: 1, max: 12 }), isStored: fc.boolean() });
		fc.assert(
			fc.property(fc.string({ unit: "grapheme", minLength: 1, maxLength: 60 }), fc.array(piece), (text, pieces) => {
				const view = new ShareView();
				view.ops([stored("")], 1);
				let [stands, heard] = [0, 0];
				for (const { at, length, isStored } of pieces) {
					const offset = Math.min(at, text.length);
					// What is stored only ever grows.
					if (isStored) stands = Math.max(stands, offset);
					if (isStored) view.ops([stored(text.slice(0, stands))], 1);
					else view.delta({ key: KEY, field: "text", offset, delta: text.slice(offset, offset + length) || "" });
					const now = String(view.entity(KEY)?.text);
					expect(text.startsWith(now)).toBe(true);
					expect(now.length).toBeGreaterThanOrEqual(stands);
					heard = Math.max(heard, now.length);
				}
				view.ops([stored(text, 2)], 1);
				expect([view.entity(KEY)?.text, heard <= text.length]).toEqual([text, true]);
			}),
			{ numRuns: 500 },
		);
	});
});

describe("a run", () => {
	test("that becomes too long begins anew where it ended, and fits nothing that is stored until then", () => {
		let run: Run | undefined;
		const piece = "x".repeat(RUN_CHARS_MAX / 4);
		for (let n = 0; n < 5; n++) run = extended(run, { offset: n * piece.length, text: piece });
		expect(run?.offset).toBe(RUN_CHARS_MAX);
		expect(run?.text.length).toBe(piece.length);
		expect(run && grown("x", run)).toBe("x");
	});

	test("is not changed by a lane that lags behind its beginning", () => {
		const run = { offset: 10, text: "abc" };
		expect(extended(run, { offset: 4, text: "zzzzzzzz" })).toBe(run);
	});
});
