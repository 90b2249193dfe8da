import { describe, expect, test } from "vitest";
import { batchOf, failureOf, never, openLab, SECRET } from "./lab.ts";

describe("over websocket", () => {
	test("an answer that does not come in time ends the connection and every other call on it", async () => {
		const { connection, server, proxy, gone } = await openLab("websocket", { callMs: 100 });
		const share = await connection.redeem("shr_1", SECRET);
		server.script.appendOps = never;
		await Promise.all(["a", "b"].map((id) => failureOf(share.appendOps(batchOf([id])))));
		expect((await gone).message).toContain("no answer to appendOps");
		await proxy.until((traffic) => traffic.open === 0);
	});

	test("a large batch has the longer time that a slow link needs", async () => {
		const { connection, server } = await openLab("websocket", { callMs: 100 });
		const share = await connection.redeem("shr_1", SECRET);
		server.script.appendOps = never;
		const payload = JSON.stringify("x".repeat(1300 - 2));
		const failure = await failureOf(share.appendOps(batchOf(["a"], 0, payload)));
		expect(failure.message).toContain("within 300 ms");
	});

	test("what is handed to the network is told, and nobody waits for it when the connection is gone", async () => {
		const { connection, server } = await openLab("websocket");
		await connection.written();
		const share = await connection.redeem("shr_1", SECRET);
		server.script.appendOps = never;
		const append = failureOf(share.appendOps(batchOf(["a"], 0, JSON.stringify("x".repeat(1_000_000)))));
		await connection.written();
		await server.called("appendOps");
		const other = failureOf(share.appendOps(batchOf(["b"], 0, JSON.stringify("x".repeat(1_000_000)))));
		connection.close();
		await Promise.all([connection.written(), append, other]);
	});

	test("a connection that is dead but open is found by its heartbeat, with no call under way", async () => {
		const { proxy, gone } = await openLab("websocket", { heartbeatMs: 50 });
		proxy.faults.blackHole = true;
		expect((await gone).message).toBe("no pong within 50 ms");
		await proxy.until((traffic) => traffic.open === 0);
	});

	test("an idle connection that answers its heartbeat stays", async () => {
		const { connection, proxy } = await openLab("websocket", { heartbeatMs: 20 });
		const { to_server: before } = proxy.traffic;
		// A ping of ours is 6 bytes.
		await proxy.until((traffic) => traffic.to_server >= before + 5 * 6);
		expect(connection.closed.aborted).toBe(false);
	});

	test("a server that dies shows as closed, after the calls under way have failed", async () => {
		const { connection, server, gone } = await openLab("websocket");
		const share = await connection.redeem("shr_1", SECRET);
		server.script.appendOps = never;
		const order: string[] = [];
		const append = failureOf(share.appendOps(batchOf(["a"]))).finally(() => order.push("failed"));
		await server.called("appendOps");
		await server.close();
		await Promise.all([append, gone.then(() => order.push("closed"))]);
		expect(order).toEqual(["failed", "closed"]);
	});

	test("calls, refused and redeemed-again ones too, leave nothing behind on either side", async () => {
		const { connection, server } = await openLab("websocket");
		const share = await connection.redeem("shr_1", SECRET);
		await share.appendOps(batchOf(["a"]));
		const [session] = server.sessions;
		const before = session?.getStats();
		for (let index = 0; index < 300; index++) await share.appendOps(batchOf([`a${index}`]));
		for (let index = 0; index < 50; index++) await connection.redeem("shr_1", SECRET);
		server.script.redeemShare = () => {
			throw new Error("no");
		};
		for (let index = 0; index < 50; index++) await failureOf(connection.redeem("shr_1", SECRET));
		// One more round trip, so that the last releases have arrived.
		await share.entityDigests();
		await share.entityDigests();
		expect(session?.getStats()).toEqual(before);
	});

	test("a handle goes on when its share is redeemed again", async () => {
		const { connection } = await openLab("websocket");
		const first = await connection.redeem("shr_1", SECRET);
		const second = await connection.redeem("shr_1", SECRET);
		await Promise.all([first.appendOps(batchOf(["a"])), second.appendOps(batchOf(["b"]))]);
		await connection.redeem("shr_1", "y".repeat(43));
		expect((await first.appendOps(batchOf(["c"]))).applied).toEqual(["c"]);
	});
});

describe("over http-batch", () => {
	test("redeeming is one POST, and so is a batch of ops", async () => {
		const { connection, proxy } = await openLab("http-batch");
		const { requests: before } = proxy.traffic;
		const share = await connection.redeem("shr_1", SECRET);
		expect(proxy.traffic.requests).toBe(before + 1);
		await share.appendOps(batchOf(["a", "b"]));
		expect(proxy.traffic.requests).toBe(before + 2);
	});

	test("a call that fails leaves the connection to the others", async () => {
		const { connection, server } = await openLab("http-batch", { callMs: 100 });
		const share = await connection.redeem("shr_1", SECRET);
		const { appendOps } = server.script;
		server.script.appendOps = never;
		await failureOf(share.appendOps(batchOf(["a"])));
		server.script.appendOps = appendOps;
		expect((await share.appendOps(batchOf(["a"]))).applied).toEqual(["a"]);
		expect(connection.closed.aborted).toBe(false);
	});

	test("a call that is given up gives up its request", async () => {
		const { connection, server, proxy } = await openLab("http-batch", { callMs: 100 });
		const share = await connection.redeem("shr_1", SECRET);
		server.script.appendOps = never;
		await failureOf(share.appendOps(batchOf(["a"])));
		await proxy.until((traffic) => traffic.open === 0);
	});
});
