import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { sha256 } from "../../src/model/digest.ts";

const MIB = 1024 * 1024;
const expected = (text: string) => createHash("sha256").update(text).digest("hex");

test("a long text has the digest that it has as a whole, wherever it is cut", () => {
	const pairs = "😀".repeat(MIB);
	for (const text of [
		"",
		"x",
		"x".repeat(MIB),
		"é".repeat(2 * MIB + 1),
		pairs,
		`x${pairs}`,
		`${"x".repeat(MIB - 1)}\ud83d`,
	])
		for (const head of ["", "head\n"]) expect(sha256(head, text)).toBe(expected(head + text));
	const half = `${"x".repeat(MIB - 1)}\ud83d${"x".repeat(MIB)}`;
	expect(sha256("", half)).toBe(expected(half));
});
