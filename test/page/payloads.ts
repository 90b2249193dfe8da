import type { Draft } from "../server/client.ts";

/** Entities as OpenCode 1.18 writes them, with what a test says over them. */

let clock = Date.UTC(2026, 0, 5, 9, 0);
const tick = (seconds = 7) => (clock += seconds * 1000);

type Over = Readonly<Record<string, unknown>>;

export function draft(type: NonNullable<Draft["type"]>, key: string, data: unknown): Draft {
	return { type, key, payload: JSON.stringify(data) };
}

export function session(over: Over = {}): Draft {
	return draft("session", "session", {
		id: "ses_1",
		slug: "quiet-lake",
		projectID: "prj_1",
		directory: "/home/a/notes",
		title: "Make the importer faster",
		version: "1.18.33",
		time: { created: clock, updated: tick() },
		summary: { additions: 12, deletions: 3, files: 2 },
		...over,
	});
}

export function user(id: string, over: Over = {}): Draft {
	return draft("message", `message/${id}`, {
		id,
		sessionID: "ses_1",
		role: "user",
		time: { created: tick() },
		agent: "build",
		model: { providerID: "scripted", modelID: "scripted-large" },
		...over,
	});
}

export function assistant(id: string, over: Over = {}): Draft {
	const created = tick();
	return draft("message", `message/${id}`, {
		id,
		sessionID: "ses_1",
		role: "assistant",
		time: { created, completed: created + 4000 },
		parentID: "msg_1",
		agent: "build",
		mode: "build",
		modelID: "scripted-large",
		providerID: "scripted",
		path: { cwd: "/home/a/notes", root: "/home/a/notes" },
		cost: 0.0123,
		tokens: { input: 1200, output: 340, reasoning: 60, cache: { read: 8000, write: 500 } },
		...over,
	});
}

export function part(messageID: string, id: string, data: Over): Draft {
	return draft("part", `part/${messageID}/${id}`, { id, messageID, sessionID: "ses_1", ...data });
}

export function said(messageID: string, id: string, text: string, over: Over = {}): Draft {
	return part(messageID, id, { type: "text", text, ...over });
}

export function answered(messageID: string, id: string, text: string, over: Over = {}): Draft {
	return said(messageID, id, text, { time: { start: clock, end: clock + 900 }, ...over });
}

export function called(messageID: string, id: string, tool: string, state: Over): Draft {
	const time = { start: clock, end: clock + 1300 };
	return part(messageID, id, {
		type: "tool",
		callID: `call_${id}`,
		tool,
		state: { status: "completed", input: {}, output: "", title: "", metadata: {}, time, ...state },
	});
}

export const PIXEL =
	"data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";

export const PATCH = [
	"Index: src/import.ts",
	"===================================================================",
	"--- src/import.ts",
	"+++ src/import.ts",
	"@@ -1,5 +1,6 @@",
	" import { open } from './file';",
	" ",
	"-for (const row of rows) insert(row);",
	"+// One transaction for all of them.",
	"+transaction(() => rows.forEach(insert));",
	" ",
	" export { rows };",
	"@@ -40,3 +41,3 @@",
	" a",
	"-b",
	"+c",
	"",
].join("\n");

