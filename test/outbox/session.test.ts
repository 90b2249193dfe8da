import { describe, expect, test } from "vitest";
import { processorMs } from "../fixture/processor.ts";
import { append, capture, freshOutbox, message, S, sealAndReserve, WIDE } from "./fixture.ts";

const GRANT = { share_id: "shr", slug: "s".repeat(16), url: "http://h/s", secret: "x".repeat(43), capability_epoch: 1 };

describe("work", () => {
	test("lists sessions with something to do, soonest due first", async () => {
		const { outbox } = await freshOutbox();
		for (const id of ["late", "soon", "acked", "parked", "never", "unshare", "compare"])
			append(outbox, [message("e1", "m1")], 1000, `ses_${id}`);
		outbox.nack("ses_late", 9000, "lost");
		outbox.nack("ses_soon", 5000, "lost");
		for (const id of ["ses_acked", "ses_unshare", "ses_compare"]) {
			outbox.seal(id, WIDE, 2000);
			outbox.ack(id, 1, 2000);
		}
		outbox.park("ses_parked", "revoked", "no");
		outbox.want("ses_never", "never");
		outbox.want("ses_unshare", "unshare");
		outbox.mustCompare("ses_compare", "restored");
		outbox.want("ses_asked", "share");
		expect(
			outbox
				.work()
				.map((row) => row.session_id)
				.slice(-2),
		).toEqual(["ses_soon", "ses_late"]);
		expect(new Set(outbox.work().map((row) => row.session_id))).toEqual(
			new Set(["ses_late", "ses_soon", "ses_unshare", "ses_compare", "ses_asked"]),
		);
	});

	test("stays quick with 10,000 sessions of a few ops", async () => {
		const { outbox } = await freshOutbox();
		outbox.transaction(() => {
			for (let n = 0; n < 10_000; n++) {
				const items = n % 2 ? [message("e1", "m1"), message("e2", "m2")] : [];
				outbox.append(capture(null, 2, items, `ses_${n}`), 1000);
			}
		});
		expect(processorMs(() => expect(outbox.work()).toHaveLength(5000))).toBeLessThan(500);
	});
});

describe("a parked session", () => {
	test("keeps its ops and goes on capturing; asking again un-parks it", async () => {
		const { outbox } = await freshOutbox();
		append(outbox, [message("e1", "m1")]);
		outbox.park(S, "revoked", "the secret no longer works");
		append(outbox, [message("e2", "m2")]);
		expect(outbox.work()).toEqual([]);
		expect(outbox.session(S)).toMatchObject({ parked_code: "revoked", pending: 2 });
		outbox.want(S, "share");
		expect(outbox.session(S)).toMatchObject({ parked_code: null, wanted: "share", pending: 2 });
		expect(outbox.work()).toMatchObject([{ session_id: S }]);
	});
});

describe("forget", () => {
	test("drops grant, ops, batches and letters, keeps the row, and starts over", async () => {
		const { outbox } = await freshOutbox();
		append(outbox, [message("e1", "m1"), message("e2", "m2")]);
		outbox.ask(S, "http://h", "k".repeat(43), 1000);
		outbox.granted(S, GRANT);
		sealAndReserve(outbox);
		outbox.reject(S, 0, "too_large", "no", 2000);
		outbox.forget(S);
		expect(outbox.share(S)).toBeUndefined();
		expect(outbox.deadLetters()).toEqual([]);
		expect(outbox.session(S)).toMatchObject({ wanted: "never", watermark: null, pending: 0, sealed_cursor: 0 });
		expect(outbox.work()).toEqual([]);
		outbox.want(S, "share");
		append(outbox, [message("e1", "m1"), message("e2", "m2")]);
		expect(sealAndReserve(outbox)[0]).toMatchObject({ first_position: 0, ops: [{ op_id: "e1" }, { op_id: "e2" }] });
	});

	test("heeds a person who has asked to share it again meanwhile", async () => {
		const { outbox } = await freshOutbox();
		append(outbox, [message("e1", "m1")]);
		outbox.ask(S, "http://h", "k".repeat(43), 1000);
		outbox.want(S, "share");
		outbox.forget(S);
		expect(outbox.session(S)).toMatchObject({ wanted: "share", watermark: null, pending: 0 });
		expect(outbox.work()).toMatchObject([{ session_id: S }]);
	});
});

describe("a share that is asked for", () => {
	test("keeps the create key that was stored first", async () => {
		const { outbox, path } = await freshOutbox();
		const { outbox: other } = await freshOutbox(path);
		outbox.ask(S, "http://h", "first".padEnd(43, "k"), 1000);
		expect(other.ask(S, "http://h", "second".padEnd(43, "k"), 1001).create_key).toMatch(/^first/);
	});

	test("holds its grant and the newest epoch; given up, the next one has a key of its own", async () => {
		const { outbox } = await freshOutbox();
		outbox.ask(S, "http://h", "first".padEnd(43, "k"), 1000);
		outbox.granted(S, GRANT);
		outbox.epoch(S, 7);
		expect(outbox.share(S)).toMatchObject({ ...GRANT, capability_epoch: 7 });
		outbox.giveUp(S);
		expect(outbox.ask(S, "http://h", "second".padEnd(43, "k"), 1001)).toMatchObject({ share_id: null });
	});
});

describe("the agent's row", () => {
	test("keeps what is not named, and survives a re-open", async () => {
		const { outbox, path } = await freshOutbox();
		expect(outbox.agent()).toBeUndefined();
		outbox.say({ pid: 7, state: "running", since: 1000, opencode_connected: true }, 1000);
		outbox.say({ connect_attempts: 3, next_connect_at: 9000 }, 1001);
		outbox.close();
		const { outbox: again } = await freshOutbox(path);
		const row = { pid: 7, state: "running", opencode_connected: true, connect_attempts: 3, server_state: "unknown" };
		expect(again.agent()).toMatchObject(row);
	});

	test("costs no write when it says nothing new", async () => {
		const { outbox, path } = await freshOutbox();
		const { outbox: other } = await freshOutbox(path);
		outbox.say({ pid: 7, state: "running" }, 1000);
		const version = other.version();
		outbox.say({ state: "running" }, 2000);
		expect(other.version()).toBe(version);
		outbox.say({ state: "draining" }, 2000);
		expect(other.version()).not.toBe(version);
	});
});

describe("where OpenCode stands", () => {
	test("is told once, and mended by the next capture", async () => {
		const { outbox } = await freshOutbox();
		append(outbox, [message("e1", "m1")]);
		expect(outbox.setSource(S, "vanished", "no row")).toBe(true);
		expect(outbox.setSource(S, "vanished", "no row")).toBe(false);
		expect(outbox.captured().get(S)).toMatchObject({ deleted: false });
		outbox.setSource(S, "deleted", null);
		expect(outbox.captured().get(S)).toMatchObject({ deleted: true });
		append(outbox, [message("e2", "m2")]);
		expect(outbox.session(S)?.source_state).toBe("present");
	});
});
