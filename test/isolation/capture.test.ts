import { join } from "node:path";
import { setImmediate as turnOfTheLoop } from "node:timers/promises";
import { expect, test } from "vitest";
import { Capture } from "../../src/agent/capture.ts";
import { systemClock } from "../../src/model/clock.ts";
import { openOutbox } from "../../src/outbox/outbox.ts";
import { handmade } from "../source/opencode-database.ts";

const silent = () => undefined;
const log = { debug: silent, info: silent, warn: silent, error: silent };

test("while the log of a huge session is captured, others get their turns of the event loop", async () => {
	const { folder, opencode, reader } = await handmade();
	const outbox = await openOutbox(join(folder.path, "outbox.db"));
	try {
		opencode.sql.transaction(() => {
			opencode.session("ses_huge");
			for (let n = 0; n < 3000; n++) opencode.message("ses_huge", `msg_${n}`, "text");
		});
		const capture = new Capture({ outbox, mode: "auto", clock: systemClock, log });
		let done = false;
		const pending: number[] = [];
		const passed = capture.pass(reader.source, new AbortController().signal).finally(() => {
			done = true;
		});
		for (; !done; await turnOfTheLoop()) pending.push(outbox.session("ses_huge")?.pending ?? 0);
		await passed;
		// A read holds a thousand events; after each, whoever waits is let in.
		expect(new Set(pending).size).toBeGreaterThanOrEqual(3);
		expect(outbox.session("ses_huge")?.pending).toBeGreaterThan(3000);
	} finally {
		outbox.close();
		reader.source.close();
		opencode.sql.close();
		folder.remove();
	}
});

test("what a session has new is told once all of it is in, before others are let in", async () => {
	const { folder, opencode, reader } = await handmade();
	const outbox = await openOutbox(join(folder.path, "outbox.db"));
	try {
		opencode.sql.transaction(() => {
			opencode.session("ses_huge");
			for (let n = 0; n < 1500; n++) opencode.message("ses_huge", `msg_${n}`, "text");
		});
		const order: string[] = [];
		let now = 0;
		// Every read takes long, so that a pause follows it.
		const sleep = async () => void order.push("pause");
		const capture = new Capture({ outbox, mode: "auto", clock: { now: () => (now += 10), sleep }, log });
		const tell = () => order.push(`told of ${outbox.session("ses_huge")?.pending}`);
		await capture.pass(reader.source, new AbortController().signal, tell);
		expect(order).toEqual(["pause", "told of 1501", "pause"]);
	} finally {
		outbox.close();
		reader.source.close();
		opencode.sql.close();
		folder.remove();
	}
});
