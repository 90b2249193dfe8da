import { once } from "node:events";
import { createServer, type IncomingMessage } from "node:http";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import type { Duplex } from "node:stream";
import { describe, expect, onTestFinished, test } from "vitest";
import { type Clock, systemClock } from "../../src/model/clock.ts";
import { OutboxError } from "../../src/model/errors.ts";
import { type CapnwebOptions, capnwebTransport } from "../../src/transport/capnweb.ts";
import type { Connection, Transport } from "../../src/transport/transport.ts";
import { type FaultProxy, startProxy } from "../fixture/proxy.ts";
import { type ScriptedServer, startScriptedServer } from "../fixture/scripted-server.ts";
import { failureOf, SECRET } from "./lab.ts";

async function openSite(): Promise<{ server: ScriptedServer; proxy: FaultProxy }> {
	const server = await startScriptedServer();
	const proxy = await startProxy({ targetPort: server.port });
	onTestFinished(async () => {
		await proxy.close();
		await server.close();
	});
	return { server, proxy };
}

function transportTo(url: string, options: Partial<CapnwebOptions> = {}): Transport {
	return capnwebTransport({ url, clock: systemClock, ...options });
}

async function connect(transport: Transport): Promise<Connection> {
	const connection = await transport.connect(new AbortController().signal);
	onTestFinished(() => connection.close());
	return connection;
}

async function unreachable(transport: Transport): Promise<OutboxError> {
	const failure = await failureOf(transport.connect(new AbortController().signal));
	expect(failure).toBeInstanceOf(OutboxError);
	expect(failure).toMatchObject({ code: "unreachable" });
	return failure as OutboxError;
}

