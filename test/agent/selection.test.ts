import { describe, expect, test } from "vitest";
import { directoryGlob } from "../../src/agent/directory-glob.ts";
import { type Candidate, EVERYTHING, type Known, Selection, type SelectionRules } from "../../src/agent/selection.ts";
import type { Wanted } from "../../src/outbox/session.ts";

const NOW = 1_000_000;

function session(session_id: string, facts: Partial<Candidate> = {}): Candidate {
	return {
		session_id,
		parent_id: null,
		title: `Title of ${session_id}`,
		directory: "/code/app",
		updated_at: NOW,
		...facts,
	};
}

/** Every session's id with the reason why it is left out; an empty one where it is taken. */
function judge(
	sessions: readonly Candidate[],
	rules: Partial<SelectionRules>,
	known: Partial<Omit<Known, "wanted">> & { wanted?: Record<string, Wanted> } = {},
): Record<string, string> {
	const { wanted = {}, ...rest } = known;
	const verdicts = new Selection({ ...EVERYTHING, ...rules }).verdicts(sessions, {
		...{ mode: "auto", shared: new Set(), begun: new Set(), now: NOW, wanted: new Map(Object.entries(wanted)) },
		...rest,
	});
	return Object.fromEntries([...verdicts].map(([id, verdict]) => [id, verdict.taken ? "" : verdict.reason]));
}

describe("a directory glob", () => {
	const CASES: [glob: string, hits: string[], misses: string[]][] = [
		["/code/app", ["/code/app", "/code/app/a/b"], ["/code/apple", "/code", "/x/code/app"]],
		["/code/app/", ["/code/app", "/code/app/.git/x"], ["/code/apps"]],
		["/code/*", ["/code/a", "/code/a/b"], ["/code", "/codes/a"]],
		["**/secret", ["/secret", "/a/b/secret", "/a/secret/b"], ["/a/secrets"]],
		["/code/{a,b}-*", ["/code/a-1", "/code/b-2/c"], ["/code/c-1"]],
		["/code/[ab]?", ["/code/a1"], ["/code/a", "/code/c1"]],
		["/", ["/a", "/a/.b"], []],
		["**", ["/a", "/a/b"], []],
		["/a\\(b\\)", ["/a(b)", "/a(b)/c"], ["/ab"]],
	];
	for (const [glob, hits, misses] of CASES)
		test(`${glob} stands for a directory and all below it`, () => {
			const isIn = directoryGlob(glob);
			for (const path of hits) expect(isIn?.(path), path).toBe(true);
			for (const path of misses) expect(isIn?.(path), path).toBe(false);
		});

	test("is refused when it is none", () => {
		for (const bad of ["", "work", "*.ts", "./a", "~x", "/a[", "/a{b", `/${"a*".repeat(5)}`, `/${"a".repeat(1001)}`])
			expect(directoryGlob(bad), bad).toBeUndefined();
	});

	test("takes no longer than people wait, whatever it is", () => {
		const started = performance.now();
		const isIn = directoryGlob(`/${"a*".repeat(4)}b`);
		expect(isIn?.(`/${"a".repeat(200)}`)).toBe(false);
		expect(performance.now() - started).toBeLessThan(5000);
	});
});

describe("without rules", () => {
	test("every session is taken, or with manual those that were asked for or have a share", () => {
		const sessions = ["a", "b", "c", "d", "e"].map((id) => session(id));
		const wanted = { b: "share", c: "never", d: "unshare" } as const;
		expect(judge(sessions, {}, { wanted })).toMatchObject({ a: "", b: "", c: "it was unshared", d: "it was unshared" });
		const nobody = "nobody asked for it (--share manual)";
		expect(judge(sessions, {}, { wanted, mode: "manual", shared: new Set(["e"]) })).toEqual({
			...{ a: nobody, b: "", c: "it was unshared", d: "it was unshared", e: "" },
		});
	});
});

