import { Collector, type Content } from "../../src/restore/content.ts";

/** An element of a share's export. */
export interface Item {
	readonly type: string;
	readonly data: unknown;
}

type Members = Readonly<Record<string, unknown>>;

export function session(over: Members = {}): Item {
	const time = { created: 1, updated: 5 };
	return {
		type: "session",
		data: { id: "ses_1", title: "A title", directory: "/there", projectID: "p", version: "1", time, ...over },
	};
}

export function message(id: string, over: Members = {}): Item {
	return { type: "message", data: { id, sessionID: "ses_1", role: "user", time: { created: 1 }, ...over } };
}

export function part(id: string, messageID: string, over: Members = {}): Item {
	return { type: "part", data: { id, messageID, sessionID: "ses_1", type: "text", text: id, ...over } };
}

export const ITEMS: readonly Item[] = [
	session(),
	message("msg_2"),
	message("msg_1"),
	part("prt_3", "msg_2", { text: 'a "quoted" \\ text, [and] {brackets} – ünïcode' }),
	part("prt_2", "msg_1"),
	part("prt_1", "msg_1"),
	{ type: "session_diff", data: [{ file: "a" }] },
	{ type: "todo", data: [{ content: "a" }, { content: "b" }] },
];

export function exportOf(items: readonly Item[]): string {
	return `[${items.map((item) => JSON.stringify(item)).join(",\n")}]`;
}

export const EXPORT = exportOf(ITEMS);

/** What these items are a share of. */
export function contentOf(items: readonly Item[] = ITEMS): Content {
	const collector = new Collector();
	for (const item of items) collector.add(JSON.stringify(item));
	return collector.content();
}