describe("connect", () => {
	test("takes a WebSocket where it can", async () => {
		const { proxy } = await openSite();
		expect((await connect(transportTo(proxy.url))).kind).toBe("websocket");
		expect(proxy.heads).toEqual([{ method: "GET", path: "/rpc", upgrade: true }]);
	});

	test("offers to compress where the server is elsewhere, or where it is asked to", async () => {
		const offered = async (address: string, compress?: boolean): Promise<boolean> => {
			const server = createServer();
			const upgrade = once(server, "upgrade") as Promise<[IncomingMessage, Duplex]>;
			server.listen(0, "127.0.0.1");
			await once(server, "listening");
			const { port } = server.address() as AddressInfo;
			const stop = new AbortController();
			const connecting = transportTo(`http://${address}:${port}`, { compress }).connect(stop.signal);
			const [request, socket] = await upgrade;
			stop.abort();
			await expect(connecting).rejects.toThrow();
			socket.destroy();
			server.close();
			return request.headers["sec-websocket-extensions"]?.includes("permessage-deflate") ?? false;
		};
		expect(await offered("127.0.0.1")).toBe(false);
		expect(await offered("localhost")).toBe(false);
		expect(await offered("127.0.0.1", true)).toBe(true);
		// An address that is no loopback's by its name, and leads to this machine all the same.
		expect(await offered("0.0.0.0")).toBe(true);
		expect(await offered("0.0.0.0", false)).toBe(false);
	});

	test("keeps the path that the server is served under", async () => {
		const { proxy } = await openSite();
		await connect(transportTo(`${proxy.url}/outbox/?a=b#c`));
		expect(proxy.heads[0]?.path).toBe("/outbox/rpc");
	});

	test("takes HTTP where upgrades are refused, and does not ask again for a while", async () => {
		const { proxy } = await openSite();
		proxy.faults.refuseUpgrades = true;
		let now = 1000;
		const clock: Clock = { now: () => now, sleep: systemClock.sleep };
		const transport = transportTo(proxy.url, { clock, timing: { upgradeRetryMs: 500 } });
		for (let times = 0; times < 3; times++) expect((await connect(transport)).kind).toBe("http-batch");
		expect(proxy.traffic.upgrades).toBe(1);
		proxy.faults.refuseUpgrades = false;
		now += 499;
		expect((await connect(transport)).kind).toBe("http-batch");
		now += 1;
		expect((await connect(transport)).kind).toBe("websocket");
	});

	test("asks for a WebSocket again at once when HTTP does not work either", async () => {
		const { proxy } = await openSite();
		proxy.faults.refuseUpgrades = true;
		const transport = transportTo(proxy.url);
		await connect(transport);
		proxy.faults.refuseUpgrades = false;
		proxy.faults.refuse = true;
		await unreachable(transport);
		proxy.faults.refuse = false;
		expect((await connect(transport)).kind).toBe("websocket");
	});

	test("takes HTTP where upgrades are granted but no frame passes", async () => {
		const { proxy } = await openSite();
		proxy.faults.swallowUpgraded = true;
		const connection = await connect(transportTo(proxy.url, { timing: { handshakeMs: 300 } }));
		expect(connection.kind).toBe("http-batch");
		expect((await connection.redeem("shr_1", SECRET)).redemption.cursor).toBe(0);
	});

	test("takes HTTP where the socket ends instead of an upgrade", async () => {
		const { server, proxy } = await openSite();
		server.script.socket = (socket) => {
			socket.terminate();
			return true;
		};
		expect((await connect(transportTo(proxy.url))).kind).toBe("http-batch");
	});

	test("finds nobody there at once, without a second try", async () => {
		const { server } = await openSite();
		await server.close();
		const fetched: string[] = [];
		const fetch: CapnwebOptions["fetch"] = (url, init) => {
			fetched.push(url);
			return globalThis.fetch(url, init);
		};
		const failure = await unreachable(transportTo(server.url, { fetch }));
		expect(failure.message).toMatch(/^No share server answers at .*\/rpc \(WebSocket: .*ECONNREFUSED.*\)\.$/);
		expect(fetched).toEqual([]);
	});

	test("says what it tried when both ways fail", async () => {
		const { proxy } = await openSite();
		proxy.faults.blackHole = true;
		const failure = await unreachable(transportTo(proxy.url, { timing: { handshakeMs: 100 } }));
		expect(failure.message).toContain("WebSocket: no answer within 100 ms; HTTP: no answer within 100 ms");
	});

	test.each([
		[
			"an error page",
			502,
			"bad gateway",
			"WebSocket: Unexpected server response: 502; HTTP: the server answered HTTP 502",
		],
		["a portal that says 200 to everything", 200, "<html>", "HTTP: what answers is not a share server"],
	])("does not take %s for a server", async (_, status, body, text) => {
		const web = createServer((_request, response) => response.writeHead(status).end(body));
		await new Promise<void>((resolve) => web.listen(0, "127.0.0.1", resolve));
		onTestFinished(() => void web.close());
		const { port } = web.address() as AddressInfo;
		expect((await unreachable(transportTo(`http://127.0.0.1:${port}`))).message).toContain(text);
	});

	test("does not take what is no HTTP at all for a server", async () => {
		const tcp = createTcpServer((socket) => socket.on("error", () => undefined).end("220 mail ready\r\n"));
		await new Promise<void>((resolve) => tcp.listen(0, "127.0.0.1", resolve));
		onTestFinished(() => void tcp.close());
		const { port } = tcp.address() as AddressInfo;
		await unreachable(transportTo(`http://127.0.0.1:${port}`));
	});

	test.each([false, true])("ends as soon as it is aborted (upgrades refused: %s)", async (refused) => {
		const { server, proxy } = await openSite();
		server.script.post = () => true;
		proxy.faults.refuseUpgrades = refused;
		proxy.faults.blackHole = !refused;
		const abort = new AbortController();
		const connecting = failureOf(transportTo(proxy.url).connect(abort.signal));
		await proxy.until((traffic) => traffic.requests === (refused ? 2 : 1));
		const reason = new Error("enough");
		abort.abort(reason);
		expect(await connecting).toBe(reason);
		expect(await failureOf(transportTo(proxy.url).connect(abort.signal))).toBe(reason);
		await proxy.until((traffic) => traffic.open === 0);
	});

	test.each(["localhost:4590", "ftp://host", "ws://host", "http://name:hunter2@host", ""])(
		"refuses the address %j",
		(url) => {
			expect(() => transportTo(url)).toThrow(expect.objectContaining({ code: "config" }));
			expect(() => transportTo(url)).not.toThrow(/hunter2/);
		},
	);
});
