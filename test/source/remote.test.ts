import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ROW_BYTES_MAX } from "../../src/source/intents.ts";
import { type RemoteOptions, RemoteReader } from "./remote-reader.ts";
import { type Numbering, ScriptedOpencode } from "./scripted-opencode.ts";

let opencode: ScriptedOpencode;
let reader: RemoteReader;
const truth = (id: string) => opencode.truth(id);

beforeEach(async () => {
	opencode = await ScriptedOpencode.start();
	for (const id of ["ses_a", "ses_b"]) {
		opencode.create(id);
		opencode.message(id, "msg_1");
		opencode.part(id, "msg_1", "prt_1", "one");
	}
});
afterEach(async () => {
	await reader?.close();
	await opencode.close();
});

/** Reads everything that is there, and that nothing happened to for a while. */
async function start(options: RemoteOptions = {}): Promise<void> {
	reader = new RemoteReader(opencode.url, options);
	await reader.untilEqual(truth, "ses_a", "ses_b");
	await reader.until("the stream", () => opencode.streams === 1);
}

/** Says something, so that the numbers of `ses_a` are known. */
async function startNumbered(): Promise<number> {
	await start();
	opencode.message("ses_a", "msg_2");
	await reader.untilEqual(truth, "ses_a");
	opencode.part("ses_a", "msg_2", "prt_2", "two");
	await reader.untilEqual(truth, "ses_a");
	expect(reader.kinds("ses_a").at(-1)).toBe("log");
	return reader.reads.length;
}

describe("a server's sessions", () => {
	it("are snapshotted at the start; what is numbered is captured as it comes from then on, each thing once", async () => {
		const from = await startNumbered();
		opencode.removeMessage("ses_a", "msg_1");
		opencode.rename("ses_a", "renamed");
		await reader.untilEqual(truth, "ses_a");
		expect(new Set(reader.kinds("ses_a", from))).toEqual(new Set(["log"]));
		expect(reader.kinds("ses_b")).toEqual(["snapshot"]);
		expect(reader.captured.get("ses_a")?.watermark?.seq).toBe(6);
	});

	it("that are made while it is heard are captured from their first event on, without a request for their messages", async () => {
		await start();
		opencode.create("ses_new");
		opencode.message("ses_new", "msg_1");
		opencode.part("ses_new", "msg_1", "prt_1", "text");
		opencode.todo("ses_new", "A");
		await reader.untilEqual(truth, "ses_new");
		expect(new Set(reader.kinds("ses_new"))).toEqual(new Set(["log"]));
		expect(opencode.asked.filter((path) => path.startsWith("/session/ses_new/message"))).toEqual([]);
	});

	it("are not asked for while nothing happens", async () => {
		await start();
		await reader.until("the scrub", () => !reader.source.changed());
		const asked = opencode.asked.length;
		for (let poll = 0; poll < 20; poll++) expect(reader.source.changed()).toBe(false);
		expect(opencode.asked.length).toBe(asked);
	});

	it("are told whole when their todos change, and what is no event of theirs changes nothing", async () => {
		const from = await startNumbered();
		opencode.todo("ses_a", "A", "B");
		await reader.untilEqual(truth, "ses_a");
		expect(new Set(reader.kinds("ses_a", from))).toEqual(new Set(["log"]));
	});

	it("come to the last state when they change while they are snapshotted", async () => {
		await start();
		let release: (() => void) | undefined;
		opencode.instead = (path, response) => {
			if (!path.startsWith("/session/ses_a/message")) return false;
			const old = [...(opencode.sessions.get("ses_a")?.messages.values() ?? [])].map(({ info, parts }) => ({
				info,
				parts: [...parts.values()],
			}));
			const answer = JSON.stringify(old);
			release = () => void response.end(answer);
			return true;
		};
		opencode.part("ses_a", "msg_1", "prt_1", "two");
		await reader.until("the request", () => release !== undefined);
		// The answer is older than these.
		opencode.part("ses_a", "msg_1", "prt_1", "three");
		opencode.message("ses_a", "msg_2");
		opencode.removeMessage("ses_a", "msg_2");
		opencode.instead = () => false;
		release?.();
		await reader.untilEqual(truth, "ses_a");
	});

	it("are asked for a few at a time, however many there are", async () => {
		for (let n = 0; n < 100; n++) opencode.create(`ses_${n}`);
		reader = new RemoteReader(opencode.url);
		const all = [...opencode.sessions.keys()];
		await reader.untilEqual(truth, ...all);
		expect(opencode.atOnceMax).toBeLessThanOrEqual(4);
		expect(opencode.atOnceMax).toBeGreaterThan(1);
		for (const path of ["/message", "/todo"])
			expect(opencode.asked.filter((asked) => asked.includes(`ses_7${path}`))).toHaveLength(1);
	});

	it("are left alone when nobody wants them, and captured whole when somebody does", async () => {
		let wanted = ["ses_a"];
		reader = new RemoteReader(opencode.url, { choose: () => new Set(wanted) });
		await reader.untilEqual(truth, "ses_a");
		opencode.part("ses_b", "msg_1", "prt_1", "unheard");
		await reader.pass();
		expect(opencode.asked.filter((path) => path.startsWith("/session/ses_b/message"))).toEqual([]);
		wanted = ["ses_a", "ses_b"];
		await reader.pass();
		await reader.untilEqual(truth, "ses_a", "ses_b");
	});
});

