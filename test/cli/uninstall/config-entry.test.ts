import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { namedPlugins, withoutPlugin } from "../../../src/cli/uninstall/config-entry.ts";
import { parseJsonc } from "../../../src/cli/uninstall/jsonc.ts";

const isOurs = (spec: string) => spec === "ours";
const without = (text: string) => withoutPlugin(text, isOurs)?.text;

describe("what is left of a configuration without the plugin", () => {
	// As `opencode plugin` of 1.18 writes it: before, and after.
	const WRITTEN: [what: string, before: string, after: string][] = [
		[
			"none but what OpenCode made",
			'{\n  "$schema": "s"\n}',
			'{\n  "$schema": "s",\n  "plugin": [\n    "ours"\n  ]\n}',
		],
		[
			"comments and a trailing comma",
			'{\n  // my model\n  "model": "m", // trailing\n  "share": "off",\n}\n',
			'{\n  // my model\n  "model": "m", // trailing\n  "share": "off",\n  "plugin": [\n    "ours"\n  ],\n}\n',
		],
		[
			"another plugin with a comment",
			'{\n  "plugin": [\n    "other", // the other\n  ],\n  "share": "off",\n}\n',
			'{\n  "plugin": [\n    "other",\n    "ours", // the other\n  ],\n  "share": "off",\n}\n',
		],
		["Windows' line ends", '{\r\n  "a": 1\r\n}\r\n', '{\r\n  "a": 1,\r\n  "plugin": [\r\n    "ours"\r\n  ]\r\n}\r\n'],
	];
	for (const [what, before, after] of WRITTEN)
		test(`is byte for byte what it was: ${what}`, () => expect(without(after)).toBe(before));

	// As people write it.
	const EDITED: [before: string, after: string][] = [
		['{"plugin":["ours","other"]}', '{"plugin":["other"]}'],
		['{"plugin":["a","ours","b"]}', '{"plugin":["a","b"]}'],
		['{"plugin":[["ours",{"server":"x"}],"b"]}', '{"plugin":["b"]}'],
		['{"plugin":["ours"]}', "{}"],
		['{"plugin":["ours",],}', "{}"],
		['{\n"plugin":["ours"],\n"a":1}', '{\n"a":1}'],
		['{"a":1,"plugin":["ours"],"b":2}', '{"a":1,"b":2}'],
		['{"plugin":["ours","b","ours"]}', '{"plugin":["b"]}'],
		['{"plugin":[\n  "a", // about a\n  "ours",\n]}', '{"plugin":[\n  "a", // about a\n]}'],
		['{"plugin":[\n  "a", // about a\n  "ours"\n]}', '{"plugin":[\n  "a" // about a\n]}'],
		['{"plugin":[\n  // why\n  "ours", /* c */ "b"\n]}', '{"plugin":[\n  // why\n   /* c */ "b"\n]}'],
		['{"plugin":[\n  // keep me\n  "ours"\n]}', '{"plugin":[\n  // keep me\n]}'],
		['{"url":"http://a//b","plugin":["ours"]}', '{"url":"http://a//b"}'],
		['\ufeff{"plugin":["ours"],"s":"\\"//,"}', '\ufeff{"s":"\\"//,"}'],
		['{"plugin":["other"]}', '{"plugin":["other"]}'],
		['{"plugin":[]}', '{"plugin":[]}'],
		['{"plugins":["ours"]}', '{"plugins":["ours"]}'],
	];
	for (const [before, after] of EDITED) test(JSON.stringify(before), () => expect(without(before)).toBe(after));

	test("is not there where the text is no configuration", () => {
		for (const text of ["", "{", '{"plugin":["ours"', "{'plugin':['ours']}", '{"plugin":["ours"]} x', '{"a":01}'])
			expect(without(text)).toBeUndefined();
	});
});

test("whatever surrounds it, everything else stays, comments too", () => {
	const gap = fc.constantFrom("", " ", "\n\t", " // c1, ]\n", "/* c2 } */", "\n  // c3\n  ");
	const entry = fc.constantFrom('"ours"', '["ours", {"a": [1, 2]}]', '"b"', '"c,d"', '["e", {}]');
	const list = fc.array(fc.tuple(gap, entry, gap), { maxLength: 5 });
	fc.assert(
		fc.property(list, gap, gap, fc.boolean(), fc.boolean(), fc.boolean(), (items, g1, g2, trailing, first, last) => {
			const body = items.map((item) => item.join("")).join(",") + (trailing && items.length > 0 ? "," : "");
			const members = [
				...(first ? ['"x": 1'] : []),
				`${g1}"plugin":${g2}[${body}${g1}]`,
				...(last ? ['"y": "//"'] : []),
			];
			const text = `{${members.join(",")}${g2}}`;
			const before = parseJsonc(text)?.value as { plugin: unknown[] };
			const removed = withoutPlugin(text, isOurs);
			expect(removed).toBeDefined();
			const named = namedPlugins(text) ?? [];
			expect(removed?.entries).toEqual(named.filter(isOurs));
			expect(namedPlugins(removed?.text ?? "") ?? []).toEqual(named.filter((spec) => !isOurs(spec)));
			expect({ ...Object(parseJsonc(removed?.text ?? "")?.value), plugin: null }).toEqual({ ...before, plugin: null });
			const comments = (from: string) => (from.match(/c[123]/g) ?? []).length;
			expect(comments(removed?.text ?? "")).toBe(comments(text));
		}),
		{ numRuns: 2000 },
	);
});
