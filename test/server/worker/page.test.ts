import { afterAll, beforeAll, expect, test } from "vitest";
import { session } from "../../page/payloads.ts";
import { batchOf, type Client, connect, openShare } from "../client.ts";
import { startWorker, type WorkerHost } from "./host.ts";

let host: WorkerHost;
let client: Client;
beforeAll(async () => {
	host = await startWorker();
	client = await connect(host.url);
});
afterAll(async () => {
	await client.close();
	await host.close();
});

test("a share's page and the list come with their scripts, which the Worker bears", async () => {
	const { grant, share } = await openShare(client);
	await share.appendOps(batchOf(0, [session()]));
	for (const [url, name] of [
		[grant.url, "share"],
		[`${host.url}/`, "list"],
	] as const) {
		const response = await fetch(url);
		expect(response.headers.get("content-security-policy")).toContain("script-src 'self'");
		const html = await response.text();
		const [, src = ""] = /<script type="module" src="(\/assets\/[^"]+)"><\/script>/.exec(html) ?? [];
		expect(src).toMatch(new RegExp(`^/assets/${name}-`));
		const script = await fetch(host.url + src);
		expect(script.headers.get("content-type")).toBe("text/javascript; charset=utf-8");
		expect((await script.text()).length).toBeGreaterThan(10_000);
	}
});
