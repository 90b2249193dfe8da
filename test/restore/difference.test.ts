import { describe, expect, test } from "vitest";
import { canonicalJson, digestOf } from "../../src/model/json.ts";
import type { Content } from "../../src/restore/content.ts";
import { differenceOf, type Here } from "../../src/restore/difference.ts";
import { broughtBefore, eventsOf } from "../../src/restore/events.ts";
import { forkOf } from "../../src/restore/fork.ts";
import { contentOf, ITEMS, type Item, message, part, session } from "./items.ts";

/** A machine that has what these items say, and knows nothing else. */
function here(items: readonly Item[] | undefined, known: Partial<Here> = {}): Here {
	const content = items && contentOf(items);
	const all = content && [content.session, ...content.entities];
	return {
		local: all && new Map(all.map(({ key, payload }) => [key, payload])),
		...{ unreadable: new Set<string>(), acknowledged: new Map<string, string>(), removed: new Set<string>() },
		...known,
	};
}

function told(items: readonly Item[] | undefined, content: Content, known?: Partial<Here>) {
	const { standing, bring, remove, ahead } = differenceOf(here(items, known), content);
	return { standing, bring: bring.map(({ key }) => key), remove, ahead };
}

const NOTHING = { bring: [], remove: [], ahead: [] };
const SHARE = [session(), message("msg_1"), part("prt_1", "msg_1"), message("msg_2"), part("prt_2", "msg_2")];

describe("what is here, held against a share,", () => {
	test("is absent, equal wherever it lives, or behind by what it lacks", () => {
		expect(told(undefined, contentOf(SHARE))).toMatchObject({ standing: "absent", remove: [], ahead: [] });
		const moved = session({ directory: "/here", projectID: "q", path: "sub", share: { url: "u" } });
		expect(told([moved, ...SHARE.slice(1)], contentOf(SHARE))).toEqual({ standing: "equal", ...NOTHING });
		expect(told(SHARE.slice(0, 2), contentOf(SHARE))).toEqual({
			...{ ...NOTHING, standing: "behind" },
			bring: ["part/msg_1/prt_1", "message/msg_2", "part/msg_2/prt_2"],
		});
	});

	test("is behind in what was not finished, lacks members, or has an earlier time", () => {
		const answer = { role: "assistant", tokens: 5, time: { created: 1, completed: 2 } };
		const tool = { type: "tool", state: { status: "completed", output: "x" } };
		const share = contentOf([
			session({ title: "Renamed", time: { created: 1, updated: 9 } }),
			message("msg_1", { summary: { title: "added" } }),
			message("msg_2", answer),
			part("prt_2", "msg_2", tool),
			part("prt_3", "msg_2", { text: "whole", time: { start: 1, end: 2 } }),
		]);
		const items = [
			session(),
			message("msg_1"),
			message("msg_2", { ...answer, tokens: 0, time: { created: 1 } }),
			part("prt_2", "msg_2", { type: "tool", state: { status: "running", title: "y" } }),
			part("prt_3", "msg_2", { text: "wh", time: { start: 1 } }),
		];
		expect(told(items, share)).toMatchObject({ standing: "behind", ahead: [] });
		expect(told(items, share).bring).toHaveLength(5);
	});

	test("has gone on in what the share has not, or has another way without proof that it is later", () => {
		const more = [...SHARE, message("msg_3")];
		expect(told(more, contentOf(SHARE))).toEqual({ standing: "ahead", ...NOTHING, ahead: ["message/msg_3"] });
		const edited = [...SHARE.slice(0, 2), part("prt_1", "msg_1", { text: "edited" }), ...SHARE.slice(3)];
		expect(told(edited, contentOf(SHARE))).toMatchObject({ standing: "ahead", ahead: ["part/msg_1/prt_1"] });
		const later = [session({ title: "Renamed here", time: { created: 1, updated: 6 } }), ...SHARE.slice(1)];
		expect(told(later, contentOf(SHARE))).toMatchObject({ standing: "ahead", ahead: ["session"] });
		expect(told([...SHARE.slice(0, 3), message("msg_3")], contentOf(SHARE))).toEqual({
			...{ standing: "diverged", remove: [], ahead: ["message/msg_3"] },
			bring: ["message/msg_2", "part/msg_2/prt_2"],
		});
	});

	test("is behind in what this machine itself had sent, however it differs", () => {
		const items = [session(), message("msg_1"), part("prt_1", "msg_1", { text: "old" }), message("msg_9")];
		const acknowledged = new Map(
			[...(here(items).local ?? [])].map(([key, payload]) => [key, digestOf(payload)] as const),
		);
		expect(told(items, contentOf(SHARE), { acknowledged })).toEqual({
			...{ standing: "behind", remove: ["message/msg_9"], ahead: [] },
			bring: ["part/msg_1/prt_1", "message/msg_2", "part/msg_2/prt_2"],
		});
	});

	test("has gone on by what was removed here; what cannot be read is left alone", () => {
		const removed = new Set(["message/msg_2"]);
		expect(told(SHARE.slice(0, 3), contentOf(SHARE), { removed })).toEqual({
			...{ ...NOTHING, standing: "ahead" },
			ahead: ["message/msg_2", "part/msg_2/prt_2"],
		});
		const unreadable = new Set(["part/msg_2/prt_2"]);
		expect(told(SHARE.slice(0, 4), contentOf(SHARE), { unreadable })).toEqual({ standing: "equal", ...NOTHING });
	});
});