describe("what was not heard", () => {
	const ways: Record<string, () => void> = {
		"ended as it should": () => opencode.endStreams("end"),
		"was cut": () => opencode.endStreams("cut"),
		"was cut in the middle of a frame": () => {
			opencode.write('data: {"directory":"/project","payload":{"type":"sync","syncEvent":{"id":"evt_x","type":"mess');
			opencode.endStreams("cut");
		},
	};
	for (const [way, end] of Object.entries(ways))
		it(`is found when the stream ${way}, even where it touched no row`, async () => {
			await startNumbered();
			end();
			opencode.tells = false;
			opencode.part("ses_a", "msg_2", "prt_2", "not heard");
			opencode.removeMessage("ses_b", "msg_1");
			opencode.create("ses_c");
			opencode.tells = true;
			await reader.untilEqual(truth, "ses_a", "ses_b", "ses_c");
			await reader.until("the stream", () => opencode.streams === 1);
			opencode.part("ses_a", "msg_2", "prt_2", "heard again");
			await reader.untilEqual(truth, "ses_a");
		});

	it("is found when the stream falls silent", async () => {
		await start({ silenceMsMax: 300 });
		opencode.tells = false;
		opencode.part("ses_a", "msg_1", "prt_1", "into the silence");
		await reader.untilEqual(truth, "ses_a");
		expect(opencode.asked.filter((path) => path === "/global/event").length).toBeGreaterThan(1);
	});

	it("is found by the hole that it leaves, as when another OpenCode process works on the session", async () => {
		const from = await startNumbered();
		opencode.tells = false;
		opencode.part("ses_a", "msg_2", "prt_other", "by the other process");
		opencode.tells = true;
		opencode.part("ses_a", "msg_2", "prt_2", "by this one");
		await reader.untilEqual(truth, "ses_a");
		expect(reader.reasons("ses_a", from)).toEqual([expect.stringMatching(/^number 5 of its events was not heard/)]);
		opencode.part("ses_a", "msg_2", "prt_2", "and on");
		await reader.untilEqual(truth, "ses_a");
		expect(reader.kinds("ses_a").at(-1)).toBe("log");
	});

	it("is found by a list where another process left no hole", async () => {
		await startNumbered();
		opencode.tells = false;
		opencode.message("ses_b", "msg_2");
		opencode.rename("ses_b", "by the other process");
		opencode.create("ses_c");
		expect(reader.source.changed()).toBe(false);
		reader.clock.advance(31_000);
		await reader.untilEqual(truth, "ses_b", "ses_c");
	});

	it("is found within an hour by a scrub where it touched no row", async () => {
		await start();
		await reader.until("the scrub", () => !reader.source.changed());
		opencode.tells = false;
		opencode.removeMessage("ses_b", "msg_1");
		reader.clock.advance(3_700_000);
		await reader.untilEqual(truth, "ses_b");
	});

	it("is what nobody captured before something stood in the way: it is told again", async () => {
		await startNumbered();
		opencode.part("ses_a", "msg_2", "prt_2", "three");
		const full = () => {
			throw new Error("the disk is full");
		};
		await expect.poll(() => reader.source.changed()).toBe(true);
		await expect(reader.pass(full)).rejects.toThrow("the disk is full");
		reader.reopen();
		await reader.untilEqual(truth, "ses_a");
		opencode.todo("ses_b", "A");
		opencode.message("ses_b", "msg_2");
		await expect.poll(() => reader.source.changed()).toBe(true);
		await expect(reader.pass(full)).rejects.toThrow("the disk is full");
		reader.reopen();
		await reader.untilEqual(truth, "ses_a", "ses_b");
	});

	it("is found when another process has captured it meanwhile", async () => {
		await startNumbered();
		reader.captured.set("ses_a", { watermark: null, deleted: false, updated_at: 1 });
		opencode.part("ses_a", "msg_2", "prt_2", "three");
		await reader.untilEqual(truth, "ses_a");
		expect(reader.reasons("ses_a").at(-1)).toBe("its capture was moved by another process");
	});
});

