import { describe, expect, it } from "vitest";
import { ansi } from "../../src/page/ansi.ts";
import { fileDiff, sessionDiff } from "../../src/page/diff.ts";
import { markdown } from "../../src/page/markdown.ts";
import { frame, orderOf } from "../../src/page/message.ts";
import { part } from "../../src/page/part.ts";
import { undoneFrom } from "../../src/page/session.ts";
import { everything, PIXEL } from "./payloads.ts";

const CONTEXT = {
	bearsStored: true,
	children: new Map([["ses_child", { title: "Other loops", path: "/share/child-slug-0123456" }]]),
};
const show = (value: unknown) => part("part/msg_1/prt_1", value, CONTEXT).html;
const text = (source: string) => show({ type: "text", text: source });
const tool = (name: string, state: object) => show({ type: "tool", tool: name, state });
/** As a person reads it. */
const words = (html: string) =>
	html
		.replace(/<[^>]*>/g, "")
		.replaceAll("&quot;", '"')
		.replaceAll("&#39;", "'");

describe("a part", () => {
	it("of every type is shown, or marks a place only", () => {
		const parts = everything().filter(({ type }) => type === "part");
		const kinds = new Map(parts.map(({ payload = "" }) => [JSON.parse(payload).type, show(JSON.parse(payload))]));
		expect([...kinds].filter(([, html]) => html === "").map(([kind]) => kind)).toEqual(["step-start"]);
		expect(kinds.size).toBeGreaterThan(8);
	});

	it("of a type that nobody knows is shown whole", () => {
		expect(words(show({ type: "hologram", depth: 3 }))).toContain('"depth": 3');
	});

	it.each([
		[null],
		[7],
		["text"],
		[[]],
		[{}],
		[{ type: "tool" }],
		[{ type: "tool", state: { input: "x", time: [] } }],
		[{ type: "text", text: 7 }],
		[{ type: "file", url: {} }],
		[{ type: "patch", files: {} }],
		[{ type: "step-finish", tokens: "many", cost: null }],
	])("that is none (%j) breaks nothing", (value) => expect(() => show(value)).not.toThrow());

	it("that OpenCode added is folded, like a thought", () => {
		expect(show({ type: "text", text: "x", synthetic: true })).toMatch(
			/<details class="aside"><summary>Added by OpenCode/,
		);
		const thought = show({ type: "reasoning", text: "**Why**\n\nso", time: { start: 0, end: 2500 } });
		expect(thought).toMatch(/<details class="aside thought"><summary>Thought: <span class="about">Why<\/span>.*2\.5 s/);
	});

	it("that is still being written bears what is stored of it, exactly", () => {
		const growing = { type: "text", text: 'a "b" <c> \u202e&amp;', time: { start: 1 } };
		const [, stored = ""] = /data-stored="([^"]*)"/.exec(show(growing)) ?? [];
		expect(
			JSON.parse(
				stored
					.replace(/&quot;/g, '"')
					.replace(/&lt;/g, "<")
					.replace(/&amp;/g, "&"),
			),
		).toEqual(growing);
		expect(show({ ...growing, time: { start: 1, end: 2 } })).not.toContain("data-stored");
		expect(show({ type: "text", text: "a prompt" })).not.toContain("data-stored");
		// Not yet a word, and yet there: what streams into it must find it.
		expect(show({ ...growing, text: "" })).toContain("data-stored");
	});

	it("that ends a step tells what that took", () => {
		const tokens = { input: 1200, output: 340, reasoning: 60, cache: { read: 8000, write: 500 } };
		expect(words(show({ type: "step-finish", cost: 0.0123, tokens }))).toBe(
			"Step: 9.7K in · 8.0K cached · 400 out · $0.0123",
		);
	});
});

