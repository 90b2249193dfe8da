import { copyFileSync, existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { digestOf } from "../../src/model/json.ts";
import { LIMITS } from "../../src/protocol/limits.ts";
import { startScriptedServer } from "../fixture/scripted-server.ts";
import { rotation } from "../server/client.ts";
import { messageDigests, openLab, replaceable } from "./lab.ts";

const texts = (count: number, prefix = "text") => Array.from({ length: count }, (_, n) => `${prefix} ${n}`);

test("pending ops reach the share in order and with the same bytes", async () => {
	const lab = await openLab();
	lab.capture("ses_1", texts(1200));
	lab.start();
	await lab.drained();
	expect(await lab.digests("ses_1")).toEqual(messageDigests(texts(1200)));
	expect(lab.outbox.session("ses_1")).toMatchObject({ acked_cursor: 1200, pending: 0, attempts: 0 });
});

test("a lost reply applies nothing twice: replay gives duplicates, state and cursor stay", async () => {
	const lab = await openLab();
	lab.capture("ses_1", ["first"]);
	lab.start();
	await lab.drained();
	lab.capture("ses_1", ["second"]);
	await lab.proxy.loseNextReply();
	await lab.drained();
	const { redemption } = await lab.redeem("ses_1");
	expect(redemption).toMatchObject({ cursor: 2, last_op_id: "evt_ses_1_1" });
	expect(lab.outbox.session("ses_1")).toMatchObject({ acked_cursor: 2, sealed_cursor: 2 });
	expect(lab.log.map((line) => line.message)).toContain("a lost reply was reconciled");
});

test("the same bytes sent again answer duplicates and change neither state nor cursor", async () => {
	const lab = await openLab();
	lab.capture("ses_1", texts(3));
	lab.start();
	await lab.drained();
	const handle = await lab.redeem("ses_1");
	const before = await lab.digests("ses_1");
	const ops = texts(3).map((text, seq) => ({
		op_id: `evt_ses_1_${seq}`,
		batch_id: "again",
		seq,
		expected_cursor: seq,
		capability_epoch: handle.redemption.capability_epoch,
		type: "message" as const,
		key: `message/msg_${seq}`,
		payload: JSON.stringify({ id: `msg_${seq}`, text }),
	}));
	const ack = await handle.appendOps({ batch_id: "again", ops, source_watermark: null });
	expect(ack).toEqual({ cursor: 3, applied: [], duplicates: ops.map((op) => op.op_id), rejected: [] });
	expect(await lab.digests("ses_1")).toEqual(before);
});

test("a restart with sealed, unacknowledged batches sends the same batch_id and the same bytes", async () => {
	const lab = await openLab();
	lab.capture("ses_1", ["granted"]);
	lab.start();
	await lab.drained();
	lab.proxy.faults.swallowReplies = true;
	lab.proxy.dropConnections();
	lab.capture("ses_1", texts(700));
	await lab.stop();
	const limits = { ...LIMITS };
	lab.outbox.seal("ses_1", limits, 1);
	const first = lab.outbox.reserve("ses_1", "before", 1000, 1);
	await lab.reopen();
	const second = lab.outbox.reserve("ses_1", "after", 1000, 2000);
	expect(second).toEqual({ ...first, attempts: 2 });
	lab.outbox.recover();
	lab.proxy.faults.swallowReplies = false;
	lab.start();
	await lab.drained();
	expect((await lab.redeem("ses_1")).redemption.cursor).toBe(701);
});

test("after a revocation nothing is applied with the old epoch; the client redeems once more and goes on", async () => {
	const lab = await openLab();
	lab.capture("ses_1", ["before"]);
	lab.start();
	await lab.drained();
	const grant = await (await lab.redeem("ses_1")).revokeCapability({ rotate_secret: false, rotate_slug: false });
	lab.capture("ses_1", ["after"]);
	await lab.drained();
	expect(await lab.digests("ses_1")).toEqual(messageDigests(["before", "after"].map((text) => text)));
	expect(lab.outbox.share("ses_1")?.capability_epoch).toBe(grant.capability_epoch);
	expect(lab.log.filter((line) => line.facts.outcome === "stale_epoch")).toHaveLength(1);
});

test("a rotated secret parks the session with its ops kept, without a storm, and other sessions go on", async () => {
	const lab = await openLab();
	lab.capture("ses_1", ["mine"]);
	lab.start();
	await lab.drained();
	await (await lab.redeem("ses_1")).revokeCapability(rotation());
	lab.capture("ses_1", ["kept"]);
	lab.capture("ses_2", ["healthy"]);
	await lab.drained();
	expect(lab.outbox.session("ses_1")).toMatchObject({
		parked_code: "denied",
		pending: 1,
	});
	expect((await lab.redeem("ses_2")).redemption.cursor).toBe(1);
	const sent = lab.proxy.traffic.to_server;
	lab.capture("ses_1", ["kept too"]);
	lab.capture("ses_2", ["healthy too"]);
	await lab.drained();
	expect(lab.outbox.session("ses_1")?.pending).toBe(2);
	expect(lab.proxy.traffic.to_server - sent).toBeLessThan(4000);
});

test("a lost reply to createShare makes no second share", async () => {
	const lab = await openLab({ timing: { callMs: 300 } });
	lab.capture("ses_1", ["only"]);
	const outbox = replaceable(lab.outbox);
	const { attempt } = outbox;
	let lost: Promise<void> | undefined;
	// The attempt is counted just before createShare is called, on a connection that stands.
	outbox.attempt = (sessionId) => {
		attempt(sessionId);
		lost ??= lab.proxy.loseNextReply();
	};
	lab.start();
	await lab.until(() => lost !== undefined);
	await lost;
	await lab.drained();
	const shares = lab.log.filter((line) => line.message === "share made");
	expect(shares).toHaveLength(1);
	const { openSqlite } = await import("../../src/sqlite/driver.ts");
	const database = await openSqlite(join(lab.dir, "share.db"), { readonly: true });
	expect(database.prepare("SELECT share_id FROM share").all()).toHaveLength(1);
	database.close();
});

test("an op that is no JSON is set aside with its reason; its session and all others go on", async () => {
	const lab = await openLab();
	lab.append("ses_1", [
		{ op_id: "good_1", type: "message", key: "message/a", payload: '{"id":"a"}' },
		{ op_id: "bad", type: "message", key: "message/b", payload: '{"id":' },
		{ op_id: "its_part", type: "part", key: "part/b/p", payload: '{"id":"p"}' },
		{ op_id: "good_2", type: "message", key: "message/c", payload: '{"id":"c"}' },
	]);
	lab.capture("ses_2", ["healthy"]);
	lab.start();
	await lab.drained();
	expect([...(await lab.digests("ses_1")).keys()]).toEqual(["message/a", "message/c"]);
	const letters = lab.outbox.deadLetters();
	expect(letters.map(({ op_id, code }) => [op_id, code])).toEqual([
		["bad", "invalid_payload"],
		["its_part", "missing_dependency"],
	]);
	expect(letters[0]?.reason).not.toBe("");
	expect((await lab.redeem("ses_2")).redemption.cursor).toBe(1);
});

test("an op larger than the server takes is set aside before it is sent", async () => {
	const lab = await openLab();
	const payload = JSON.stringify({ id: "big", text: "x".repeat(LIMITS.op_bytes) });
	lab.append("ses_1", [
		{ op_id: "big", type: "message", key: "message/big", payload },
		{ op_id: "small", type: "message", key: "message/small", payload: "{}" },
	]);
	lab.start();
	await lab.drained();
	expect(lab.outbox.deadLetters()).toMatchObject([{ op_id: "big", code: "too_large" }]);
	expect([...(await lab.digests("ses_1")).keys()]).toEqual(["message/small"]);
	expect(lab.proxy.traffic.to_server).toBeLessThan(100_000);
});

test("a share that the server does not know is made anew and filled from OpenCode", async () => {
	const lab = await openLab();
	lab.capture("ses_1", ["old", "older"]);
	lab.start();
	await lab.drained();
	const first = lab.outbox.share("ses_1")?.share_id;
	await lab.stopServer();
	for (const suffix of ["", "-wal", "-shm"]) rmSync(join(lab.dir, `share.db${suffix}`), { force: true });
	await lab.startServer();
	const state = [...messageDigests(["old", "older", "new"]).keys()].map((key, n) => ({
		type: "message" as const,
		key,
		payload: JSON.stringify({ id: `msg_${n}`, text: ["old", "older", "new"][n] }),
	}));
	lab.truth.set("ses_1", state);
	lab.capture("ses_1", ["new"]);
	await lab.until(() => lab.outbox.share("ses_1")?.share_id !== first);
	await lab.drained();
	expect(await lab.digests("ses_1")).toEqual(messageDigests(["old", "older", "new"]));
});

test("a server restored from a backup is compared and brought up to date", async () => {
	const lab = await openLab();
	lab.capture("ses_1", texts(5));
	lab.start();
	await lab.drained();
	await lab.stopServer();
	for (const suffix of ["", "-wal"])
		if (existsSync(join(lab.dir, `share.db${suffix}`)))
			copyFileSync(join(lab.dir, `share.db${suffix}`), join(lab.dir, `backup.db${suffix}`));
	await lab.startServer();
	lab.capture("ses_1", texts(5));
	await lab.drained();
	await lab.stopServer();
	await lab.startServer(join(lab.dir, "backup.db"));
	const all = [...texts(5), ...texts(5)];
	lab.truth.set(
		"ses_1",
		all.map((text, n) => ({
			type: "message",
			key: `message/msg_${n}`,
			payload: JSON.stringify({ id: `msg_${n}`, text }),
		})),
	);
	lab.capture("ses_1", []);
	lab.append("ses_1", [{ op_id: "late", type: "todo", key: "todo", payload: "[1]" }]);
	lab.truth.get("ses_1")?.push({ type: "todo", key: "todo", payload: "[1]" });
	await lab.drained();
	const expected = messageDigests(all).set("todo", digestOf("[1]"));
	expect(await lab.digests("ses_1")).toEqual(expected);
	expect(lab.log.some((line) => line.level === "warn" && /went back/.test(String(line.facts.reason)))).toBe(true);
});

test("an outbox restored from an older copy reuses no position with other bytes", async () => {
	const lab = await openLab();
	lab.capture("ses_1", texts(3));
	lab.start();
	await lab.drained();
	await lab.stop();
	lab.outbox.transaction(() => undefined);
	for (const suffix of ["", "-wal"])
		copyFileSync(join(lab.dir, `outbox.db${suffix}`), join(lab.dir, `copy.db${suffix}`));
	lab.start();
	lab.capture("ses_1", texts(3, "lost"));
	await lab.drained();
	const { openOutbox } = await import("../../src/outbox/outbox.ts");
	await lab.stop();
	const old = await openOutbox(join(lab.dir, "copy.db"));
	try {
		old.append(
			{
				session_id: "ses_1",
				facts: null,
				from: { seq: 2, event_id: "mark_2" },
				to: { seq: 3, event_id: "other" },
				items: [{ op_id: "evt_other", type: "message", key: "message/other", payload: "{}" }],
			},
			1,
		);
		const { Flusher } = await import("../../src/agent/flusher.ts");
		const { capnwebTransport } = await import("../../src/transport/capnweb.ts");
		const { systemClock } = await import("../../src/model/clock.ts");
		const { silent } = await import("../../src/model/logger.ts");
		const stop = new AbortController();
		const entities = [
			...texts(3).map((text, n) => ({
				type: "message" as const,
				key: `message/msg_${n}`,
				payload: JSON.stringify({ id: `msg_${n}`, text }),
			})),
			{ type: "message" as const, key: "message/other", payload: "{}" },
		];
		const flusher = new Flusher({
			...{ outbox: old, mode: "auto", clock: systemClock, random: () => 0.01, log: silent, owner: "old" },
			transport: capnwebTransport({ url: lab.proxy.url, clock: systemClock }),
			server: { id: "lab", key: () => "" },
			createKey: () => "",
			truth: async () => ({ entities, unreadable: new Set(), removed: [], watermark: null }),
		});
		const run = flusher.run(stop.signal);
		await lab.until(() => flusher.idle());
		stop.abort();
		await run;
		expect(old.session("ses_1")).toMatchObject({ pending: 0, acked_cursor: 7 });
	} finally {
		old.close();
	}
	const digests = await lab.digests("ses_1");
	expect(digests.get("message/other")).toBe(digestOf("{}"));
	// What only the share has is left alone.
	expect(digests.has("message/msg_5")).toBe(true);
});

test.each([
	["a 500 whose text says not found", "500"],
	["an error without a code", "text"],
	["a timeout", "timeout"],
])("%s makes no share anew", async (_name, how) => {
	const lab = await openLab({ timing: { callMs: 200 } });
	lab.capture("ses_1", ["safe"]);
	lab.start();
	await lab.drained();
	const share = lab.outbox.share("ses_1");
	const scripted = await startScriptedServer();
	try {
		if (how === "500")
			scripted.script.post = (_request, response) => {
				response.writeHead(500).end("share not found");
				return true;
			};
		scripted.script.redeemShare = () => {
			if (how === "timeout") return new Promise(() => undefined);
			throw new Error("not_found: share not found");
		};
		lab.proxy.faults.refuseUpgrades = how === "500";
		lab.proxy.retarget(scripted.port);
		lab.proxy.dropConnections();
		lab.capture("ses_1", ["still safe"]);
		await lab.until(
			() => (lab.outbox.session("ses_1")?.attempts ?? 0) >= 3 || (lab.outbox.agent()?.connect_attempts ?? 0) >= 3,
		);
		expect(lab.outbox.share("ses_1")).toEqual(share);
		expect(scripted.calls).not.toContain("createShare");
		expect(lab.outbox.session("ses_1")).toMatchObject({ pending: 1, parked_code: null });
	} finally {
		await scripted.close();
	}
});

test("a proxy that refuses upgrades does not stop the flusher", async () => {
	const lab = await openLab();
	lab.proxy.faults.refuseUpgrades = true;
	lab.capture("ses_1", texts(1200));
	lab.start();
	await lab.drained();
	expect(lab.outbox.agent()?.transport).toBe("http-batch");
	expect(await lab.digests("ses_1")).toEqual(messageDigests(texts(1200)));
});

test("unsharing deletes the share, also when its first answer was lost, and the session is not shared again", async () => {
	const lab = await openLab();
	lab.capture("ses_1", ["secret plans"]);
	lab.start();
	await lab.drained();
	const handle = await lab.redeem("ses_1");
	const lost = lab.proxy.loseNextReply();
	lab.outbox.want("ses_1", "unshare");
	lab.capture("ses_2", ["wakes the flusher"]);
	await lost;
	await lab.drained();
	await lab.until(() => lab.outbox.session("ses_1")?.wanted === "never");
	expect(lab.outbox.share("ses_1")).toBeUndefined();
	await expect(handle.entityDigests()).rejects.toMatchObject({ code: "revoked" });
});

test("a wrong server key stops all sessions, visibly, and loses nothing", async () => {
	const scripted = await startScriptedServer();
	const lab = await openLab();
	scripted.script.createShare = () => {
		throw Object.assign(new Error("no"), { code: "denied" });
	};
	lab.proxy.retarget(scripted.port);
	lab.capture("ses_1", ["waits"]);
	lab.start();
	const isParked = () => lab.outbox.session("ses_1")?.parked_code != null;
	await lab.until(() => lab.outbox.agent()?.server_state === "refused" || isParked());
	expect(lab.outbox.session("ses_1")).toMatchObject({ pending: 1, parked_code: null });
	await lab.stop();
	await scripted.close();
});

test("a second writer on the share is noticed, and the session is compared on top of what it wrote", async () => {
	const lab = await openLab();
	lab.capture("ses_1", ["mine"]);
	lab.start();
	await lab.drained();
	const { redemption, appendOps } = await lab.redeem("ses_1").then((handle) => ({
		redemption: handle.redemption,
		appendOps: handle.appendOps.bind(handle),
	}));
	const theirs = { batch_id: "theirs", seq: 0, expected_cursor: 1, capability_epoch: redemption.capability_epoch };
	await appendOps({
		batch_id: "theirs",
		ops: [{ ...theirs, op_id: "evt_theirs", type: "message", key: "message/theirs", payload: "{}" }],
		source_watermark: null,
	});
	lab.truth.set("ses_1", [
		...["mine", "mine too"].map((text, n) => ({
			type: "message" as const,
			key: `message/msg_${n}`,
			payload: JSON.stringify({ id: `msg_${n}`, text }),
		})),
		{ type: "todo", key: "todo", payload: "[]" },
	]);
	lab.capture("ses_1", ["mine too"]);
	await lab.drained();
	const expected = messageDigests(["mine", "mine too"]).set("message/theirs", digestOf("{}"));
	expect(await lab.digests("ses_1")).toEqual(expected);
	expect(lab.log.filter((line) => line.message.startsWith("comparing"))).toHaveLength(1);
});

test("an ack whose cursor lies beyond all that was sealed here acknowledges nothing", async () => {
	const scripted = await startScriptedServer();
	const lab = await openLab();
	scripted.script.appendOps = (batch) => ({
		cursor: 9999,
		applied: [],
		duplicates: batch.ops.map((op) => op.op_id),
		rejected: [],
	});
	lab.proxy.retarget(scripted.port);
	lab.capture("ses_1", ["overtaken"]);
	lab.start();
	const isComparing = () => lab.log.some((line) => line.message.startsWith("comparing"));
	await lab.until(() => isComparing() || lab.outbox.session("ses_1")?.pending === 0);
	expect(lab.outbox.session("ses_1")).toMatchObject({ acked_cursor: 0, pending: 1 });
	await lab.stop();
	await scripted.close();
});