describe("an event", () => {
	it("that is heard twice is captured once, and the next one continues it", async () => {
		const from = await startNumbered();
		const { info } = opencode.sessions.get("ses_a") ?? {};
		const syncEvent = {
			id: "evt_twice",
			type: "session.updated.1",
			seq: 5,
			aggregateID: "ses_a",
			data: { sessionID: "ses_a", info },
		};
		const frame = `data: ${JSON.stringify({ payload: { type: "sync", syncEvent } })}\n\n`;
		opencode.write(frame + frame);
		const session = opencode.sessions.get("ses_a");
		if (session) session.seq = 5;
		opencode.part("ses_a", "msg_2", "prt_2", "three");
		await reader.untilEqual(truth, "ses_a");
		expect(new Set(reader.kinds("ses_a", from))).toEqual(new Set(["log"]));
	});

	it("that counts anew after the log was wiped leads to a snapshot, and the next ones continue it", async () => {
		const from = await startNumbered();
		opencode.wipeLog();
		opencode.part("ses_a", "msg_2", "prt_2", "after the wipe");
		await reader.untilEqual(truth, "ses_a");
		expect(reader.reasons("ses_a", from)).toEqual([expect.stringContaining("anew: 0 came after 4")]);
		opencode.part("ses_a", "msg_2", "prt_2", "and on");
		await reader.untilEqual(truth, "ses_a");
		expect(reader.captured.get("ses_a")?.watermark?.seq).toBe(1);
		expect(reader.kinds("ses_a").at(-1)).toBe("log");
	});

	it("that is too large to be read in the stream is had by snapshot", async () => {
		const from = await startNumbered();
		opencode.part("ses_a", "msg_2", "prt_large", "x".repeat(2 * 1024 * 1024));
		await reader.untilEqual(truth, "ses_a");
		expect(reader.kinds("ses_a", from)).toContain("snapshot");
		expect(reader.kinds("ses_b", from)).toEqual([]);
	});

	for (const numbering of ["zero", "none"] satisfies Numbering[])
		it(`is only a mark where its number is ${numbering}, as in older versions`, async () => {
			opencode.numbering = numbering;
			await start();
			opencode.create("ses_new");
			for (let n = 0; n < 5; n++) {
				opencode.message("ses_new", `msg_${n}`);
				opencode.part("ses_a", "msg_1", "prt_1", `change ${n}`);
			}
			opencode.idle("ses_a");
			opencode.idle("ses_new");
			await reader.untilEqual(truth, "ses_a", "ses_b", "ses_new");
			opencode.delete("ses_b");
			await reader.until("the deletion", () => reader.captured.get("ses_b")?.deleted === true);
		});
});

