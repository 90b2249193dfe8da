import { once } from "node:events";
import { request } from "node:http";
import { connect as connectTcp } from "node:net";
import { inspect } from "node:util";
import { RpcSession, RpcTarget, WebSocketTransport } from "capnweb";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { MESSAGE_BYTES_MAX, MESSAGE_DEPTH_MAX } from "../../src/protocol/limits.ts";
import { openSqlite } from "../../src/sqlite/driver.ts";
import {
	batchOf,
	connect,
	createKey,
	makeShare,
	openShare,
	plain,
	post,
	refusal,
	SERVER_KEY,
	Viewer,
} from "./client.ts";
import { type NodeHost, recordingLogger, startHost } from "./host.ts";

let host: NodeHost;
beforeAll(async () => {
	host = await startHost();
});
afterAll(() => host.close());

describe("one path", () => {
	test("serves POST and WebSocket alike", async () => {
		const client = await connect(host.url);
		const { grant, share } = await openShare(client);
		expect(await share.appendOps(batchOf(0, plain(1)))).toMatchObject({ cursor: 1 });
		const pipelined = post(host.url)
			.redeemShare(grant.share_id, grant.secret)
			.appendOps(batchOf(0, plain(2)));
		expect(await pipelined).toMatchObject({ cursor: 2, duplicates: ["op-0"], applied: ["op-1"] });
		await client.close();
	});

	test("tells a refusal over POST as it does over a WebSocket", async () => {
		const pipelined = post(host.url)
			.redeemShare("shr_unknown", "s".repeat(43))
			.appendOps(batchOf(0, plain(1)));
		expect(await refusal(pipelined)).toEqual({ code: "not_found", details: {} });
	});

	test("is the only one that upgrades", async () => {
		const socket = new WebSocket(`${host.url.replace("http", "ws")}/elsewhere`);
		const [error] = await once(socket, "error");
		expect(String(error)).toContain("404");
	});
});

describe("too much", () => {
	test("a body that announces too many bytes is refused before it is sent", async () => {
		const headers = { "content-length": MESSAGE_BYTES_MAX + 1 };
		const asking = request(`${host.url}/rpc`, { method: "POST", headers });
		asking.on("error", () => undefined);
		asking.flushHeaders();
		const [response] = await once(asking, "response");
		expect(response.statusCode).toBe(413);
		asking.destroy();
	});

	test("a body that never ends is refused once it exceeds the cap", async () => {
		const { port } = new URL(host.url);
		const socket = connectTcp(Number(port), "127.0.0.1");
		socket.write("POST /rpc HTTP/1.1\r\nHost: share\r\nTransfer-Encoding: chunked\r\n\r\n");
		const chunk = `10000\r\n${"x".repeat(0x10000)}\r\n`;
		let answer = "";
		const over = new Promise<void>((resolve) => {
			socket.on("data", (data) => {
				answer += String(data);
				resolve();
			});
			socket.once("close", () => resolve());
		});
		socket.on("error", () => undefined);
		let isOver = false;
		void over.then(() => {
			isOver = true;
		});
		for (let sent = 0; !isOver && sent < 4 * MESSAGE_BYTES_MAX; sent += 0x10000)
			await Promise.race([over, new Promise((resolve) => socket.write(chunk, resolve))]);
		await over;
		// The body has not ended and never will. A reset may overtake the answer.
		expect(answer).toMatch(/^(HTTP\/1.1 413 |$)/);
		socket.destroy();
	});

	test("a message that is too long ends its own WebSocket and no other", async () => {
		const [greedy, other] = [await connect(host.url), await connect(host.url)];
		const closed = once(greedy.socket, "close");
		greedy.socket.send("x".repeat(MESSAGE_BYTES_MAX + 1));
		const [code] = await closed;
		expect(code).toBe(1009);
		expect(await makeShare(other.api)).toMatchObject({ capability_epoch: 1 });
		await other.close();
	});

	test("more calls than a POST takes are answered busy", async () => {
		const api = post(host.url);
		const calls = Array.from({ length: 1001 }, () => refusal(api.viewShare("a-slug-nobody-has-01")));
		const codes = (await Promise.all(calls)).map(({ code }) => code);
		expect(codes.filter((code) => code === "busy")).toHaveLength(1);
		expect(codes.at(-1)).toBe("busy");
	});

	test("a client that holds on to every answer is let go", async () => {
		const client = await connect(host.url);
		const closed = once(client.socket, "close");
		for (let call = 0; call < 20_000; call++) client.socket.send('["push",["pipeline",0,["viewShare"],["short"]]]');
		const [code] = await closed;
		expect(code).toBe(1008);
	});
});