describe("a call of a tool", () => {
	it.each([
		["pending", "waiting"],
		["running", "running"],
		["error", "failed"],
	])("that is %s says %s", (status, word) => {
		expect(words(tool("grep", { status, input: { pattern: "x" }, error: "no" }))).toContain(word);
	});

	it("that is done says how long it took", () => {
		expect(words(tool("grep", { status: "completed", time: { start: 1000, end: 2300 } }))).toContain("1.3 s");
	});

	it("shows its input and its output whole", () => {
		const output = Array.from({ length: 3000 }, (_, n) => `line ${n}`).join("\n");
		const html = tool("custom_tool", { status: "completed", input: { deep: { er: [1, "two"] } }, output });
		expect(words(html)).toContain(output);
		expect(words(html)).toContain('"two"');
		// In a box that a keyboard can scroll.
		expect(html).toMatch(/<pre class="output long" tabindex="0" role="region" aria-label="Output">/);
	});

	it("that changes a file shows the change, by whichever members it is told", () => {
		const states = [
			{ metadata: { diff: "@@ -1 +1 @@\n-old\n+new\n" } },
			{ metadata: { filediff: { file: "a.ts", before: "old\n", after: "new\n" } } },
			{ metadata: { filediff: { file: "a.ts", patch: "@@ -1 +1 @@\n-old\n+new\n" } } },
			{ metadata: { files: [{ relativePath: "a.ts", diff: "@@ -1 +1 @@\n-old\n+new\n" }] } },
		];
		for (const state of states) {
			const html = tool("edit", { status: "completed", input: { filePath: "a.ts" }, ...state });
			expect(html).toContain('<span class="line minus"');
			expect(words(html)).toContain("-old\n+new");
		}
		expect(words(tool("write", { status: "completed", input: { filePath: "a.ts", content: "let a = 1;" } }))).toContain(
			"let a = 1;",
		);
	});

	it("shows todos as a list, with the state of each in words too", () => {
		const html = tool("todowrite", {
			status: "completed",
			input: { todos: [{ content: "Measure", status: "in_progress" }] },
		});
		expect(html).toContain('<li data-status="in_progress">');
		expect(words(html)).toContain("Measure (in progress)");
	});

	it("links the sub-session that may be viewed, and no other", () => {
		const task = (sessionId: string) => tool("task", { status: "completed", input: {}, metadata: { sessionId } });
		expect(task("ses_child")).toContain('<a href="/share/child-slug-0123456">');
		expect(task("ses_other")).not.toContain("<a ");
	});

	it("shows the images that came of it", () => {
		const attachments = [{ type: "file", mime: "image/png", url: PIXEL }];
		expect(tool("read", { status: "completed", attachments })).toContain(`<img src="${PIXEL}"`);
	});
});

describe("a message", () => {
	const html = (over: object) => {
		const { open, close } = frame("message/msg_1", { id: "msg_1", role: "assistant", time: { created: 1 }, ...over });
		return open.html + close.html;
	};

	it("that has neither ended nor failed is under way", () => {
		expect(html({})).toContain("Working…");
		expect(html({ time: { created: 1, completed: 2 } })).not.toContain("Working…");
		expect(html({ error: { name: "UnknownError" } })).not.toContain("Working…");
		expect(html({ role: "user" })).not.toContain("Working…");
	});

	it("that was aborted, or failed, is shown as such", () => {
		expect(words(html({ error: { name: "MessageAbortedError", data: { message: "x" } } }))).toContain("Aborted");
		const failed = html({ error: { name: "ProviderAuthError", data: { message: "No <key>", statusCode: 401 } } });
		expect(words(failed)).toContain("Failed: Provider Auth (401)No &lt;key&gt;");
	});

	it("names its agent and its model", () => {
		expect(words(html({ agent: "plan", modelID: "large" }))).toContain("plan · large");
		expect(words(html({ role: "user", agent: "plan", model: { modelID: "large" } }))).toContain("plan · large");
	});

	it("stands where it was made, though OpenCode's ids have begun anew since", () => {
		const before = orderOf("message/msg_ffff", { time: { created: 1_786_000_000_000 } });
		const after = orderOf("message/msg_0001", { time: { created: 1_787_000_000_000 } });
		expect(before < after).toBe(true);
		expect(after < orderOf("message/msg_0000", {})).toBe(true);
	});
});

it("an undo is told by the session, by message or by part", () => {
	expect(undoneFrom({ revert: { messageID: "msg_2" } })).toEqual({ messageId: "msg_2", partId: undefined });
	expect(undoneFrom({ revert: { messageID: "msg_2", partID: "prt_3" } })?.partId).toBe("prt_3");
	for (const session of [undefined, {}, { revert: null }, { revert: 7 }]) expect(undoneFrom(session)).toBeUndefined();
});