describe("a session that is gone", () => {
	it("is deleted when OpenCode says so", async () => {
		await start();
		opencode.delete("ses_a");
		await reader.until("the deletion", () => reader.captured.get("ses_a")?.deleted === true);
		await reader.untilEqual(truth, "ses_b");
	});

	it("is deleted when a list lacks it and another captured session is still there, and is captured when it is back", async () => {
		await startNumbered();
		const kept = opencode.sessions.get("ses_a");
		opencode.tells = false;
		opencode.delete("ses_a");
		opencode.endStreams("cut");
		await reader.until("the deletion", () => reader.captured.get("ses_a")?.deleted === true);
		if (kept) opencode.sessions.set("ses_a", kept);
		opencode.endStreams("cut");
		await reader.untilEqual(truth, "ses_a");
		await reader.until("its return", () => reader.captured.get("ses_a")?.deleted === false);
	});

	const restarted = async (captured: RemoteReader, identity?: string) => {
		await reader.close();
		reader = new RemoteReader(opencode.url, { identity: identity ?? captured.source.identity });
		for (const [id, entry] of captured.captured) reader.captured.set(id, entry);
	};

	it("is deleted when it went while nobody looked", async () => {
		await start();
		opencode.delete("ses_a");
		await restarted(reader);
		await reader.until("the deletion", () => reader.captured.get("ses_a")?.deleted === true);
	});

	const doubts: Record<string, () => void> = {
		"no other session is left": () => opencode.sessions.delete("ses_b"),
		"another one stands before where it was captured": () => {
			const { info } = opencode.sessions.get("ses_b") ?? {};
			if (info) info.time = { ...info.time, updated: 1 };
		},
	};
	for (const [doubt, cause] of Object.entries(doubts))
		it(`has vanished, and is not deleted, when ${doubt}`, async () => {
			await start();
			opencode.tells = false;
			opencode.sessions.delete("ses_a");
			cause();
			await restarted(reader);
			await reader.until("the doubt", () => reader.captured.get("ses_a")?.vanished === true);
			expect(reader.captured.get("ses_a")?.deleted).toBe(false);
		});

	it("has vanished when the sessions were captured from somewhere else", async () => {
		await start();
		opencode.delete("ses_a");
		await restarted(reader, "another database");
		await reader.until("the doubt", () => reader.captured.get("ses_a")?.vanished === true);
	});

	it("is only asked for again while the server does not answer well", async () => {
		await start();
		opencode.instead = (path, response) => path !== "/global/event" && Boolean(response.writeHead(500).end());
		opencode.endStreams("cut");
		await expect.poll(() => reader.source.changed()).toBe(true);
		await expect(reader.pass()).rejects.toMatchObject({ code: "no_source" });
		opencode.instead = () => false;
		opencode.part("ses_a", "msg_1", "prt_1", "back");
		await reader.untilEqual(truth, "ses_a", "ses_b");
		expect(new Set([...reader.captured.values()].map(({ deleted, vanished }) => deleted || vanished === true))).toEqual(
			new Set([false]),
		);
	});
});

