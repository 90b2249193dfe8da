import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { batchOf, type Client, connect, type Draft, openShare } from "./client.ts";
import { type NodeHost, startHost } from "./host.ts";

let host: NodeHost;
let client: Client;
beforeAll(async () => {
	host = await startHost();
	client = await connect(host.url);
});
afterAll(async () => {
	await client.close();
	await host.close();
});

const draft = (type: Draft["type"], key: string, data: unknown) =>
	({ type, key, payload: JSON.stringify(data) }) as Draft;

const SESSION: Draft[] = [
	draft("part", "part/msg_2/prt_3", { id: "prt_3", messageID: "msg_2", type: "text", text: "two" }),
	draft("message", "message/msg_2", { id: "msg_2", sessionID: "ses_1", role: "assistant" }),
	draft("todo", "todo", [{ content: "a thing to do" }]),
	draft("message", "message/msg_1", { id: "msg_1", sessionID: "ses_1", role: "user" }),
	draft("model", "model", [{ id: "scripted" }]),
	draft("session", "session", { id: "ses_1", title: "<script>alert(1)</script>" }),
	draft("part", "part/msg_1/prt_2", { id: "prt_2", messageID: "msg_1", type: "text", text: "gone" }),
	draft("part", "part/msg_1/prt_1", { id: "prt_1", messageID: "msg_1", type: "text", text: "one" }),
	draft("part_removed", "part/msg_1/prt_2", {}),
	draft("session_diff", "session_diff", []),
];

async function shared(drafts = SESSION) {
	const { grant, share } = await openShare(client);
	await share.appendOps(batchOf(0, drafts));
	return { grant, share, data: `${host.url}/api/share/${grant.slug}/data` };
}

describe("what OpenCode imports", () => {
	test("is a list of the session, its messages, its parts and the rest, in this order", async () => {
		const { data } = await shared();
		const response = await fetch(data);
		expect(response.headers.get("content-type")).toMatch(/^application\/json/);
		expect(response.headers.get("cache-control")).toBe("no-store");
		const items = (await response.json()) as { type: string; data: { id?: string } }[];
		expect(items.map((item) => [item.type, item.data.id])).toEqual([
			["session", "ses_1"],
			["message", "msg_1"],
			["message", "msg_2"],
			["part", "prt_1"],
			["part", "prt_3"],
			["session_diff", undefined],
			["model", undefined],
			["todo", undefined],
		]);
		expect(items.slice(-2).map((item) => item.data)).toEqual([[{ id: "scripted" }], [{ content: "a thing to do" }]]);
		expect(items[3]?.data).toEqual({ id: "prt_1", messageID: "msg_1", type: "text", text: "one" });
	});

	test("tells a single model as a list", async () => {
		const { data } = await shared([draft("model", "model", { id: "scripted" })]);
		expect(await (await fetch(data)).json()).toEqual([{ type: "model", data: [{ id: "scripted" }] }]);
	});

	test("of an empty share is an empty list", async () => {
		const { data } = await shared([draft("message_removed", "message/msg_1", {})]);
		expect(await (await fetch(data)).json()).toEqual([]);
	});

	test("is 404 for an unknown share and 410 for a deleted one", async () => {
		const { share, data, grant } = await shared();
		await share.deleteShare();
		for (const url of [data, grant.url]) {
			const response = await fetch(url);
			expect([response.status, await response.json()]).toEqual([410, { error: "revoked" }]);
		}
		for (const path of ["/api/share/a-slug-nobody-has-01/data", "/share/a-slug-nobody-has-01", "/share/%00"]) {
			const response = await fetch(host.url + path);
			expect([response.status, await response.json()]).toEqual([404, { error: "not_found" }]);
		}
	});

	test("breaks off when the share is deleted under it, so that half is not taken for the whole", async () => {
		const large = Array.from({ length: 40 }, (_, index) =>
			draft("message", `message/msg_${index}`, { id: `msg_${index}`, text: "x".repeat(20_000) }),
		);
		const { share, data } = await shared();
		for (let round = 0; round < 20; round++)
			await share.appendOps(
				batchOf(
					SESSION.length + round * large.length,
					large.map((one) => ({ ...one, key: `${one.key}_${round}` })),
				),
			);
		const response = await fetch(data);
		const reader = response.body?.getReader();
		await reader?.read();
		await share.deleteShare();
		const drain = async () => {
			while (reader && !(await reader.read()).done);
		};
		await expect(drain()).rejects.toThrow();
	});
});

describe("plain HTTP", () => {
	test("tells health and version", async () => {
		const response = await fetch(`${host.url}/health`);
		expect(await response.json()).toEqual({ status: "ok", version: expect.stringMatching(/^\d+\.\d+\.\d+/) });
	});

	test.each([
		["PUT", "/rpc", "POST"],
		["GET", "/rpc", "POST"],
		["POST", "/", "GET, HEAD"],
		["DELETE", "/health", "GET, HEAD"],
		["POST", "/share/a-slug-nobody-has-01", "GET, HEAD"],
		["DELETE", "/api/share/a-slug-nobody-has-01/data", "GET, HEAD"],
	])("%s %s is 405", async (method, path, allow) => {
		const response = await fetch(host.url + path, { method });
		expect([response.status, response.headers.get("allow")]).toEqual([405, allow]);
	});

	test("bears its security headers on every answer", async () => {
		const { grant } = await shared();
		for (const path of ["/", "/health", "/nope", "/rpc", `/share/${grant.slug}`, `/api/share/${grant.slug}/data`]) {
			const { headers, body } = await fetch(host.url + path);
			await body?.cancel();
			expect(headers.get("x-content-type-options")).toBe("nosniff");
			expect(headers.get("referrer-policy")).toBe("no-referrer");
			expect(headers.get("content-security-policy")).toContain("default-src 'none'");
			expect(headers.get("cache-control")).toBe("no-store");
		}
	});
});
