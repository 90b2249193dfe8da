import { describe, expect, test } from "vitest";
import { LIMITS } from "../../src/protocol/limits.ts";
import { ShareRefusal } from "../../src/protocol/refusal.ts";
import { GRANT, redemptionOf, refusal } from "../fixture/scripted-server.ts";
import { batchOf, failureOf, KINDS, never, openLab, SECRET } from "./lab.ts";

/** What every connection does, whichever way it goes. */
describe.each(KINDS)("over %s", (kind) => {
	test("every call carries its arguments there and its answer back", async () => {
		const { connection, server } = await openLab(kind);
		const seen: unknown[] = [];
		server.script.createShare = (...args) => {
			seen.push(args);
			return GRANT;
		};
		server.script.redeemShare = (...args) => void seen.push(args);
		server.script.entityDigests = (...args) => {
			seen.push(args);
			return { entities: [{ key: "session", digest: "0".repeat(64) }], next: "session" };
		};
		const request = { session_id: "ses_1", create_key: SECRET };
		expect(await connection.createShare("server key", request)).toEqual(GRANT);
		server.script.listShares = (...args) => {
			seen.push(args);
			return { shares: [], next: null };
		};
		server.script.claimShare = (...args) => {
			seen.push(args);
			return GRANT;
		};
		const claim = { share_id: "shr_1", create_key: SECRET, next_secret: GRANT.secret };
		expect(await connection.listShares("server key")).toEqual({ shares: [], next: null });
		expect(await connection.listShares("server key", "shr_1")).toEqual({ shares: [], next: null });
		expect(await connection.claimShare("server key", claim)).toEqual(GRANT);
		const share = await connection.redeem("shr_1", SECRET);
		expect(share.redemption).toEqual(redemptionOf("shr_1"));
		expect(seen).toEqual([
			["server key", request],
			["server key"],
			["server key", "shr_1"],
			["server key", claim],
			["shr_1", SECRET],
		]);
		expect(await share.appendOps(batchOf(["a", "b"]))).toEqual({
			cursor: 2,
			applied: ["a", "b"],
			duplicates: [],
			rejected: [],
		});
		expect((await share.entityDigests()).next).toBe("session");
		expect(seen.at(-1)).toEqual([]);
		await share.entityDigests("a key");
		expect(seen.at(-1)).toEqual(["a key"]);
		expect((await share.revokeCapability({ rotate_secret: false, rotate_slug: false })).capability_epoch).toBe(2);
		expect(await share.deleteShare()).toBeUndefined();
	});

	test("redeeming is one flight: the redemption is asked for before the redeeming is answered", async () => {
		const { connection, server, proxy } = await openLab(kind);
		proxy.faults.swallowReplies = true;
		const redeeming = failureOf(connection.redeem("shr_1", SECRET));
		await server.called("redemption");
		connection.close();
		await redeeming;
	});

	test("the limits of a redemption are never above our own", async () => {
		const { connection, server } = await openLab(kind);
		const limits = { ...LIMITS, batch_bytes: 1000, op_bytes: Number.MAX_SAFE_INTEGER, ops_per_batch: 1_000_000 };
		server.script.redemption = () => ({ ...redemptionOf("shr_1"), limits });
		const { redemption } = await connection.redeem("shr_1", SECRET);
		expect(redemption.limits).toEqual({ ...LIMITS, batch_bytes: 1000 });
	});

	test("a refusal keeps its code, details and wait, from the redeeming and from the call", async () => {
		const { connection, server } = await openLab(kind);
		const share = await connection.redeem("shr_1", SECRET);
		server.script.appendOps = () => {
			throw refusal("stale_epoch", { details: { capability_epoch: 7 }, retry_after_ms: 1500 });
		};
		const stale = await failureOf(share.appendOps(batchOf(["a"])));
		expect(stale).toBeInstanceOf(ShareRefusal);
		expect(stale).toMatchObject({ code: "stale_epoch", details: { capability_epoch: 7 }, retry_after_ms: 1500 });
		server.script.redeemShare = () => {
			throw refusal("not_found");
		};
		const notFound = await failureOf(connection.redeem("shr_2", SECRET));
		expect(notFound).toBeInstanceOf(ShareRefusal);
		expect(notFound).toMatchObject({ code: "not_found", details: {}, retry_after_ms: undefined });
		expect(connection.closed.aborted).toBe(false);
	});

	test.each([
		["a code in the text only", () => new Error("not_found: no such share")],
		["a code that is not of the closed set", () => refusal("gone_for_good")],
		["a code that only an object's prototype has", () => refusal("toString")],
		["a code in the cause", () => new Error("failed", { cause: refusal("not_found") })],
	])("%s is no refusal", async (_, error) => {
		const { connection, server } = await openLab(kind);
		server.script.redeemShare = () => {
			throw error();
		};
		const failure = await failureOf(connection.redeem("shr_1", SECRET));
		expect(failure).not.toBeInstanceOf(ShareRefusal);
		expect(failure).not.toHaveProperty("code");
	});

	test("a server that never answers ends the call at its deadline", async () => {
		const { connection, server } = await openLab(kind, { callMs: 100 });
		const share = await connection.redeem("shr_1", SECRET);
		server.script.appendOps = never;
		const failure = await failureOf(share.appendOps(batchOf(["a"])));
		expect(failure).not.toBeInstanceOf(ShareRefusal);
		expect(failure.message).toBe("appendOps: no answer within 138 ms");
	});

	test("a black hole ends the call at its deadline", async () => {
		const { connection, proxy } = await openLab(kind, { callMs: 100 });
		const share = await connection.redeem("shr_1", SECRET);
		proxy.faults.blackHole = true;
		expect((await failureOf(share.appendOps(batchOf(["a"])))).message).toContain("no answer");
	});

	test("a lost reply leaves the outcome unknown", async () => {
		const { connection, proxy, server } = await openLab(kind);
		const share = await connection.redeem("shr_1", SECRET);
		const lost = proxy.loseNextReply();
		const failure = await failureOf(share.appendOps(batchOf(["a"])));
		await lost;
		expect(server.calls.filter((call) => call === "appendOps")).toHaveLength(1);
		expect(failure).not.toBeInstanceOf(ShareRefusal);
	});

	test("a connection cut in the middle of a batch leaves the outcome unknown", async () => {
		const { connection, proxy, server } = await openLab(kind);
		const share = await connection.redeem("shr_1", SECRET);
		const cut = proxy.cutAfter("to_server", 5000);
		const failure = await failureOf(share.appendOps(batchOf(["a"], 0, JSON.stringify("x".repeat(50_000)))));
		await cut;
		expect(failure).not.toBeInstanceOf(ShareRefusal);
		expect(server.calls).not.toContain("appendOps");
	});

	test("a server that dies during a call leaves the outcome unknown", async () => {
		const { connection, server } = await openLab(kind);
		const share = await connection.redeem("shr_1", SECRET);
		server.script.appendOps = never;
		const append = failureOf(share.appendOps(batchOf(["a"])));
		await server.called("appendOps");
		await server.close();
		expect(await append).not.toBeInstanceOf(ShareRefusal);
	});

	test("close fails the calls under way before it shows as closed, and may be repeated", async () => {
		const { connection, server, gone } = await openLab(kind);
		const share = await connection.redeem("shr_1", SECRET);
		server.script.appendOps = never;
		const order: string[] = [];
		const append = failureOf(share.appendOps(batchOf(["a"]))).finally(() => order.push("failed"));
		await server.called("appendOps");
		connection.close();
		connection.close();
		await Promise.all([append, gone.then(() => order.push("closed"))]);
		expect(order).toEqual(["failed", "closed"]);
		expect((await failureOf(share.appendOps(batchOf(["a"])))).message).toContain("closed on this side");
		expect((await failureOf(connection.redeem("shr_1", SECRET))).message).toContain("closed on this side");
	});

	test("calls in flight at once each get their own answer", async () => {
		const { connection, server } = await openLab(kind);
		const share = await connection.redeem("shr_1", SECRET);
		server.script.appendOps = async (batch) => {
			if (batch.ops[0]?.op_id === "0") await server.called("appendOps", 4);
			return { cursor: 9, applied: batch.ops.map((op) => op.op_id), duplicates: [], rejected: [] };
		};
		const acks = await Promise.all(["0", "1", "2", "3"].map((id, index) => share.appendOps(batchOf([id], index))));
		expect(acks.map((ack) => ack.applied[0])).toEqual(["0", "1", "2", "3"]);
	});

	test("an op of the largest size passes", async () => {
		const { connection } = await openLab(kind);
		const share = await connection.redeem("shr_1", SECRET);
		const payload = JSON.stringify('"'.repeat(LIMITS.op_bytes / 2 - 1));
		expect((await share.appendOps(batchOf(["a"], 0, payload))).applied).toEqual(["a"]);
	});
});