/** A session with one of everything that is shown. */
export function everything(): Draft[] {
	return [
		session(),
		user("msg_1"),
		said(
			"msg_1",
			"prt_10",
			"The import of `notes.csv` takes a minute. Make it faster, please.\n\nSee the attached picture.",
		),
		said("msg_1", "prt_11", "Called the Read tool with the following input", { synthetic: true }),
		part("msg_1", "prt_12", { type: "file", mime: "image/png", filename: "profile.png", url: PIXEL }),
		part("msg_1", "prt_13", {
			type: "file",
			mime: "text/csv",
			filename: "notes.csv",
			url: "data:text/csv;base64,YSxiCg==",
		}),
		part("msg_1", "prt_14", { type: "agent", name: "explore" }),
		assistant("msg_2"),
		part("msg_2", "prt_20", { type: "step-start", snapshot: "abc" }),
		part("msg_2", "prt_21", {
			type: "reasoning",
			text: "**Finding the slow part**\n\nOne insert per row, each its own transaction.",
			time: { start: clock, end: clock + 5200 },
		}),
		answered("msg_2", "prt_22", "I will look at the importer first."),
		called("msg_2", "prt_23", "read", {
			title: "src/import.ts",
			input: { filePath: "/home/a/notes/src/import.ts" },
			output: "<file>\n00001| import { open } from './file';\n</file>",
		}),
		called("msg_2", "prt_24", "bash", {
			title: "Measures the import",
			input: { command: "time npm run import -- notes.csv", description: "Measures the import" },
			output: "\u001b[32m✓\u001b[0m 10000 rows\n\u001b[1mreal\u001b[0m 0m58.201s\n",
			metadata: { output: "", exit: 0 },
		}),
		part("msg_2", "prt_25", {
			type: "step-finish",
			reason: "tool-calls",
			cost: 0.0123,
			tokens: { input: 1200, output: 340, reasoning: 60, cache: { read: 8000, write: 500 } },
		}),
		assistant("msg_3"),
		called("msg_3", "prt_31", "todowrite", {
			title: "3 todos",
			input: {
				todos: [
					{ content: "Measure", status: "completed", priority: "high" },
					{ content: "One transaction", status: "in_progress", priority: "high" },
					{ content: "Measure again", status: "pending", priority: "medium" },
				],
			},
		}),
		called("msg_3", "prt_32", "edit", {
			title: "src/import.ts",
			input: { filePath: "/home/a/notes/src/import.ts", oldString: "a", newString: "b" },
			output: "Edit applied successfully.",
			metadata: { diff: PATCH, filediff: { file: "src/import.ts", additions: 3, deletions: 2 } },
		}),
		called("msg_3", "prt_33", "task", {
			title: "Look for other loops",
			input: { description: "Look for other loops", prompt: "Look for **other loops**.", subagent_type: "explore" },
			output: "There are none.",
			metadata: { sessionId: "ses_child" },
		}),
		called("msg_3", "prt_34", "webfetch", {
			status: "error",
			input: { url: "https://example.org/guide" },
			error: "Request failed with status code: 404",
		}),
		called("msg_3", "prt_35", "grep", { status: "running", input: { pattern: "insert\\(" } }),
		part("msg_3", "prt_36", { type: "patch", hash: "abc", files: ["/home/a/notes/src/import.ts"] }),
		part("msg_3", "prt_37", {
			type: "retry",
			attempt: 1,
			error: { name: "APIError", data: { message: "Overloaded", statusCode: 529 } },
		}),
		answered(
			"msg_3",
			"prt_38",
			[
				"It was **one transaction per row**. Now it is one for all:",
				"```ts\nexport function importAll(rows: Row[]): void {\n\ttransaction(() => rows.forEach(insert)); // 40 times faster\n}\n```",
				"| | before | after |\n|---|---|---|\n| 10,000 rows | 58.2 s | 1.4 s |",
				"1. The table is locked meanwhile.\n2. See [SQLite's FAQ](https://www.sqlite.org/faq.html#q19).\n\n> INSERT is really slow",
			].join("\n\n"),
		),
		user("msg_4"),
		said("msg_4", "prt_41", "And the tests?"),
		assistant("msg_5", { error: { name: "MessageAbortedError", data: { message: "aborted" } }, cost: 0, tokens: {} }),
		answered("msg_5", "prt_51", "I will run the"),
		user("msg_6"),
		part("msg_6", "prt_61", { type: "compaction", auto: true }),
		assistant("msg_7", {
			error: { name: "APIError", data: { message: "The model is not available.", statusCode: 503 } },
			cost: 0,
			tokens: {},
		}),
		draft("todo", "todo", [
			{ content: "Measure", status: "completed", priority: "high" },
			{ content: "One transaction", status: "in_progress", priority: "high" },
		]),
		draft("session_diff", "session_diff", [
			{ file: "src/import.ts", before: "a\nb\nc\n", after: "a\nB\nc\n", additions: 1, deletions: 1 },
			{ file: "README.md", patch: "@@ -0,0 +1,1 @@\n+new\n", additions: 1, deletions: 0, status: "added" },
		]),
	];
}
