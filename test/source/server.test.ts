import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import type { Clock } from "../../src/model/clock.ts";
import { type Ring, RingBox } from "../../src/source/doorbell.ts";
import { ServerExtras } from "../../src/source/extras.ts";
import { frameOf, ringOf } from "../../src/source/frame.ts";
import { endpoint, serverAddress } from "../../src/source/http.ts";
import { OpencodeServer } from "../../src/source/server.ts";

let server: Server | undefined;
afterEach(async () => {
	server?.closeAllConnections();
	await new Promise((resolve) => (server ? server.close(resolve) : resolve(undefined)));
	server = undefined;
});

async function serve(answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> {
	server = createServer(answer);
	await new Promise<void>((resolve) => server?.listen(0, "127.0.0.1", resolve));
	return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const frame = (type: string, properties: object = {}, directory = "/project") =>
	`data: ${JSON.stringify({ directory, payload: { id: "evt_1", type, properties } })}\n\n`;

/** Time that a test owns: sleeps end when it passes their end. */
class ManualClock implements Clock {
	#now = 0;
	readonly sleeps: { until: number; wake: () => void }[] = [];
	onSleep: () => void = () => undefined;
	now = () => this.#now;
	async sleep(ms: number, signal?: AbortSignal): Promise<void> {
		if (signal?.aborted) return;
		await new Promise<void>((wake) => {
			this.sleeps.push({ until: this.#now + ms, wake });
			signal?.addEventListener("abort", () => wake(), { once: true });
			this.onSleep();
		});
	}
	advance(ms: number): void {
		this.#now += ms;
		for (const { until, wake } of this.sleeps) if (until <= this.#now) wake();
	}
}

const address = (url: string) => serverAddress(url, {});
const backoff = { baseMs: 1, capMs: 1 };

describe("the doorbell", () => {
	it("rings for any session when it connects, and then for each that something happened to", async () => {
		const url = await serve((_, response) => {
			response.write(frame("server.connected") + frame("message.part.delta", { sessionID: "ses_a" }));
			response.write(frame("message.updated", { sessionID: "ses_a" }).slice(0, 20));
			response.write(frame("message.updated", { sessionID: "ses_a" }).slice(20) + frame("lsp.updated"));
			response.write(frame("session.idle", { sessionID: "ses_b" }));
		});
		const leave = new AbortController();
		const rings: Ring[] = [];
		for await (const ring of new OpencodeServer(address(url)).rings(leave.signal)) {
			rings.push(ring);
			if (ring.session_id === "ses_b") leave.abort();
		}
		expect(rings).toEqual([
			{ settled: false },
			{ session_id: "ses_a", directory: "/project", settled: false },
			{ session_id: "ses_b", directory: "/project", settled: true },
		]);
	});

	it("connects again after the stream ended, was refused or was cut, and rings for what it did not hear", async () => {
		let calls = 0;
		const url = await serve((_, response) => {
			calls++;
			if (calls === 1) response.writeHead(401).end();
			else if (calls === 2) response.socket?.destroy();
			else if (calls < 5) response.end(frame("server.connected"));
			else response.write(frame("server.connected"));
		});
		const doorbell = new OpencodeServer(address(url), { backoff });
		let rings = 0;
		for await (const ring of doorbell.rings(new AbortController().signal)) {
			expect(ring).toEqual({ settled: false });
			if (++rings >= 1 && calls === 5) break;
		}
		expect(calls).toBe(5);
		expect(doorbell.connected).toBe(false);
	});

	it("takes a server that is silent for 30 s for gone", async () => {
		let calls = 0;
		const url = await serve((_, response) => {
			calls++;
			response.writeHead(200, { "content-type": "text/event-stream" }).flushHeaders();
		});
		const clock = new ManualClock();
		const doorbell = new OpencodeServer(address(url), { clock, backoff });
		let rings = 0;
		for await (const _ of doorbell.rings(new AbortController().signal)) {
			if (++rings === 2) break;
			clock.onSleep = () => setImmediate(() => clock.advance(2));
			clock.advance(29_999);
			expect(doorbell.connected).toBe(true);
			clock.advance(2);
		}
		expect(calls).toBe(2);
	});

	it("says why it is not connected, without credentials", async () => {
		const url = await serve((_, response) => response.writeHead(401).end());
		const clock = new ManualClock();
		const doorbell = new OpencodeServer(address(url.replace("://", "://me:secret@")), { clock });
		const leave = new AbortController();
		const rings = doorbell.rings(leave.signal)[Symbol.asyncIterator]();
		const first = rings.next();
		await new Promise<void>((resolve) => {
			clock.onSleep = () => doorbell.problem && resolve();
		});
		expect(doorbell.problem).toMatch(
			/^OpenCode's server answered 401: it does not let us in. Set OPENCODE_SERVER_PASSWORD/,
		);
		expect(doorbell.problem).not.toContain("secret");
		leave.abort();
		expect(await first).toEqual({ done: true, value: undefined });
	});
});

it("rings that wait are merged by session", async () => {
	const box = new RingBox();
	box.add({ session_id: "ses_a", settled: true });
	box.add({ session_id: "ses_b", settled: false });
	box.add({ session_id: "ses_a", settled: false });
	box.close();
	const heard: Ring[] = [];
	for await (const ring of box.heard()) heard.push(ring);
	expect(heard).toEqual([
		{ session_id: "ses_a", settled: true },
		{ session_id: "ses_b", settled: false },
	]);
});

it("a frame that cannot be read rings for any session", () => {
	expect(ringOf(frameOf("{"))).toEqual({ settled: false });
	expect(ringOf(frameOf("null"))).toBeUndefined();
	expect(ringOf(frameOf(`{"x":"${"x".repeat(2_000_000)}"}`))).toEqual({ settled: false });
});

describe("the address of a server", () => {
	it("takes its credentials from the address, else from OpenCode's environment", () => {
		const env = { OPENCODE_SERVER_PASSWORD: "password-of-an-opencode-1" };
		expect(serverAddress("http://u:q@host:1/base/", env).headers.authorization).toBe(`Basic ${btoa("u:q")}`);
		expect(serverAddress("http://host", env).headers.authorization).toBe(
			`Basic ${btoa("opencode:password-of-an-opencode-1")}`,
		);
		expect(serverAddress("http://host", {}).headers).toEqual({});
		expect(endpoint(serverAddress("http://u:q@host:1/base/", env), "/a", { b: "c d" }).href).toBe(
			"http://host:1/base/a?b=c+d",
		);
	});

	it("is refused when it is none, without being repeated", () => {
		for (const given of ["localhost:4096", "ftp://user:secret@host", "x"])
			expect(() => serverAddress(given, {})).toThrow(/^The address of OpenCode's server is not/);
	});
});

describe("what only the API tells", () => {
	const secretModel = {
		id: "m",
		providerID: "p",
		name: "M",
		limit: { context: 1 },
		options: { apiKey: "secret" },
		headers: { authorization: "secret" },
		api: { url: "https://secret.internal" },
		variants: { high: { apiKey: "secret" } },
		futureMember: "secret",
	};

	it("is the diff and the models, of these the safe members only, asked for once", async () => {
		const asked: string[] = [];
		const url = await serve((request, response) => {
			asked.push(request.url ?? "");
			if (request.url?.startsWith("/session/ses_a/diff")) response.end('[{"file":"a","additions":1}]');
			else response.end(JSON.stringify({ providers: [{ id: "p", key: "secret", models: { m: secretModel } }] }));
		});
		const extras = new ServerExtras(address(url));
		const models = [
			{ providerID: "p", modelID: "m" },
			{ providerID: "p", modelID: "m" },
			{ providerID: "gone", modelID: "x" },
		];
		for (let times = 0; times < 2; times++)
			expect(await extras.extras("ses_a", "/a project", { models })).toEqual([
				{
					event_id: null,
					seq: null,
					type: "session_diff",
					key: "session_diff",
					payload: '[{"additions":1,"file":"a"}]',
				},
				{
					event_id: null,
					seq: null,
					type: "model",
					key: "model",
					payload: '[{"id":"m","limit":{"context":1},"name":"M","providerID":"p"}]',
				},
			]);
		expect(asked.filter((path) => path.startsWith("/config/providers"))).toEqual([
			"/config/providers?directory=%2Fa+project",
		]);
	});

	it("is left out when it cannot be had", async () => {
		const url = await serve((request, response) => {
			if (request.url?.startsWith("/session/ses_a/diff")) response.writeHead(500).end("no");
			else response.end('{"id":"ses_a"}');
		});
		const extras = new ServerExtras(address(url));
		expect(await extras.extras("ses_a", "/project")).toEqual([]);
		const nowhere = new ServerExtras(address("http://127.0.0.1:9"));
		expect(await nowhere.extras("ses_a", "/project", { signal: AbortSignal.timeout(5000) })).toEqual([]);
	});
});
