import { describe, expect, test } from "vitest";
import { canonicalJson } from "../../src/model/json.ts";
import { PATTERN_FORM, Pattern } from "../../src/redaction/pattern.ts";
import { Redactor } from "../../src/redaction/redactor.ts";

const TOKEN = `ghp_${"aB3dE6gH9j".repeat(4)}`;

function redactor(detectors: string[], patterns: string[] = []): Redactor {
	const made = Redactor.of({ detectors, patterns });
	if (made === undefined) throw new Error("no rules");
	return made;
}

const redacted = (rules: Redactor, value: unknown): unknown => JSON.parse(rules.payload(canonicalJson(value)));

describe("an entity", () => {
	test("keeps its structure, names, ids and types, whatever the rules match", () => {
		const part = {
			...{ id: "prt_1", sessionID: "ses_1", messageID: "msg_1", type: "tool", callID: "call_1", tool: "bash" },
			state: { status: "completed", input: { command: "ls", type: "x1" }, output: "a.txt", time: { start: 1, end: 2 } },
			metadata: { sessionId: "ses_0123456789abAAAAAAAAAAAAAA", id: "mine" },
			flags: [true, null, 1.5],
		};
		expect(redacted(redactor([], ["(?s).+"]), part)).toEqual({
			...part,
			state: {
				...part.state,
				input: { command: "[redacted:custom]", type: "[redacted:custom]" },
				output: "[redacted:custom]",
			},
			metadata: { sessionId: "ses_0123456789abAAAAAAAAAAAAAA", id: "[redacted:custom]" },
		});
	});

	test("has every text looked through: deep, in lists, titles, JSON inside of texts", () => {
		const value = {
			title: `clone ${TOKEN}`,
			state: { input: { args: ["x", { env: `T=${TOKEN}` }] }, raw: JSON.stringify({ a: { b: TOKEN } }) },
		};
		const result = JSON.stringify(redacted(redactor(["github-token"]), value));
		expect(result).not.toContain(TOKEN);
		expect(result.match(/\[redacted:github-token\]/g)).toHaveLength(3);
		expect(JSON.parse(JSON.parse(result).state.raw)).toEqual({ a: { b: "[redacted:github-token]" } });
	});

	test("has a member's text taken out as a whole where its name says that it is secret", () => {
		const value = {
			input: { password: "two words", apiKey: "k-1234", headers: { Authorization: "Basic eDp5" }, tokens: 3 },
		};
		expect(redacted(redactor(["all"]), value)).toEqual({
			input: {
				...{ password: "[redacted:password]", apiKey: "[redacted:password]", tokens: 3 },
				headers: { Authorization: "[redacted:authorization]" },
			},
		});
		expect(redacted(redactor(["all"]), { input: { password: "********", token: "" } })).toEqual({
			input: { password: "********", token: "" },
		});
	});

	test("that holds nothing to take out comes back byte for byte", () => {
		const payload = '{"b":1,"a":"not even sorted"}';
		expect(redactor(["all"], ["zzz"]).payload(payload)).toBe(payload);
	});

	test("keeps a member called __proto__, and images", () => {
		const payload = `{"__proto__":"x ${TOKEN}","url":"data:image/png;base64,AKIAABCDEFGHIJKLMNOP"}`;
		expect(redactor(["all"]).payload(payload)).toBe(
			'{"__proto__":"x [redacted:github-token]","url":"data:image/png;base64,AKIAABCDEFGHIJKLMNOP"}',
		);
		const behind = `data:image/png;base64,AAAA ${TOKEN}`;
		expect(redactor(["all"]).text(behind)).not.toContain(TOKEN);
	});
});

describe("a marker", () => {
	test("stands for all finds that overlap, with the name of the rule that comes first", () => {
		expect(redactor(["all"]).text(`token=${TOKEN}`)).toBe("token=[redacted:github-token]");
		expect(redactor([], ["(?P<one>abc)", "(?P<two>cde)"]).text("abcde")).toBe("[redacted:one]");
	});

	test("is left alone by every rule, so that twice is once", () => {
		const rules = redactor(["all"], ["red", "(?P<c>custom)", "[a-z]+:"]);
		const once = rules.text(`password=hunter2 red custom ${TOKEN} x:`);
		expect(once).toBe(
			"password=[redacted:password] [redacted:custom] [redacted:c] [redacted:github-token] [redacted:custom]",
		);
		expect(rules.text(once)).toBe(once);
	});

	test("that a match begins or ends in is taken along", () => {
		const rules = redactor([], ["token\\] tail"]);
		expect(rules.text("a [redacted:github-token] tail b")).toBe("a [redacted:custom] b");
	});
});

describe("rules", () => {
	test("are none when none are asked for", () => {
		expect(Redactor.of({ detectors: [], patterns: [] })).toBeUndefined();
		expect(Redactor.fromIdentity(null)).toBeUndefined();
	});

	test("are made again from what they are called, and other rules are called otherwise", () => {
		const rules = redactor(["jwt", "github-token"], ["ACME-\\d+", "x"]);
		expect(rules.names).toEqual(["github-token", "jwt", "custom", "custom"]);
		expect(Redactor.fromIdentity(rules.identity)?.identity).toBe(rules.identity);
		expect(redactor(["github-token", "jwt"], ["ACME-\\d+", "x"]).identity).toBe(rules.identity);
		expect(redactor(["github-token"], ["ACME-\\d+", "x"]).identity).not.toBe(rules.identity);
		expect(redactor(["github-token", "jwt"], ["ACME-\\d+", "y"]).identity).not.toBe(rules.identity);
	});

	test("of a person take time that grows with the text alone", () => {
		const text = "a".repeat(100_000);
		const started = performance.now();
		for (const pattern of ["(a+)+$", "(a|aa)+b", "(.*a){20}b", "^(([a-z])+.)+[A-Z]([a-z])+$"])
			redactor([], [pattern]).text(text);
		expect(performance.now() - started).toBeLessThan(15_000);
	});

	test("that are no RE2 are refused", () => {
		for (const bad of ["(", "(?=a)", "\\1", "a{1001}", "((a{100}){100}){100}", "", "x".repeat(3000)])
			expect(Pattern.parse(bad), bad).toBeUndefined();
		expect(PATTERN_FORM).toContain("RE2");
	});
});

describe("a hit", () => {
	test("tells where, how long, and two characters of it at most", () => {
		const payload = canonicalJson({ state: { output: `first ${TOKEN} then pin 1234.` } });
		const hits = redactor(["github-token"], ["pin (?P<pin>\\d{4})"]).hits(payload);
		expect(hits).toEqual([
			{ rule: "github-token", path: ["state", "output"], context: "first gh…(44) then pin " },
			{ rule: "pin", path: ["state", "output"], context: " then pin …(4)." },
		]);
		expect(JSON.stringify(hits)).not.toMatch(/1234|aB3dE6/);
	});
});
