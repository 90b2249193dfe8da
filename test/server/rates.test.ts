import { once } from "node:events";
import { newWebSocketRpcSession, type RpcStub } from "capnweb";
import { expect, onTestFinished, test } from "vitest";
import { WebSocket } from "ws";
import type { Rates } from "../../src/protocol/rates.ts";
import type { ShareRpc } from "../../src/protocol/rpc.ts";
import type { ShareGrant } from "../../src/protocol/schema.ts";
import { dialWebSocket } from "../../src/transport/websocket.ts";
import { messageDigests, openLab } from "../agent/lab.ts";
import { secret } from "../evidence/record.ts";
import { batchOf, connect, createKey, SERVER_KEY } from "./client.ts";
import { OTHER_SERVER_KEY } from "./contract/host.ts";
import { type NodeHost, startHost } from "./host.ts";

/** Longer than any test, so that no window ends within one. */
const MINUTE = 60_000;

async function hostWith(rates: Rates): Promise<NodeHost> {
	const host = await startHost({ rates, trustedProxies: ["127.0.0.1"], opencodeShare: true });
	onTestFinished(() => host.close());
	return host;
}

function from(address: string): Record<string, string> {
	return { "x-forwarded-proto": "https", "x-forwarded-for": `198.51.100.99, ${address}` };
}

/** A client elsewhere, whose requests a trusted proxy forwards. */
async function clientFrom(host: NodeHost, address: string): Promise<RpcStub<ShareRpc>> {
	const socket = new WebSocket(`${host.url.replace("http", "ws")}/rpc`, { headers: from(address) });
	await once(socket, "open");
	onTestFinished(() => socket.terminate());
	return newWebSocketRpcSession<ShareRpc>(socket as unknown as globalThis.WebSocket);
}

/** What each of some calls ended with: "ok", or the refusal's code. */
async function ends(calls: readonly PromiseLike<unknown>[]): Promise<string[]> {
	const settled = await Promise.allSettled(calls);
	return settled.map((end) => (end.status === "fulfilled" ? "ok" : String((end.reason as { code?: unknown }).code)));
}

const create = (api: RpcStub<ShareRpc>, key = SERVER_KEY) =>
	api.createShare(key, { session_id: "ses_1", create_key: createKey() }).then((grant: ShareGrant) => {
		secret("share secret", grant.secret);
		return grant;
	});

test("shares are limited per address and per key, also within one pipelined WebSocket", async () => {
	const host = await hostWith({ creates: { amount: 3, ms: MINUTE } });
	const [one, other] = [await clientFrom(host, "203.0.113.1"), await clientFrom(host, "203.0.113.2")];
	expect(await ends([1, 2, 3, 4, 5].map(() => create(one)))).toEqual(["ok", "ok", "ok", "busy", "busy"]);
	// The key has had its share; another key from another address has not, and from the first address it may not.
	expect(await ends([create(other), create(other, OTHER_SERVER_KEY), create(one, OTHER_SERVER_KEY)])).toEqual([
		"busy",
		"ok",
		"busy",
	]);
	const error = await create(one).catch((thrown: unknown) => thrown);
	expect(error).toMatchObject({ code: "busy", retry_after_ms: expect.any(Number) });
});

test("the same within one POST of many calls", async () => {
	const host = await hostWith({ creates: { amount: 2, ms: MINUTE } });
	const request = (n: number) => [
		"push",
		["pipeline", 0, ["createShare"], [SERVER_KEY, { session_id: `ses_${n}`, create_key: createKey() }]],
	];
	const body = [1, 2, 3, 4]
		.flatMap((n) => [request(n), ["pull", n]])
		.map((line) => JSON.stringify(line))
		.join("\n");
	const response = await fetch(`${host.url}/rpc`, { method: "POST", headers: from("203.0.113.1"), body });
	const answers = (await response.text()).split("\n").map((line) => JSON.parse(line) as [string, number, unknown]);
	const codes = answers.toSorted((a, b) => a[1] - b[1]).map(([kind]) => kind);
	expect(codes).toEqual(["resolve", "resolve", "reject", "reject"]);
	expect(JSON.stringify(answers)).toContain("Come again in 60 s");
});

