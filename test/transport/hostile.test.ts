import { RpcTarget } from "capnweb";
import { describe, expect, test } from "vitest";
import { LIMITS, MESSAGE_BYTES_MAX } from "../../src/protocol/limits.ts";
import { ShareRefusal } from "../../src/protocol/refusal.ts";
import { GRANT, redemptionOf } from "../fixture/scripted-server.ts";
import { rotation } from "../server/client.ts";
import { batchOf, failureOf, KINDS, openLab, SECRET } from "./lab.ts";

const rejected = (...ids: string[]) => ids.map((op_id) => ({ op_id, code: "cursor_gap", reason: "" }));

describe.each(KINDS)("over %s, a server that lies", (kind) => {
	test.each([
		["leaves an op out", { cursor: 3, applied: ["a", "b"], duplicates: [], rejected: [] }],
		["names an op twice", { cursor: 3, applied: ["a", "b", "c"], duplicates: ["a"], rejected: [] }],
		["names one op in place of another", { cursor: 3, applied: ["a", "b", "b"], duplicates: [], rejected: [] }],
		["names an op that was not sent", { cursor: 3, applied: ["a", "b", "x"], duplicates: [], rejected: [] }],
		["has its cursor before what it applied", { cursor: 2, applied: ["a", "b", "c"], duplicates: [], rejected: [] }],
		["applied behind a rejected op", { cursor: 3, applied: ["a", "c"], duplicates: [], rejected: rejected("b") }],
		["has no lists", { cursor: 3 }],
		["has an unknown member", { cursor: 3, applied: ["a", "b", "c"], duplicates: [], rejected: [], also: 1 }],
		[
			"has a code of its own",
			{ cursor: 0, applied: ["a", "b"], duplicates: [], rejected: [{ op_id: "c", code: "no" }] },
		],
		["has a broken number", { cursor: Number.NaN, applied: ["a", "b", "c"], duplicates: [], rejected: [] }],
		["has a list without end", { cursor: 3, applied: Array(10_000).fill(0), duplicates: [], rejected: [] }],
		["is a text", "ok"],
		["is nothing", undefined],
		["is an object of its own", new (class extends RpcTarget {})()],
	])("is not believed when an ack %s", async (_, ack) => {
		const { connection, server } = await openLab(kind);
		const share = await connection.redeem("shr_1", SECRET);
		server.script.appendOps = () => ack;
		const failure = await failureOf(share.appendOps(batchOf(["a", "b", "c"])));
		expect(failure).not.toBeInstanceOf(ShareRefusal);
		expect(failure.message).toMatch(/^the server's answer to appendOps is malformed: /);
		expect(connection.closed.aborted).toBe(false);
	});

	test.each([
		["duplicates at any cursor", { cursor: 0, applied: [], duplicates: ["c", "a", "b"], rejected: [] }],
		["a rejected tail", { cursor: 1, applied: ["a"], duplicates: [], rejected: rejected("b", "c") }],
		["a cursor that others moved on", { cursor: 30, applied: ["b", "c"], duplicates: ["a"], rejected: [] }],
	])("is believed when an ack can be true: %s", async (_, ack) => {
		const { connection, server } = await openLab(kind);
		const share = await connection.redeem("shr_1", SECRET);
		server.script.appendOps = () => ack;
		expect(await share.appendOps(batchOf(["a", "b", "c"]))).toEqual(ack);
	});

	test.each([
		["is of another share", redemptionOf("shr_2")],
		["is for viewing", { ...redemptionOf("shr_1"), scope: "view" }],
		["has a negative cursor", { ...redemptionOf("shr_1"), cursor: -1 }],
		["has no room for an op", { ...redemptionOf("shr_1"), limits: { ...LIMITS, op_bytes: 0 } }],
		["lacks its limits", { ...redemptionOf("shr_1"), limits: undefined }],
	])("is not believed when a redemption %s", async (_, redemption) => {
		const { connection, server } = await openLab(kind);
		server.script.redemption = () => redemption;
		const failure = await failureOf(connection.redeem("shr_1", SECRET));
		expect(failure.message).toMatch(/^the server's answer to redemption is malformed: /);
	});

	test("is not believed when a grant is of another share, or a page of digests leads back", async () => {
		const { connection, server } = await openLab(kind);
		const share = await connection.redeem("shr_1", SECRET);
		server.script.revokeCapability = () => ({ ...GRANT, share_id: "shr_2" });
		server.script.entityDigests = () => ({ entities: [], next: "a" });
		const revoking = share.revokeCapability({ rotate_secret: false, rotate_slug: false });
		expect((await failureOf(revoking)).message).toContain("malformed: it is of another share");
		expect((await failureOf(share.entityDigests("a"))).message).toContain("malformed: its next page");
	});

	test("is not believed when a rotation ends with another secret than was asked for", async () => {
		const { connection, server } = await openLab(kind);
		const share = await connection.redeem("shr_1", SECRET);
		server.script.revokeCapability = () => ({ ...GRANT, capability_epoch: 2 });
		const { message } = await failureOf(share.revokeCapability(rotation()));
		expect(message).toContain("malformed: its secret is not the one that was asked for");
		expect(message).not.toContain(GRANT.secret);
	});

	test("is not believed when a claim ends with another share or secret, or a page of shares is none", async () => {
		const { connection, server } = await openLab(kind);
		const claim = { share_id: "shr_1", create_key: SECRET, next_secret: rotation().next_secret };
		const { message } = await failureOf(connection.claimShare("key", claim));
		expect(message).toContain("malformed: its secret is not the one that was asked for");
		server.script.claimShare = () => ({ ...GRANT, share_id: "shr_2" });
		expect((await failureOf(connection.claimShare("key", claim))).message).toContain("it is of another share");
		for (const page of [null, { shares: [{}], next: null }, { shares: Array(2000).fill({}), next: null }]) {
			server.script.listShares = () => page;
			expect((await failureOf(connection.listShares("key"))).message).toContain("malformed");
		}
		server.script.listShares = () => ({ shares: [], next: "shr_1" });
		expect((await failureOf(connection.listShares("key", "shr_1"))).message).toContain("malformed: its next page");
	});

	test("cannot pass on more text than a line", async () => {
		const { connection, server } = await openLab(kind);
		server.script.redeemShare = () => {
			throw Object.assign(new Error("x".repeat(1_000_000)), { code: "denied" });
		};
		const failure = await failureOf(connection.redeem("shr_1", SECRET));
		expect(failure).toMatchObject({ code: "denied" });
		expect(failure.message.length).toBeLessThan(600);
	});

	test("cannot make the client hold an answer beyond the cap", async () => {
		const { connection, server, proxy } = await openLab(kind);
		const share = await connection.redeem("shr_1", SECRET);
		server.script.appendOps = () => "x".repeat(4 * MESSAGE_BYTES_MAX);
		const failure = await failureOf(share.appendOps(batchOf(["a"])));
		expect(failure).not.toBeInstanceOf(ShareRefusal);
		expect(failure.message).toMatch(kind === "websocket" ? /Max payload size exceeded/ : /larger than \d+ bytes/);
		// What was beyond the cap was not read; the kernel's buffers hold some of it.
		expect(proxy.traffic.to_client).toBeLessThan(3 * MESSAGE_BYTES_MAX);
		await proxy.until((traffic) => traffic.open === 0);
	});

	test("cannot nest its answer deeper than the cap", async () => {
		const { connection, server } = await openLab(kind);
		const share = await connection.redeem("shr_1", SECRET);
		let nested: unknown = 1;
		for (let depth = 0; depth < 100; depth++) nested = { nested };
		server.script.appendOps = () => nested;
		expect(await failureOf(share.appendOps(batchOf(["a"])))).not.toBeInstanceOf(ShareRefusal);
	});
});

describe("over http-batch, what answers is not capnweb", () => {
	test.each([
		["a 500 with a tempting text", 500, "not found", "HTTP 500"],
		["a 404", 404, '{"code":"not_found"}', "HTTP 404"],
		["a 401", 401, "", "HTTP 401"],
		["a portal's page", 200, "<html>Log in</html>", "appendOps"],
		["an empty answer", 200, "", "ended early"],
		["a session's end with our code", 200, '["abort",["error","Error","x",null,{"code":"not_found"}]]', "appendOps"],
		["an answer of empty lines", 200, "\n".repeat(100_000), "ended early"],
	])("%s is no refusal", async (_, status, body, text) => {
		const { connection, server } = await openLab("http-batch");
		const share = await connection.redeem("shr_1", SECRET);
		server.script.post = (_request, response) => {
			response.writeHead(status).end(body);
			return true;
		};
		const failure = await failureOf(share.appendOps(batchOf(["a"])));
		expect(failure).not.toBeInstanceOf(ShareRefusal);
		expect(failure.message).toContain(text);
	});

	test("a redirect is not followed, so that the secret goes nowhere else", async () => {
		const { connection, server } = await openLab("http-batch");
		const elsewhere: string[] = [];
		server.script.post = (request, response) => {
			if (request.url !== "/rpc") elsewhere.push(request.url ?? "");
			response.writeHead(308, { location: "/elsewhere" }).end();
			return true;
		};
		expect((await failureOf(connection.redeem("shr_1", SECRET))).message).toContain("HTTP 308");
		expect(elsewhere).toEqual([]);
	});
});

describe("over websocket, a session's end", () => {
	test("is no refusal though it bears our code", async () => {
		const { connection, server, gone } = await openLab("websocket");
		const share = await connection.redeem("shr_1", SECRET);
		server.script.appendOps = () => new Promise(() => {});
		const append = failureOf(share.appendOps(batchOf(["a"])));
		await server.called("appendOps");
		for (const socket of server.sockets) socket.send('["abort",["error","Error","x",null,{"code":"not_found"}]]');
		expect(await append).not.toBeInstanceOf(ShareRefusal);
		expect((await gone).message).toContain("the session broke: x");
	});
});
