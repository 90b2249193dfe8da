import { expect, test } from "vitest";
import { nearest } from "../../src/cli/nearest.ts";
import { age, brief, bytes, jsonLine, painter, printable, printableLines, table } from "../../src/cli/terminal.ts";

const HOSTILE = "a\u001b]0;title\u0007b\u001b[31mc\u009b2Jd\re\u202ef\u2066g\u200bh\u0000i\u{e0041}j";

test("no control, escape or reordering character of a session reaches a terminal", () => {
	for (const clean of [printable(HOSTILE), brief(HOSTILE, 100), printableLines(HOSTILE), jsonLine(HOSTILE).trimEnd()])
		expect(clean).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
	expect(printableLines("a\r\nb\tc")).toBe("a\nb\tc");
	expect(printable("a\nb")).toBe("a b");
});

test("JSON for machines says the same, escaped", () => {
	expect(JSON.parse(jsonLine({ [HOSTILE]: HOSTILE }))).toEqual({ [HOSTILE]: HOSTILE });
});

test("letters of every script pass", () => {
	expect(printable("Grüße, 日本語, עברית, 🙂")).toBe("Grüße, 日本語, עברית, 🙂");
	expect(brief("日本語です", 3)).toBe("日本…");
});

test("ages and sizes are humanised", () => {
	expect([-5, 0, 59_999, 60_000, 7_200_000, 172_800_000].map(age)).toEqual([
		"0 s",
		"0 s",
		"59 s",
		"1 min",
		"2 h",
		"2 d",
	]);
	expect([0, 1023, 1536, 104_857_600].map(bytes)).toEqual(["0 B", "1023 B", "1.5 KiB", "100 MiB"]);
});

test("columns are as wide as their widest cell, colours aside", () => {
	expect(
		table([
			["a", "b"],
			["\u001b[1mccc\u001b[22m", "d"],
		]),
	).toBe("a    b\n\u001b[1mccc\u001b[22m  d");
});

test("there is colour on a terminal only, and not under NO_COLOR", () => {
	expect(painter({ isTTY: true }, {})("bold", "x")).toContain("\u001b[");
	expect(painter({ isTTY: true }, { NO_COLOR: "1" })("bold", "x")).toBe("x");
	expect(painter({}, {})("bold", "x")).toBe("x");
});

test("the nearest name is found, and none when nothing is near", () => {
	const known = ["status", "serve", "share", "unshare"];
	expect(["stauts", "stat", "serv", "shar", "unsare"].map((name) => nearest(name, known))).toEqual([
		"status",
		"status",
		"serve",
		"share",
		"unshare",
	]);
	expect(nearest("xyzzy", known)).toBeUndefined();
});
