import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { canonicalCut } from "../../src/model/canonical.ts";
import { canonicalJson } from "../../src/model/json.ts";

const cut = (text: string) => canonicalCut(text, 0);

describe("a value is cut out of JSON text", () => {
	it("in the same form as a parser and canonicalJson bring it into, or not at all", () => {
		let taken = 0;
		fc.assert(
			fc.property(
				fc.oneof(fc.object({ withNullPrototype: false }), fc.array(fc.json())),
				fc.string(),
				(value, rest) => {
					const text = JSON.stringify(value);
					const found = cut(`${text},${rest}`);
					if (found === undefined) return;
					taken++;
					expect(found).toEqual({ text: canonicalJson(JSON.parse(text)), end: text.length });
				},
			),
			{ numRuns: 1000 },
		);
		expect(taken).toBeGreaterThan(200);
	});

	it("never from text that is no JSON, nor in another form than the canonical one", () => {
		const seeds = ['{"b":"x\\n","a":[1,-2.5,{"d":null,"c":"é😀"}]}', '{"z":{"y":[]},"x":{}}'];
		const edit = fc.record({ at: fc.nat(60), gone: fc.nat(3), put: fc.string({ unit: "binary", maxLength: 3 }) });
		fc.assert(
			fc.property(fc.constantFrom(...seeds), fc.array(edit, { maxLength: 3 }), (seed, edits) => {
				const text = edits.reduce((was, { at, gone, put }) => was.slice(0, at) + put + was.slice(at + gone), seed);
				const found = cut(text);
				if (found === undefined) return;
				expect(found.text).toBe(canonicalJson(JSON.parse(text.slice(0, found.end))));
			}),
			{ numRuns: 1500 },
		);
	});

	it("as OpenCode writes it: nested members in any order, escapes, numbers, pairs of surrogates", () => {
		for (const value of [
			{ type: "tool", state: { output: 'a\n"b" \\ \u0007 \u001b[0m é 😀', time: { start: 1, end: 2 }, exit: 0 } },
			{
				cost: 0.012301,
				tokens: { input: 1e21, output: 20, cache: { write: 1.5e-7, read: 0 } },
				ok: [true, false, null],
			},
			{ text: `${"x".repeat(100_000)}${"\n".repeat(100_000)}`, id: "prt_1" },
		]) {
			const text = JSON.stringify(value);
			expect(cut(text)).toEqual({ text: canonicalJson(value), end: text.length });
		}
	});

	it.each([
		["a member twice", '{"a":1,"a":2}'],
		["blanks", '{"a": 1}'],
		["an escape that none needs", '{"a":"\\u0041"}'],
		["a slash that is escaped", '{"a":"\\/"}'],
		["half of a pair of surrogates", '{"a":"\\ud83d"}'],
		["a number in another form", '{"a":1.0}'],
		["minus zero", '{"a":-0}'],
		["a number that is too large", '{"a":1e999}'],
		["a control character", '{"a":"\n"}'],
		["a name that is a number", '{"b":1,"1":2}'],
		["an end that is missing", '{"a":[1,2'],
		["a comma too many", '{"a":1,}'],
		[
			"more members than are put in order",
			JSON.stringify(Object.fromEntries([...Array(65).keys()].map((n) => [`m${n}`, n]))),
		],
	])("or is left to a parser: %s", (_, text) => {
		expect(cut(text)).toBeUndefined();
	});
});
