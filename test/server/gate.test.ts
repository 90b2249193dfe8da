import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { describe, expect, onTestFinished, test } from "vitest";
import { WebSocket } from "ws";
import { countedAddress, Networks } from "../../src/model/address.ts";
import { Gate } from "../../src/server/gate.ts";
import type { ShareServerOptions } from "../../src/server/node.ts";
import { makeCertificate } from "../fixture/certificate.ts";
import { tempFolder } from "../outbox/fixture.ts";
import { type NodeHost, startHost } from "./host.ts";

async function hostWith(options: Partial<ShareServerOptions>): Promise<NodeHost> {
	const host = await startHost(options);
	onTestFinished(() => host.close());
	return host;
}

/** The status of an upgrade with these headers: 101 when it is granted. */
async function upgrade(url: string, headers: Record<string, string>): Promise<number> {
	const socket = new WebSocket(`${url.replace(/^http/, "ws")}/rpc`, { headers, rejectUnauthorized: false });
	const status = await Promise.race([
		once(socket, "open").then(() => 101),
		once(socket, "unexpected-response").then(([, response]) => response.statusCode as number),
	]);
	socket.on("error", () => undefined);
	socket.terminate();
	return status;
}

/** fetch sets neither Host nor Origin. */
async function post(host: NodeHost, headers: Record<string, string>, path = "/rpc"): Promise<number> {
	const asked = request({ port: host.port, host: "127.0.0.1", path, method: "POST", headers, agent: false }).end("");
	const [response] = await once(asked, "response");
	response.resume();
	return response.statusCode;
}

describe("a page in a browser", () => {
	test("calls the server that it came from, and no other page does", async () => {
		const host = await hostWith({ publicUrl: "https://share.example/below" });
		const local = `localhost:${host.port}`;
		for (const [headers, status] of [
			[{}, 101],
			[{ origin: host.url }, 101],
			[{ origin: `http://${local}`, host: local }, 101],
			[{ origin: "https://share.example" }, 101],
			[{ origin: "https://evil.example" }, 403],
			[{ origin: "null" }, 403],
			[{ origin: `http://127.0.0.1:${host.port + 1}` }, 403],
			// A name that somebody has pointed at this machine.
			[{ origin: `http://evil.example:${host.port}`, host: `evil.example:${host.port}` }, 403],
			// Nobody's proxy said so.
			[{ origin: "https://evil.example", "x-forwarded-host": "evil.example", "x-forwarded-proto": "https" }, 403],
		] as const) {
			expect([headers, await upgrade(host.url, headers)]).toEqual([headers, status]);
			expect([headers, await post(host, headers)]).toEqual([headers, status === 101 ? 200 : status]);
		}
	});

	test("over TLS, any name that the certificate stands for", async () => {
		const host = await hostWith({ tls: await makeCertificate(tempFolder()) });
		const name = `share.example:${host.port}`;
		expect(await upgrade(host.url, { origin: `https://${name}`, host: name })).toBe(101);
		expect(await upgrade(host.url, { origin: `http://${name}`, host: name })).toBe(403);
	});

	test("behind a trusted proxy, the host that it answers to", async () => {
		const host = await hostWith({ trustedProxies: ["127.0.0.0/8"] });
		const forwarded = { "x-forwarded-proto": "https", "x-forwarded-host": "share.example" };
		expect(await upgrade(host.url, { ...forwarded, origin: "https://share.example" })).toBe(101);
		expect(await upgrade(host.url, { ...forwarded, origin: "https://evil.example" })).toBe(403);
	});
});

test("what a trusted proxy forwards must have come to it over TLS; its health checks need not", async () => {
	const host = await hostWith({ trustedProxies: ["127.0.0.1"], host: "0.0.0.0" });
	expect(await post(host, {})).toBe(403);
	expect(await post(host, { "x-forwarded-proto": "http" })).toBe(403);
	expect(await post(host, { "x-forwarded-proto": "https, http" })).toBe(403);
	expect(await post(host, { "x-forwarded-proto": "https" })).toBe(200);
	expect(await upgrade(host.url, {})).toBe(403);
	expect(await upgrade(host.url, { "x-forwarded-proto": "https" })).toBe(101);
	const url = `http://127.0.0.1:${host.port}`;
	expect((await fetch(`${url}/health`)).status).toBe(200);
	expect((await fetch(`${url}/share/${"s".repeat(24)}`)).status).toBe(403);
	const headers = { "x-forwarded-proto": "https" };
	const response = await fetch(`${url}/share/${"s".repeat(24)}`, { headers });
	expect([response.status, response.headers.get("strict-transport-security")]).toEqual([404, "max-age=31536000"]);
});

test("the client is the last hop that no trusted proxy is, however proxies write it", () => {
	const gate = new Gate({ trustedProxies: ["10.0.0.0/8", "::1"], isTls: false, isLocal: false });
	const clientOf = (remoteAddress: string, forwarded?: string) =>
		gate.clientOf({
			socket: { remoteAddress },
			headers: forwarded === undefined ? {} : { "x-forwarded-for": forwarded },
		} as unknown as IncomingMessage).address;
	for (const [peer, forwarded, address] of [
		["10.0.0.1", "192.0.2.1", "192.0.2.1"],
		["::ffff:10.0.0.1", "1.1.1.1, 192.0.2.1, 10.0.0.2", "192.0.2.1"],
		["10.0.0.1", "192.0.2.1:4711", "192.0.2.1"],
		["::1", "[2001:db8::1]:4711", "2001:db8::1"],
		["::1", "2001:db8::1", "2001:db8::1"],
		// Who is no proxy says nothing about others, nor does a proxy that says nothing of use.
		["192.0.2.9", "1.1.1.1", "192.0.2.9"],
		["10.0.0.1", "unknown", "10.0.0.1"],
		["10.0.0.1", undefined, "10.0.0.1"],
		["10.0.0.1", "10.0.0.2, 10.0.0.3", "10.0.0.1"],
	] as const)
		expect([peer, forwarded, clientOf(peer, forwarded)]).toEqual([peer, forwarded, address]);
});

test("IPv6 is counted by its first 64 bits, IPv4 whole, however it is written", () => {
	expect(countedAddress("::ffff:10.1.2.3")).toBe("10.1.2.3");
	const same = ["2001:db8::1", "2001:0DB8:0:0:ffff::", "2001:db8::a:b:c:d", "2001:db8:0:0:1:2:3:4%eth0"];
	expect(new Set(same.map(countedAddress))).toEqual(new Set(["2001:db8:0:0::/64"]));
	expect(countedAddress("2001:db8:0:1::1")).toBe("2001:db8:0:1::/64");
	expect(countedAddress("::1")).toBe("0:0:0:0::/64");
});

test("networks have what lies in them", () => {
	const networks = new Networks(["10.0.0.0/8", "fd00::/8", "192.0.2.7"]);
	expect(["10.9.9.9", "::ffff:10.0.0.1", "fd12::1", "192.0.2.7"].every((one) => networks.has(one))).toBe(true);
	expect(["11.0.0.1", "192.0.2.8", "fe80::1", "nonsense", ""].some((one) => networks.has(one))).toBe(false);
	for (const text of ["10.0.0.0/33", "nonsense", "", "10.0.0.0/-1", "::/129"])
		expect(() => new Networks([text])).toThrow(RangeError);
});
