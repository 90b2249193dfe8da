import { request } from "node:http";
import { expect, onTestFinished, test } from "vitest";
import { type Endpoint, startEndpoint } from "../../src/metrics/endpoint.ts";
import { silent } from "../../src/model/logger.ts";
import { recordingLogger } from "../server/host.ts";

async function endpoint(collect: () => Promise<string>, log = silent): Promise<Endpoint> {
	const started = await startEndpoint({ port: 0, type: "text/plain; version=0.0.4", log }, collect);
	onTestFinished(() => started.close());
	return started;
}

function ask(url: string, headers: Record<string, string>): Promise<number | undefined> {
	return new Promise((resolve, reject) => {
		const asking = request(url, { headers }, (response) => {
			response.resume();
			resolve(response.statusCode);
		});
		asking.on("error", reject).end();
	});
}

test("it answers GET and HEAD of /metrics on loopback, and nothing else", async () => {
	const { url } = await endpoint(async () => "up 1\n");
	expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/metrics$/);
	const answer = await fetch(`${url}?a=b`);
	expect([answer.status, answer.headers.get("content-type"), await answer.text()]).toEqual([
		...[200, "text/plain; version=0.0.4", "up 1\n"],
	]);
	expect(await (await fetch(url, { method: "HEAD" })).text()).toBe("");
	expect((await fetch(url, { method: "POST", body: "a" })).status).toBe(405);
	for (const path of ["/", "/metrics/", "/share/x", "/rpc"]) expect((await fetch(new URL(path, url))).status).toBe(404);
});

test("a page whose name leads to loopback is told nothing", async () => {
	const { url } = await endpoint(async () => "up 1\n");
	for (const host of ["example.com", "127.0.0.1.example.com", "localhost.example.com:80"])
		expect(await ask(url, { host })).toBe(403);
	for (const host of ["localhost:9464", "127.0.0.1", "[::1]:1"]) expect(await ask(url, { host })).toBe(200);
});

test("what goes wrong is logged and not told, and the next scrape is tried anew", async () => {
	const log = recordingLogger();
	let calls = 0;
	const { url } = await endpoint(async () => {
		if (++calls === 1) throw new Error("a secret of s3cr3t");
		return "up 1\n";
	}, log);
	const answer = await fetch(url);
	expect([answer.status, await answer.text()]).toEqual([500, expect.not.stringContaining("s3cr3t")]);
	expect(log.lines.some(({ level, facts }) => level === "warn" && facts.err === "a secret of s3cr3t")).toBe(true);
	expect((await fetch(url)).status).toBe(200);
});

test("many who ask at once cost one collection", async () => {
	let calls = 0;
	const { url } = await endpoint(async () => `${++calls}\n`);
	const answers = await Promise.all(Array.from({ length: 10 }, async () => (await fetch(url)).text()));
	expect(new Set(answers)).toEqual(new Set(["1\n"]));
});

test("a port that is taken is told, with the setting to change", async () => {
	const { url } = await endpoint(async () => "");
	const port = Number(new URL(url).port);
	const second = startEndpoint({ port, type: "text/plain", log: silent }, async () => "");
	await expect(second).rejects.toMatchObject({ code: "port_taken", message: expect.stringContaining(`${port}`) });
	await expect(second).rejects.toMatchObject({ hint: expect.stringContaining("--metrics-port") });
});
