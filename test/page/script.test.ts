import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { builtScripts } from "../../src/server/asset-files.ts";
import { batchOf, type Client, connect, openShare } from "../server/client.ts";
import { type NodeHost, startHost } from "../server/host.ts";
import { session } from "./payloads.ts";

/** Bytes of each script on its way to a browser, gzipped: some 98,000 and 20,000. Markdown and capnweb are most of them. */
const BYTES_MAX = { share: 105_000, list: 25_000 };

const SCRIPTS = builtScripts();

describe("the pages' scripts", () => {
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

	it.each(["share", "list"] as const)("are built (npm run bundle), and stay small: %s", (name) => {
		const bytes = gzipSync(SCRIPTS[name] ?? "").length;
		expect(bytes).toBeGreaterThan(1000);
		expect(bytes).toBeLessThan(BYTES_MAX[name]);
	});

	it("make no code of text", () => {
		for (const script of Object.values(SCRIPTS)) expect(script).not.toMatch(/\beval\(|new Function\(|document\.write/);
	});

	it("are what the pages load, under a name for each content", async () => {
		const { grant, share } = await openShare(client);
		await share.appendOps(batchOf(0, [session()]));
		for (const [url, name] of [
			[grant.url, "share"],
			[host.url, "list"],
		] as const) {
			const page = await (await fetch(url)).text();
			const [, src = ""] = /<script type="module" src="(\/assets\/[^"]+)"><\/script>/.exec(page) ?? [];
			expect(src).toMatch(new RegExp(`^/assets/${name}-`));
			expect(page.match(/<script/g)?.length).toBe(1);
			const { status, headers, body } = await fetch(host.url + src);
			await body?.cancel();
			expect(status).toBe(200);
			expect(headers.get("content-type")).toBe("text/javascript; charset=utf-8");
			expect(headers.get("cache-control")).toBe("public, max-age=31536000, immutable");
			expect(headers.get("x-content-type-options")).toBe("nosniff");
			expect(headers.get("content-encoding")).toBe("gzip");
		}
	});
});