test("bytes are limited per address and per key; a batch that was refused is taken whole later", async () => {
	const host = await hostWith({ appendBytes: { amount: 1000, ms: 300 } });
	const api = await clientFrom(host, "203.0.113.1");
	const grant = await create(api);
	const share = api.redeemShare(grant.share_id, grant.secret);
	const payload = JSON.stringify("x".repeat(600));
	expect(await ends([share.appendOps(batchOf(0, [{ payload }])), share.appendOps(batchOf(1, [{ payload }]))])).toEqual([
		"ok",
		"busy",
	]);
	await new Promise((resolve) => setTimeout(resolve, 310));
	expect(await share.appendOps(batchOf(1, [{ payload }]))).toMatchObject({ cursor: 2 });
});

test("wrong secrets, keys and links lock an address out for a while, and nobody else", async () => {
	const host = await hostWith({ guesses: { amount: 4, ms: MINUTE } });
	const [stranger, owner] = [await clientFrom(host, "203.0.113.1"), await clientFrom(host, "203.0.113.2")];
	const grant = await create(owner);
	const nothing = "s".repeat(43);
	expect(
		await ends([
			stranger.redeemShare("shr_none", nothing),
			stranger.redeemShare(grant.share_id, nothing),
			stranger.viewShare("n".repeat(24)),
			create(stranger, "w".repeat(43)),
			stranger.redeemShare(grant.share_id, grant.secret),
		]),
	).toEqual(["not_found", "denied", "not_found", "denied", "busy"]);
	expect(await ends([owner.redeemShare(grant.share_id, grant.secret)])).toEqual(["ok"]);
	const page = await fetch(`${host.url}/share/${grant.slug}`, { headers: from("203.0.113.1") });
	expect([page.status, Number(page.headers.get("retry-after"))]).toEqual([429, expect.closeTo(58, -1)]);
	expect((await fetch(`${host.url}/share/${grant.slug}`, { headers: from("203.0.113.2") })).status).toBe(200);
});

test("OpenCode's own share, which shows no key, is limited all together", async () => {
	const host = await hostWith({ creates: { amount: 2, ms: MINUTE } });
	const ask = async (n: number) => {
		const headers = { ...from(`203.0.113.${n}`), "content-type": "application/json" };
		return (await fetch(`${host.url}/api/share`, { method: "POST", headers, body: '{"sessionID":"ses_1"}' })).status;
	};
	expect([await ask(1), await ask(2), await ask(3)]).toEqual([200, 200, 429]);
});

test("this machine itself is not limited, unless a trusted proxy forwards what it sends", async () => {
	const one = { amount: 1, ms: MINUTE };
	const host = await startHost({ rates: { creates: one, redemptions: one, guesses: one, appendBytes: one } });
	onTestFinished(() => host.close());
	const client = await connect(host.url);
	onTestFinished(() => client.close());
	expect(await ends([1, 2, 3].map(() => create(client.api)))).toEqual(["ok", "ok", "ok"]);
	const proxied = await hostWith({ creates: one });
	const local = await clientFrom(proxied, "127.0.0.1");
	expect(await ends([create(local), create(local)])).toEqual(["ok", "busy"]);
});

test("an agent that is told busy waits as long as it is told, and everything gets through", async () => {
	const server: { rates: Rates; trustedProxies: string[] } = {
		trustedProxies: ["127.0.0.1"],
		rates: { creates: { amount: 2, ms: 400 }, appendBytes: { amount: 20_000, ms: 400 } },
	};
	const lab = await openLab({
		server,
		dial: (url) => dialWebSocket(url, { headers: from("203.0.113.1") }),
	});
	const sessions = ["ses_1", "ses_2", "ses_3", "ses_4"];
	const texts = Array.from({ length: 20 }, (_, n) => `${n} ${"x".repeat(800)}`);
	for (const id of sessions) lab.capture(id, texts);
	lab.start();
	await lab.drained();
	const refused = lab.log.filter(({ facts }) => facts.outcome === "busy");
	expect(new Set(refused.map(({ facts }) => facts.step))).toEqual(new Set(["create", "use"]));
	for (const { facts } of refused) expect(facts.wait_ms).toBeGreaterThan(0);
	// Who waits as long as it was told meets a refusal or two per window, and not one per attempt of a shorter backoff.
	expect(refused.length).toBeLessThan(40);
	expect(lab.outbox.deadLetters()).toEqual([]);
	// Straight to the server, whose proxy is this machine: it is not asked for more than it lets through.
	await lab.stopServer();
	server.rates = {};
	server.trustedProxies = [];
	await lab.startServer();
	for (const id of sessions) expect(await lab.digests(id)).toEqual(messageDigests(texts));
});