describe("nonsense", () => {
	test.each([
		["no JSON", "garbage"],
		["no call", '{"a":1}'],
		["an unknown verb", '["dance",1]'],
		["a reference to nothing", '["pull",77]'],
		[
			"a message that nests too deep",
			`["push",${"[".repeat(MESSAGE_DEPTH_MAX * 4)}1${"]".repeat(MESSAGE_DEPTH_MAX * 4)}]`,
		],
		["a message that nests beyond any stack", `["push",${"[".repeat(2_000_000)}${"]".repeat(2_000_000)}]`],
	])("%s is refused on both transports, and the server lives", async (_, text) => {
		const response = await fetch(`${host.url}/rpc`, { method: "POST", body: text });
		expect([response.status, await response.json()]).toEqual([400, { error: "malformed" }]);
		const client = await connect(host.url);
		const closed = once(client.socket, "close");
		client.socket.send(text);
		await closed;
		expect((await fetch(`${host.url}/health`)).status).toBe(200);
	});

	test("an empty POST is an empty batch", async () => {
		const response = await fetch(`${host.url}/rpc`, { method: "POST" });
		expect([response.status, await response.text()]).toEqual([200, ""]);
	});

	test("a __proto__ key pollutes nothing", async () => {
		const request = `{"session_id":"ses_1","create_key":"${createKey()}","__proto__":{"polluted":1}}`;
		const call = `["push",["pipeline",0,["createShare"],["${SERVER_KEY}",${request}]]]\n["pull",1]`;
		await (await fetch(`${host.url}/rpc`, { method: "POST", body: call })).text();
		const client = await connect(host.url);
		const { grant, share } = await openShare(client);
		const payload = '{"__proto__":{"polluted":1}}';
		await share.appendOps(batchOf(0, [{ type: "session", key: "session", payload }]));
		expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
		const response = await fetch(`${host.url}/api/share/${grant.slug}/data`);
		expect(await response.text()).toBe(`[{"type":"session","data":${payload}}]`);
		await client.close();
	});

	test("a stub or a function is no data", async () => {
		const client = await connect(host.url);
		const { grant, share } = await openShare(client);
		const stub = new (class extends RpcTarget {})() as never;
		const call = (() => "data") as never;
		const refused = { code: "invalid_request" };
		for (const fake of [stub, call]) {
			expect(await refusal(client.api.createShare(fake, { session_id: "s", create_key: createKey() }))).toMatchObject(
				refused,
			);
			expect(await refusal(client.api.createShare(SERVER_KEY, fake))).toMatchObject(refused);
			expect(await refusal(client.api.redeemShare(grant.share_id, fake))).toMatchObject(refused);
			expect(await refusal(client.api.viewShare(fake))).toMatchObject(refused);
			expect(await refusal(share.appendOps(batchOf(0, [{ payload: fake }])))).toMatchObject(refused);
			expect(await refusal(share.appendOps(fake))).toMatchObject(refused);
			expect(await refusal(share.entityDigests(fake))).toMatchObject(refused);
			expect(await refusal(share.publishDelta(fake))).toMatchObject(refused);
			expect(
				await refusal(share.revokeCapability({ rotate_secret: true, next_secret: fake, rotate_slug: true })),
			).toMatchObject(refused);
			expect(await refusal(share.watch(new Viewer(), fake))).toMatchObject(refused);
		}
		expect(await refusal(share.watch({} as never, 0))).toMatchObject(refused);
		expect(await share.redemption()).toMatchObject({ cursor: 0, capability_epoch: 1 });
		await client.close();
	});

	test("a refused argument is named, its value is not", async () => {
		const secret = "a-short-secret";
		const call = Promise.resolve(post(host.url).redeemShare("shr_1", secret));
		const error = await call.then(() => undefined, String);
		expect(error).toContain("secret");
		expect(error).not.toContain(secret);
	});

	test.each(["nope", "constructor", "toString", "hasOwnProperty", "__proto__", "#context", "then"])(
		"there is no method %s, and asking tells nothing",
		async (name) => {
			const body = `["push",["pipeline",0,["${name}"],[]]]\n["pull",1]`;
			const response = await fetch(`${host.url}/rpc`, { method: "POST", body });
			expect(await response.text()).toMatch(
				/^\["reject",1,\["error","Error","internal error, reference [0-9a-f]{12}"\]\]$/,
			);
		},
	);

	test("watching over POST is refused", async () => {
		const client = await connect(host.url);
		const { grant } = await openShare(client);
		const call = post(host.url).viewShare(grant.slug).watch(new Viewer(), 0);
		expect(await refusal(call)).toMatchObject({ code: "invalid_request" });
		await client.close();
	});
});