describe("a server that answers badly", () => {
	it("and lets nobody in is told with what to do, and asked again", async () => {
		opencode.instead = (_, response) => Boolean(response.writeHead(401).end());
		reader = new RemoteReader(opencode.url);
		await expect(reader.pass()).rejects.toMatchObject({
			code: "denied",
			hint: expect.stringContaining("OPENCODE_SERVER_PASSWORD"),
		});
		expect(reader.server.problem).toContain("OPENCODE_SERVER_PASSWORD");
		opencode.instead = () => false;
		await reader.untilEqual(truth, "ses_a", "ses_b");
	});

	it("and cannot be reached is no source for now", async () => {
		reader = new RemoteReader("http://127.0.0.1:9");
		await expect(reader.pass()).rejects.toMatchObject({ code: "no_source" });
		await expect(reader.source.snapshot("ses_a")).rejects.toMatchObject({ code: "no_source" });
	});

	it("has a part that is too large set aside by its id, and everything else of the session captured", async () => {
		reader = new RemoteReader(opencode.url);
		opencode.message("ses_a", "msg_2");
		opencode.part("ses_a", "msg_2", "prt_large", "x".repeat(ROW_BYTES_MAX));
		await reader.until("the poison", () => reader.poison.length > 0);
		expect(reader.poison[0]).toMatchObject({ code: "too_large", key: "part/msg_2/prt_large" });
		expect([...reader.told("ses_a").keys()]).toEqual([
			"session",
			"message/msg_1",
			"part/msg_1/prt_1",
			"message/msg_2",
			"todo",
		]);
	});

	const answers: Record<string, string> = {
		"no JSON": "<html>",
		"no list": '{"info":{}}',
		"a list of something else": '[1,"two",null]',
		"a message without an id": '[{"info":{"role":"user"},"parts":[]}]',
		"a part without an id": '[{"info":{"id":"msg_1"},"parts":[{"type":"text"}]}]',
		"half of a list": '[{"info":{"id":"msg_1","role":"us',
		"an id that reaches elsewhere": '[{"info":{"id":"msg_1/../x"},"parts":[]}]',
	};
	for (const [what, answer] of Object.entries(answers))
		it(`and gives ${what} for messages loses none that were captured; other sessions go on`, async () => {
			await startNumbered();
			opencode.instead = (path, response) => path.startsWith("/session/ses_a/message") && Boolean(response.end(answer));
			opencode.endStreams("cut");
			for (const id of ["ses_a", "ses_b"]) opencode.part(id, "msg_1", "prt_1", "more");
			await reader.untilEqual(truth, "ses_b");
			for (let failures = 0; failures < 4; failures++) {
				reader.clock.advance(400_000);
				await reader.pass();
			}
			expect(reader.poison).toEqual([expect.objectContaining({ event_id: "unread/ses_a", code: "invalid_payload" })]);
			expect(reader.told("ses_a").has("part/msg_2/prt_2")).toBe(true);
			opencode.instead = () => false;
			reader.clock.advance(400_000);
			await reader.untilEqual(truth, "ses_a");
		});

	it("and gives an answer that never ends, or none at all, holds up no other session", async () => {
		const dripping = new Set<NodeJS.Timeout>();
		opencode.instead = (path, response) => {
			if (path.startsWith("/session/ses_b/message")) return true;
			if (!path.startsWith("/session/ses_a/message")) return false;
			response.write("[");
			const drip = setInterval(() => response.write('{"info":{"id":"msg_1"},"parts":[]},'), 20);
			dripping.add(drip);
			response.once("close", () => clearInterval(drip));
			return true;
		};
		opencode.create("ses_c");
		reader = new RemoteReader(opencode.url, { callMsMax: 500 });
		await reader.untilEqual(truth, "ses_c");
		opencode.instead = () => false;
		await reader.until("the deadline", () => {
			reader.clock.advance(1000);
			return reader.told("ses_a").size > 0 && reader.told("ses_b").size > 0;
		});
		await reader.untilEqual(truth, "ses_a", "ses_b");
		for (const drip of dripping) clearInterval(drip);
	});

	it("and gives more of a session than is held shows it, and goes on", async () => {
		opencode.message("ses_a", "msg_2");
		opencode.part("ses_a", "msg_2", "prt_2", "x".repeat(100_000));
		reader = new RemoteReader(opencode.url, { sessionBytesMax: 50_000 });
		await reader.untilEqual(truth, "ses_b");
		await reader.until("the poison", () => {
			reader.clock.advance(1000);
			return reader.poison.length > 0;
		});
		expect(reader.poison[0]?.reason).toContain("above 50000 bytes");
	});

	it("and writes garbage, or a line without an end, into the stream is heard all the same", async () => {
		await startNumbered();
		opencode.write("data: {\n\ndata: null\n\ndata: []\n\ndata: 7\n\n");
		for (const payload of [
			{ type: "sync" },
			{ type: "sync", syncEvent: { type: "session.updated.1", aggregateID: "ses_a", seq: "1", id: 3 } },
			{ type: 1 },
			null,
		])
			opencode.write(`data: ${JSON.stringify({ payload })}\n\n`);
		opencode.write("data: ");
		for (let n = 0; n < 24; n++) opencode.write("y".repeat(1024 * 1024));
		opencode.write("\n\n");
		opencode.part("ses_a", "msg_2", "prt_2", "after the garbage");
		await reader.untilEqual(truth, "ses_a", "ses_b");
		expect(opencode.asked.filter((path) => path === "/global/event")).toHaveLength(1);
	});
});
