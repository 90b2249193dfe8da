import { describe, expect, test } from "vitest";
import { LiveEar } from "../../src/source/live-ear.ts";

const ids = { sessionID: "ses_1", messageID: "msg_1" };
const begun = (id: string, text: unknown = "") => ({
	type: "message.part.updated",
	properties: { sessionID: "ses_1", part: { id, ...ids, type: "text", text } },
});
const delta = (partID: string, text: string, field = "text") => ({
	type: "message.part.delta",
	properties: { ...ids, partID, field, delta: text },
});

describe("an ear", () => {
	test("tells where each delta belongs, from the part's beginning on, in UTF-16 characters", () => {
		const ear = new LiveEar();
		expect(ear.hear(begun("prt_1"))).toBeUndefined();
		const heard = ["né ", "😀", "x"].map((text) => ear.hear(delta("prt_1", text)));
		expect(heard.map((live) => [live?.offset, live?.delta])).toEqual([
			[0, "né "],
			[3, "😀"],
			[5, "x"],
		]);
		expect(heard[0]).toEqual({
			...{ session_id: "ses_1", message_id: "msg_1", part_id: "prt_1" },
			...{ field: "text", offset: 0, delta: "né " },
		});
	});

	test("tells nothing of a part whose beginning was not heard", () => {
		const ear = new LiveEar();
		expect(ear.hear(delta("prt_1", "the middle"))).toBeUndefined();
		ear.hear(begun("prt_2"));
		expect(ear.hear(delta("prt_1", "of it"))).toBeUndefined();
		expect(ear.hear(delta("prt_2", "one"))?.offset).toBe(0);
	});

	test("goes on from a state that OpenCode tells in between", () => {
		const ear = new LiveEar();
		ear.hear(begun("prt_1"));
		ear.hear(delta("prt_1", "one"));
		ear.hear(begun("prt_1", "one two "));
		expect(ear.hear(delta("prt_1", "three"))?.offset).toBe(8);
	});

	test("tells which state a text continues, where events have ids", () => {
		const ear = new LiveEar();
		ear.hear({ id: "evt_1", ...begun("prt_1") });
		expect(ear.hear({ id: "evt_2", ...delta("prt_1", "one") })?.since).toBe("evt_1");
		ear.hear({ id: "evt_3", ...begun("prt_1") });
		expect(ear.hear({ id: "evt_4", ...delta("prt_1", "two") })).toMatchObject({ since: "evt_3", offset: 0 });
	});

	test("tells nothing of another member, of a removed part, or of what is malformed", () => {
		const ear = new LiveEar();
		ear.hear(begun("prt_1"));
		expect(ear.hear(delta("prt_1", "x", "output"))).toBeUndefined();
		ear.hear({ type: "message.part.removed", properties: { ...ids, partID: "prt_1" } });
		expect(ear.hear(delta("prt_1", "x"))).toBeUndefined();
		for (const part of [null, 1, "x", [], { id: 1, text: "" }, { id: "prt_1", text: 1 }])
			expect(ear.hear({ type: "message.part.updated", properties: { part } })).toBeUndefined();
		expect(ear.hear({ type: "message.part.updated" })).toBeUndefined();
		expect(ear.hear({ type: "message.part.delta", properties: { partID: "prt_1", delta: 1 } })).toBeUndefined();
		expect(ear.hear({ type: "session.idle", properties: {} })).toBeUndefined();
	});

	test("remembers a bounded number of parts, the latest ones", () => {
		const ear = new LiveEar();
		for (let n = 0; n < 1500; n++) ear.hear(begun(`prt_${n}`));
		expect(ear.hear(delta("prt_0", "x"))).toBeUndefined();
		expect(ear.hear(delta("prt_1499", "x"))?.offset).toBe(0);
	});
});