test.each([
	["a promise that its client never keeps", '["promise",-1]'],
	["a stub in place of a text", '["export",-1]'],
])("a POST with %s is answered at once", async (_, argument) => {
	const body = `["push",["pipeline",0,["viewShare"],[${argument}]]]\n["pull",1]`;
	const response = await fetch(`${host.url}/rpc`, { method: "POST", body });
	expect([response.status, await response.text()]).toEqual(
		argument.includes("promise")
			? [400, '{"error":"malformed"}']
			: [200, expect.stringContaining('"code":"invalid_request"')],
	);
});

test("an internal error leaks neither its message, its stack nor its cause", async () => {
	const logger = recordingLogger();
	const broken = await startHost({ logger });
	const client = await connect(broken.url);
	const { grant, share } = await openShare(client);
	const vandal = await openSqlite(broken.databasePath);
	vandal.exec("DROP TABLE share");
	vandal.close();

	const lines: string[] = [];
	client.socket.on("message", (data) => lines.push(String(data)));
	const over = [
		() => share.appendOps(batchOf(0, plain(1))),
		() => client.api.redeemShare(grant.share_id, grant.secret),
		() => post(broken.url).redeemShare(grant.share_id, grant.secret).redemption(),
	];
	for (const call of over) {
		const error = await Promise.resolve(call()).then(
			() => expect.unreachable(),
			(thrown: Error) => thrown,
		);
		expect(error.message).toMatch(/^internal error, reference [0-9a-f]{12}$/);
		expect({ ...error }).toEqual({});
		expect(error.cause).toBeUndefined();
		const reference = error.message.split(" ").at(-1);
		const logged = logger.lines.find((line) => line.facts.reference === reference);
		expect(logged?.level).toBe("error");
		expect(String(logged?.facts.err)).toContain("no such table");
	}
	for (const path of [`/api/share/${grant.slug}/data`, `/share/${grant.slug}`]) {
		const response = await fetch(broken.url + path);
		expect(response.status).toBe(500);
		lines.push(await response.text());
	}
	expect(lines).toHaveLength(4);
	for (const line of lines) expect(line).not.toMatch(/sqlite|no such table|node_modules|\.ts|at /i);
	expect(inspect(logger.lines, { depth: 9 })).not.toContain(grant.secret);
	await client.close();
	await broken.close();
});

test("watching leaves nothing behind on either side", async () => {
	const writer = await connect(host.url);
	const { grant, share } = await openShare(writer);
	const socket = new WebSocket(`${host.url.replace("http", "ws")}/rpc`);
	await once(socket, "open");
	const session = new RpcSession<import("../../src/protocol/rpc.ts").ShareRpc>(
		new WebSocketTransport(socket as unknown as globalThis.WebSocket),
	);
	const api = session.getRemoteMain();
	using view = await api.viewShare(grant.slug);
	const before = session.getStats();
	const viewer = new Viewer();
	const subscription = await view.watch(viewer, 0);
	for (let position = 0; position < 50; position++) {
		await share.appendOps(batchOf(position, plain(1)));
		await share.publishDelta({ key: "part/m/p", field: "text", delta: "x" });
	}
	await viewer.until(() => viewer.cursor === 50 && viewer.deltas.length === 50);
	await subscription.cancel();
	subscription[Symbol.dispose]();
	await view.redemption();
	expect(session.getStats()).toEqual(before);
	const closed = once(socket, "close");
	socket.close();
	await closed;
	await writer.close();
});