describe("hostile text", () => {
	const ATTACKS = [
		"<script>alert(1)</script>",
		'<img src=x onerror="alert(1)">',
		"<svg/onload=alert(1)>",
		"[x](javascript:alert(1))",
		"[x](JaVaScRiPt&colon;alert(1))",
		"[x](data:text/html;base64,PHNjcmlwdD4=)",
		"[x](vbscript:x)",
		"[x](file:///etc/passwd)",
		"[x](//evil.example/)",
		"![x](javascript:alert(1))",
		"![x](https://tracker.example/pixel.png)",
		"<javascript:alert(1)>",
		'"><script>alert(1)</script>',
		"```html\n</code></pre><script>alert(1)</script>\n```",
		'```"><script>alert(1)</script>\nx\n```',
		"[a]: javascript:alert(1)\n\n[a]",
		'[x](https://a.example "\\" onmouseover=alert(1) x=\\"")',
	];
	const isSafe = (html: string) => {
		expect(html).not.toMatch(/<(?:script|img(?! src="data:image\/png)|svg|iframe|object|style|form|base|meta)\b/i);
		expect(html.replace(/"[^"]*"/g, '""')).not.toMatch(/<[^>]*\son\w+=/i);
		for (const [, url] of html.matchAll(/(?:href|src)="([^"]*)"/g))
			expect(url).toMatch(/^(?:https?:\/\/|mailto:|\/share\/|#|data:image\/png;base64,)/);
	};

	it.each(ATTACKS)("%s is text wherever it stands", (attack) => {
		isSafe(text(attack));
		isSafe(show({ type: "reasoning", text: attack }));
		isSafe(show({ type: attack, value: attack }));
		isSafe(show({ type: "file", filename: attack, mime: attack, url: attack }));
		for (const name of ["bash", "edit", "task", "read", "todowrite", attack])
			isSafe(
				tool(name, {
					status: attack,
					title: attack,
					input: {
						command: attack,
						filePath: attack,
						prompt: attack,
						[attack]: attack,
						todos: [{ content: attack, status: attack }],
					},
					output: attack,
					error: attack,
					metadata: { diff: `@@ -1 +1 @@\n+${attack}`, sessionId: attack },
				}),
			);
		const { open, close } = frame(`message/${attack}`, {
			role: attack,
			agent: attack,
			error: { name: attack, data: { message: attack } },
		});
		isSafe(open.html + close.html);
		isSafe(sessionDiff([{ file: attack, before: attack, after: `${attack}!` }]).html);
	});

	it("a link leads away safely", () => {
		expect(text("[a](https://a.example/?b&c)")).toContain(
			'<a href="https://a.example/?b&amp;c" rel="noopener noreferrer nofollow">',
		);
		expect(text("see https://a.example/x.")).toContain('href="https://a.example/x"');
		expect(text("run main.sh")).not.toContain("href");
	});

	it("no picture is fetched from elsewhere, and an SVG is not painted", () => {
		expect(text("![a cat](https://a.example/cat.png)")).toMatch(
			/<a href="https:\/\/a\.example\/cat\.png"[^>]*>\[image: a cat\]<\/a>/,
		);
		for (const url of [
			"data:image/svg+xml;base64,PHN2Zz4=",
			"https://a.example/cat.png",
			'data:image/png;base64,AAAA" onload="x',
			"data:text/html;base64,AAAA",
		])
			expect(show({ type: "file", mime: "image/png", url })).not.toContain("<img");
		expect(show({ type: "file", mime: "image/png", url: PIXEL })).toContain("<img");
	});

	it("direction overrides and other unseen characters are made visible, also where markdown spells them", () => {
		const unseen = "\u202eevil\u2066 \u0000 \u0007 \u{e0041}";
		for (const html of [
			text(unseen),
			text("&#x202e;evil"),
			text(`\`${unseen}\``),
			text(`\`\`\`ts\n${unseen}\n\`\`\``),
			tool("bash", { status: "completed", input: { command: unseen }, output: unseen }),
			show({ type: "file", filename: unseen }),
		]) {
			expect(html).toContain("⟨U+202E⟩");
			expect(html).not.toMatch(/[\u202a-\u202e\u2066-\u2069\u{e0000}-\u{e007f}]|(?![\n\t])\p{Cc}/u);
		}
	});

	it("colours of a terminal are shown, and no other escape sequence is", () => {
		expect(
			ansi("\u001b[1;31mred\u001b[0m \u001b[2J\u001b]8;;https://evil.example\u0007link\u001b]8;;\u0007\u001b[38;5;9m!")
				.html,
		).toBe('<span class="bold c1">red</span> link!');
		expect(ansi("\u001b[31m<b>").html).toBe('<span class="c1">&lt;b&gt;</span>');
		expect(ansi("a\r\nb\rc").html).toBe("a\nb\nc");
	});

	it("a huge line, a huge text and deep nesting are shown whole, in time", () => {
		const line = "x".repeat(2_000_000);
		const started = performance.now();
		expect(text(line)).toContain(line);
		expect(tool("bash", { status: "completed", input: { command: "x" }, output: line })).toContain(line);
		for (const piece of ["[", "*", "> ", "<", "`", "- "])
			expect(words(text(`${piece.repeat(20_000)}\nend`))).toContain("end");
		expect(performance.now() - started).toBeLessThan(20_000);
	});
});

describe("a change of a file", () => {
	it("is numbered on both sides", () => {
		const html = fileDiff({ file: "a", patch: "@@ -3,2 +3,3 @@\n a\n-b\n+c\n+d\n" }).html;
		expect(
			[...html.matchAll(/data-before="(\d*)" data-after="(\d*)">(.)/g)].map(([, ...line]) => line.join(",")),
		).toEqual(["3,3, ", "4,,-", ",4,+", ",5,+"]);
	});

	it("that is too large to compare is shown as both texts", () => {
		const numbered = (prefix: string) => Array.from({ length: 5000 }, (_, n) => `${prefix}${n}`).join("\n");
		const html = fileDiff({ file: "a", before: numbered("a"), after: numbered("b") }).html;
		expect(words(html)).toContain("-a4999");
		expect(words(html)).toContain("+b4999");
	});
});

it("headings of an answer stand below those of the page", () => {
	expect(markdown("# One\n\n###### Six").html).toBe("<h3>One</h3>\n<h6>Six</h6>\n");
});
