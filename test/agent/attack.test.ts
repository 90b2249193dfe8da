import { expect, test } from "vitest";
import { refusal, startScriptedServer } from "../fixture/scripted-server.ts";
import { openLab, replaceable } from "./lab.ts";

const message = (n: number, text: string) => ({
	type: "message" as const,
	key: `message/msg_${n}`,
	payload: JSON.stringify({ id: `msg_${n}`, text }),
});

test.each([
	["in one batch", 2],
	["in two batches under way at once", 1],
])("another writer that takes our first position costs no op (%s)", async (_name, opsPerBatch) => {
	const lab = await openLab();
	lab.capture("ses_1", ["zero"]);
	lab.start();
	await lab.drained();
	await lab.stop();
	lab.capture("ses_1", ["one", "two"]);
	const theirs = await lab.redeem("ses_1");
	const { limits, capability_epoch } = theirs.redemption;
	for (let n = 0; n < 2 / opsPerBatch; n++) lab.outbox.seal("ses_1", { ...limits, ops_per_batch: opsPerBatch }, 1);
	lab.truth.set(
		"ses_1",
		["zero", "one", "two"].map((text, n) => message(n, text)),
	);
	// Theirs is sent when ours has redeemed and is just about to send.
	const outbox = replaceable(lab.outbox);
	const { reserve } = outbox;
	const op = { op_id: "theirs", batch_id: "theirs", seq: 0, expected_cursor: 1, capability_epoch };
	let sent = false;
	outbox.reserve = (...args) => {
		if (!sent) {
			const ops = [{ ...op, type: "message" as const, key: "message/theirs", payload: "{}" }];
			void theirs.appendOps({ batch_id: "theirs", ops, source_watermark: null });
		}
		sent = true;
		return reserve(...args);
	};
	lab.proxy.faults.latencyMs = 100;
	lab.start();
	await lab.drained();
	expect([...(await lab.digests("ses_1")).keys()].sort()).toEqual([
		...["message/msg_0", "message/msg_1", "message/msg_2", "message/theirs"],
	]);
});

test("an ack that the local disk does not take is made up for, without a spin", async () => {
	const lab = await openLab();
	const outbox = replaceable(lab.outbox);
	const { ack, reserve } = outbox;
	let [failed, reserves] = [false, 0];
	const triedAt: number[] = [];
	outbox.ack = (...args) => {
		triedAt.push(performance.now());
		if (failed) return ack(...args);
		failed = true;
		throw Object.assign(new Error("database or disk is full"), { code: "SQLITE_FULL" });
	};
	outbox.reserve = (...args) => {
		reserves++;
		return reserve(...args);
	};
	lab.capture("ses_1", ["kept"]);
	lab.start();
	await lab.until(() => failed);
	await lab.drained();
	expect(reserves).toBeLessThan(20);
	const [first = 0, second = 0] = triedAt;
	expect(second - first).toBeGreaterThan(4000);
	expect((await lab.redeem("ses_1")).redemption.cursor).toBe(1);
});

test("a server that accepts and hangs up is asked ever more seldom", async () => {
	const scripted = await startScriptedServer();
	const lab = await openLab();
	let sockets = 0;
	scripted.script.socket = (socket) => {
		sockets++;
		socket.on("message", () => socket.close());
		return true;
	};
	lab.proxy.retarget(scripted.port);
	lab.capture("ses_1", ["waits"]);
	lab.start();
	await lab.until(() => (lab.outbox.agent()?.connect_attempts ?? 0) >= 6);
	expect(sockets).toBeLessThan(40);
	expect(lab.outbox.session("ses_1")?.pending).toBe(1);
	await lab.stop();
	await scripted.close();
});

test("a server that asks for an hour is not asked again at once", async () => {
	const scripted = await startScriptedServer();
	const lab = await openLab();
	scripted.script.createShare = () => {
		throw refusal("busy", { retry_after_ms: 3_600_000 });
	};
	lab.proxy.retarget(scripted.port);
	lab.capture("ses_1", ["waits"]);
	lab.start();
	await lab.until(() => (lab.outbox.session("ses_1")?.next_retry_at ?? 0) > 0);
	await new Promise((resolve) => setTimeout(resolve, 300));
	expect(scripted.calls.filter((method) => method === "createShare")).toHaveLength(1);
	await lab.stop();
	await scripted.close();
});

test("asked to unshare in the middle of a long flush, it stops sending", async () => {
	const lab = await openLab();
	lab.capture(
		"ses_1",
		Array.from({ length: 8000 }, (_, n) => `text ${n}`),
	);
	const outbox = replaceable(lab.outbox);
	const { ack } = outbox;
	let acked = 0;
	outbox.ack = (sessionId, cursor, now) => {
		// Here, since all of it may be sent by a look from outside; and late, since the first turn ends by itself.
		if (acked === 0 && cursor >= 3000) {
			acked = cursor;
			lab.outbox.want(sessionId, "unshare");
		}
		return ack(sessionId, cursor, now);
	};
	lab.start();
	await lab.until(() => lab.outbox.session("ses_1")?.wanted === "never");
	const most = Math.max(...lab.log.map((line) => Number(line.facts.cursor ?? 0)));
	expect(most).toBeLessThanOrEqual(acked + 4 * 500);
});

test("share asked for while unshare is under way is not forgotten", async () => {
	const lab = await openLab();
	lab.capture("ses_1", ["wanted"]);
	lab.start();
	await lab.drained();
	await lab.stop();
	const first = lab.outbox.share("ses_1")?.share_id;
	lab.outbox.want("ses_1", "unshare");
	const outbox = replaceable(lab.outbox);
	const { attempt } = outbox;
	// The attempt is counted just before the share is redeemed to be deleted.
	outbox.attempt = (sessionId) => {
		attempt(sessionId);
		if (lab.outbox.session("ses_1")?.wanted === "unshare") lab.outbox.want("ses_1", "share");
	};
	lab.start();
	await lab.until(() => lab.log.some((line) => line.message === "unshared"));
	expect(lab.outbox.session("ses_1")?.wanted).toBe("share");
	await lab.drained();
	expect(lab.outbox.share("ses_1")?.share_id).toMatch(/^shr_/);
	expect(lab.outbox.share("ses_1")?.share_id).not.toBe(first);
});

test("a session that is deleted and there again loses the mark, and a second deletion sets it again", async () => {
	const lab = await openLab();
	const session = (op_id: string) => ({ op_id, type: "session" as const, key: "session", payload: '{"id":"ses_1"}' });
	const gone = (op_id: string) => ({ op_id, type: "session_deleted" as const, key: "session_deleted", payload: "{}" });
	lab.start();
	for (const [op, marked] of [
		[session("made"), false],
		[gone("deleted"), true],
		[session("again"), false],
		[gone("deleted again"), true],
	] as const) {
		if (op.type === "session") lab.append("ses_1", [op]);
		else lab.appendWithoutFacts("ses_1", [op]);
		await lab.drained();
		expect((await lab.digests("ses_1")).has("session_deleted")).toBe(marked);
	}
});
