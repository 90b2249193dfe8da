import { describe, expect, it } from "vitest";
import { collapse } from "../../src/source/collapse.ts";
import { changeOf, type EventRow } from "../../src/source/intents.ts";
import { isPoison } from "../../src/source/source.ts";

let seq = 0;
function row(type: string, data: object | string): EventRow {
	const text = typeof data === "string" ? data : JSON.stringify(data);
	return { aggregate_id: "ses_a", seq: seq++, id: `evt_${seq}`, type, bytes: text.length, data: text };
}
const sessionID = "ses_a";
const message = (id: string, text = "") => row("message.updated.1", { sessionID, info: { id, sessionID, text } });
const part = (messageID: string, id: string, text = "") =>
	row("message.part.updated.1", { sessionID, part: { id, sessionID, messageID, text }, time: 1 });
const removeMessage = (messageID: string) => row("message.removed.1", { sessionID, messageID });
const removePart = (messageID: string, partID: string) =>
	row("message.part.removed.1", { sessionID, messageID, partID });

/** Each change as `key:text`, `-key` for a removal, `!code` for what cannot be read. */
function told(rows: EventRow[]): string[] {
	return collapse(rows).map((change) => {
		if (isPoison(change)) return `!${change.code}`;
		return change.type.endsWith("_removed") ? `-${change.key}` : `${change.key}:${JSON.parse(change.payload).text}`;
	});
}

describe("an event becomes a change", () => {
	it("for each of the seven durable types", () => {
		const info = { id: "ses_a", title: "T" };
		const changes = [
			row("session.created.1", { sessionID, info }),
			row("session.updated.1", { info, sessionID }),
			message("msg_1"),
			part("msg_1", "prt_1"),
			removePart("msg_1", "prt_1"),
			removeMessage("msg_1"),
			row("session.deleted.1", { sessionID, info }),
		].map((event) => changeOf(event));
		expect(changes.map((change) => change && [change.type, change.key, "payload" in change && change.payload])).toEqual(
			[
				["session", "session", '{"id":"ses_a","title":"T"}'],
				["session", "session", '{"id":"ses_a","title":"T"}'],
				["message", "message/msg_1", '{"id":"msg_1","sessionID":"ses_a","text":""}'],
				["part", "part/msg_1/prt_1", '{"id":"prt_1","messageID":"msg_1","sessionID":"ses_a","text":""}'],
				["part_removed", "part/msg_1/prt_1", '{"messageID":"msg_1","partID":"prt_1","sessionID":"ses_a"}'],
				["message_removed", "message/msg_1", '{"messageID":"msg_1","sessionID":"ses_a"}'],
				["session_deleted", "session_deleted", '{"sessionID":"ses_a"}'],
			],
		);
	});

	it("with its id and number", () => {
		const event = message("msg_1");
		expect(changeOf(event)).toMatchObject({ event_id: event.id, seq: event.seq });
	});

	it("or nothing, for types that no op carries", () => {
		expect(changeOf(row("session.next.prompted.1", {}))).toBeUndefined();
		expect(changeOf(row("session.updated.7", {}))).toBeUndefined();
	});

	it("or is set aside, with the facts", () => {
		const deep = `{"sessionID":"ses_a","info":{"id":"msg_1","x":${"[".repeat(200_000)}${"]".repeat(200_000)}}}`;
		for (const data of ["", "null", "[]", '{"sessionID":"ses_a"', '{"sessionID":"ses_a","info":{"id":"a/b"}}', deep])
			expect(changeOf(row("message.updated.1", data))).toMatchObject({ code: "invalid_payload", type: "message" });
		const large = { ...message("msg_1"), data: null, bytes: 500_000_000 };
		expect(changeOf(large)).toMatchObject({ code: "too_large", reason: expect.stringContaining("500000000 bytes") });
	});
});

describe("updates of one entity", () => {
	it("collapse into the place of the earliest, with the event of the latest", () => {
		const rows = [message("m1", "a"), part("m1", "p1", "a"), message("m2"), message("m1", "b")];
		for (let n = 0; n < 202; n++) rows.push(part("m1", "p1", `line ${n}`));
		expect(told(rows)).toEqual(["message/m1:b", "part/m1/p1:line 201", "message/m2:"]);
		expect(collapse(rows)[1]).toMatchObject({ event_id: rows.at(-1)?.id, seq: rows.at(-1)?.seq });
	});

	it("collapse however the members of their events are ordered", () => {
		const reordered = row("message.part.updated.1", {
			time: 1,
			part: { messageID: "m1", id: "p1", text: "b" },
			sessionID,
		});
		expect(told([part("m1", "p1", "a"), reordered, part("m1", "p1", "c")])).toEqual(["part/m1/p1:c"]);
	});

	it("do not collapse across a removal of the entity", () => {
		expect(told([part("m1", "p1", "a"), removePart("m1", "p1"), part("m1", "p1", "b"), part("m1", "p1", "c")])).toEqual(
			["part/m1/p1:a", "-part/m1/p1", "part/m1/p1:c"],
		);
		expect(told([message("m1", "a"), removeMessage("m1"), message("m1", "b")])).toHaveLength(3);
	});

	it("do not collapse across a removal of their message, while others do", () => {
		const rows = [
			part("m1", "p1", "a"),
			part("m2", "p2", "a"),
			removeMessage("m1"),
			part("m1", "p1", "b"),
			part("m2", "p2", "b"),
		];
		expect(told(rows)).toEqual(["part/m1/p1:a", "part/m2/p2:b", "-message/m1", "part/m1/p1:b"]);
	});

	it("do not collapse across what cannot be read, since nobody knows what it was about", () => {
		const lost = { ...removeMessage("m1"), data: "{" };
		expect(told([message("m1", "a"), lost, message("m1", "b")])).toEqual([
			"message/m1:a",
			"!invalid_payload",
			"message/m1:b",
		]);
	});
});