const TABLE: [name: string, facts: Partial<Candidate>, rules: Partial<SelectionRules>, reason: string][] = [
	["in an excluded directory is left out", {}, { exclude: ["/x", "/code"] }, "its directory is in --exclude /code"],
	["in no included directory is left out", {}, { include: ["/x"] }, "its directory is in no --include"],
	["in one of the included directories is taken", {}, { include: ["/x", "**/app"] }, ""],
	[
		"both in and out is left out",
		{},
		{ include: ["/code"], exclude: ["/code/a*"] },
		"its directory is in --exclude /code/a*",
	],
	[
		"with an excluded title is left out",
		{ title: "My PIN" },
		{ excludeTitle: ["(?i)pin$"] },
		"its title matches --exclude-title (?i)pin$",
	],
	["with another title is taken", { title: "My pins" }, { excludeTitle: ["(?i)pin$"] }, ""],
	["with no included title is left out", {}, { includeTitle: ["^x", "^y"] }, "its title matches no --include-title"],
	["with an included title is taken", {}, { includeTitle: ["^x", "^Title of"] }, ""],
	[
		"that rested for too long is not begun",
		{ updated_at: NOW - 11 },
		{ maxAgeMs: 10 },
		"it was not touched within --max-age",
	],
	["that was touched in time is begun", { updated_at: NOW - 10 }, { maxAgeMs: 10 }, ""],
	["from the future is begun", { updated_at: NOW + 100 }, { maxAgeMs: 10 }, ""],
];

describe("a session", () => {
	for (const [name, facts, rules, reason] of TABLE)
		test(name, () => expect(judge([session("a", facts)], rules)).toEqual({ a: reason }));

	test("that has begun goes on, however long it rested, and is left out by its directory at any time", () => {
		const begun = new Set(["a"]);
		const old = session("a", { updated_at: 0 });
		expect(judge([old], { maxAgeMs: 10 }, { begun })).toEqual({ a: "" });
		expect(judge([old], { maxAgeMs: 10, exclude: ["/code"] }, { begun }).a).toContain("--exclude");
	});

	test("that was asked for is taken against every rule, one that was taken back against none", () => {
		const rules = { exclude: ["/code"], excludeTitle: ["."], maxAgeMs: 10 };
		const wanted = { a: "share" } as const;
		expect(judge([session("a", { updated_at: 0 })], rules, { wanted })).toEqual({ a: "" });
		expect(judge([session("a")], { include: ["/code"] }, { wanted: { a: "never" } })).toEqual({ a: "it was unshared" });
	});
});

describe("a sub-session", () => {
	const root = session("root", { directory: "/private", title: "Secret plans" });
	const child = session("child", { parent_id: "root", title: "Look up something" });
	const grandchild = session("grandchild", { parent_id: "child" });
	const family = [grandchild, child, root];

	test("follows the topmost session", () => {
		const out = judge(family, { exclude: ["/private"] });
		expect(new Set(Object.values(out))).toEqual(new Set(["its directory is in --exclude /private"]));
		expect(judge(family, { includeTitle: ["Secret"] })).toEqual({ root: "", child: "", grandchild: "" });
		expect(judge(family, { exclude: ["/code"] })).toEqual({ root: "", child: "", grandchild: "" });
	});

	test("that was asked for is taken alone; what hangs below it comes along", () => {
		const wanted = { child: "share" } as const;
		expect(judge(family, { exclude: ["/private"] }, { wanted })).toMatchObject({ child: "", grandchild: "" });
		expect(judge(family, {}, { wanted, mode: "manual" })).toEqual({
			...{ root: "nobody asked for it (--share manual)", child: "", grandchild: "" },
		});
	});

	test("is left out when the session above it was taken back", () => {
		const belongs = "the session that it belongs to was unshared";
		expect(judge(family, {}, { wanted: { root: "never" } })).toEqual({
			...{ root: "it was unshared", child: belongs, grandchild: belongs },
		});
	});

	test("that was touched begins its whole family", () => {
		const rested = family.map((one) => ({ ...one, updated_at: one.session_id === "grandchild" ? NOW : 0 }));
		expect(judge(rested, { maxAgeMs: 10 })).toEqual({ root: "", child: "", grandchild: "" });
	});

	test("whose parent is gone, or its own descendant, decides for itself", () => {
		expect(judge([child], { exclude: ["/code"] }).child).toContain("--exclude");
		const [a, b] = [session("a", { parent_id: "b" }), session("b", { parent_id: "a" })];
		expect(judge([a, b], {})).toEqual({ a: "", b: "" });
	});
});