describe("the events of a restore", () => {
	const home = { directory: "/here", projectID: "q", path: "" };
	const now = 1_795_674_293_797;

	test("begin and end with the session in its new home, follow the log, and have ids that grow", () => {
		const content = contentOf(ITEMS);
		const events = eventsOf(content, differenceOf(here(undefined), content), { home, next: 0, now });
		expect(events.map(({ type }) => type)).toEqual([
			"session.created.1",
			...["message.updated.1", "message.part.updated.1", "message.part.updated.1"],
			...["message.updated.1", "message.part.updated.1", "session.updated.1"],
		]);
		expect(events.map(({ seq }) => seq)).toEqual([0, 1, 2, 3, 4, 5, 6]);
		expect(events.map(({ id }) => id)).toEqual([...events.map(({ id }) => id)].sort());
		expect(new Set(events.map(({ id }) => id)).size).toBe(events.length);
		for (const event of [events[0], events.at(-1)])
			expect(event?.data).toMatchObject({ sessionID: "ses_1", info: { title: "A title", ...home } });
	});

	test("of a session that is behind remove first, and a removed message takes its parts along", () => {
		const content = contentOf(SHARE);
		const difference = {
			...{ standing: "behind" as const, bring: [], ahead: [] },
			remove: ["message/msg_8", "part/msg_8/prt_8", "part/msg_1/prt_9"],
		};
		expect(
			eventsOf(content, difference, { home, next: 40, now }).map(({ seq, type, data }) => [seq, type, data]),
		).toEqual([
			[40, "message.removed.1", { sessionID: "ses_1", messageID: "msg_8" }],
			[41, "message.part.removed.1", { sessionID: "ses_1", messageID: "msg_1", partID: "prt_9" }],
			[42, "session.updated.1", expect.anything()],
		]);
	});

	test("are known again: what OpenCode did not take whole is not brought twice, until something else is written", () => {
		const content = contentOf(SHARE);
		const ids = eventsOf(content, differenceOf(here(undefined), content), { home, next: 0, now }).map(({ id }) => id);
		const keysOf = (own: readonly string[], bring = content.entities) =>
			broughtBefore(own, bring).map(({ key }) => key);
		expect(keysOf(ids)).toEqual(content.entities.map(({ key }) => key));
		expect(keysOf([...ids, "evt_de978b9dbffeKtt0Dw4H06kKab"])).toEqual([]);
		expect(keysOf([])).toEqual([]);
		const other = contentOf([...SHARE.slice(0, 2), part("prt_1", "msg_1", { text: "another" })]);
		expect(keysOf(ids, other.entities)).toEqual(["message/msg_1"]);
	});
});

describe("a fork", () => {
	const ITEMS_OF_OPENCODE = [
		session({ id: "ses_de978b9dbffeKtt0Dw4H06kKa1", parentID: "ses_de978b9dbfffKtt0Dw4H06kKa0" }),
		message("msg_21687de76001re6QiUTRJD8T15", { sessionID: "ses_de978b9dbffeKtt0Dw4H06kKa1" }),
		part("prt_21687de76002re6QiUTRJD8T15", "msg_21687de76001re6QiUTRJD8T15", {
			sessionID: "ses_de978b9dbffeKtt0Dw4H06kKa1",
			metadata: { tail: ["msg_21687de76001re6QiUTRJD8T15"], text: "see msg_21687de76001re6QiUTRJD8T15" },
		}),
	];

	test("has ids of its own in the old order, everywhere, and the same ones each time", () => {
		const content = contentOf(ITEMS_OF_OPENCODE);
		const fork = forkOf(content, "a-slug", []);
		expect(fork).toEqual(forkOf(contentOf(ITEMS_OF_OPENCODE), "a-slug", []));
		expect(fork.session_id).not.toBe(forkOf(content, "another-slug", []).session_id);
		expect(fork.session_id).toMatch(/^ses_de978b9dbffe[0-9a-f]{14}$/);
		const [first, second] = fork.entities;
		expect(first?.value).toMatchObject({ id: expect.stringMatching(/^msg_21687de76001/), sessionID: fork.session_id });
		expect(second?.value).toMatchObject({ messageID: first?.value.id, sessionID: fork.session_id });
		expect(second?.key).toBe(`part/${first?.value.id}/${second?.value.id}`);
		expect(second?.value.metadata).toEqual({
			tail: [first?.value.id],
			text: "see msg_21687de76001re6QiUTRJD8T15",
		});
		expect(second?.payload).toBe(canonicalJson(second?.value));
		expect(JSON.stringify(fork.entities.map(({ key }) => key))).not.toContain("re6QiUTRJD8T15");
	});

	test("of a family has its parent in it; of a child alone it stays below the parent that there is", () => {
		const content = contentOf(ITEMS_OF_OPENCODE);
		const parent = "ses_de978b9dbfffKtt0Dw4H06kKa0";
		const alone = contentOf([session({ id: parent })]);
		expect(forkOf(content, "s", [parent]).session.value.parentID).toBe(forkOf(alone, "s", []).session_id);
		expect(forkOf(content, "s", []).session.value.parentID).toBe(parent);
	});
});
