import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { WebSocket } from "ws";
import { systemClock } from "../../src/model/clock.ts";
import { silent } from "../../src/model/logger.ts";
import { startShareServer } from "../../src/server/node.ts";
import { batchOf, connect, makeShare, openShare, SERVER_KEY } from "./client.ts";
import { startHost } from "./host.ts";

let folder: string;
beforeEach(() => {
	folder = mkdtempSync(join(tmpdir(), "share-node-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

test("a port that is taken is told as port_taken", async () => {
	const host = await startHost();
	const { port } = host;
	await expect(startHost({ port })).rejects.toMatchObject({ code: "port_taken", exitCode: 69, message: /\d/ });
	await host.close();
});

test("a file that is not a share database is refused and left as it is", async () => {
	const databasePath = join(folder, "notes.txt");
	writeFileSync(databasePath, "not a database, and long enough to look like one ".repeat(50));
	const before = readFileSync(databasePath);
	const starting = startShareServer({ databasePath, serverKeys: [SERVER_KEY], port: 0, logger: silent });
	await expect(starting).rejects.toMatchObject({ code: "foreign_database" });
	expect(readFileSync(databasePath).equals(before)).toBe(true);
});

test("its file is its user's alone", async () => {
	const host = await startHost();
	expect(statSync(host.databasePath).mode & 0o777).toBe(0o600);
	await host.close();
});

test("links bear the public url", async () => {
	const host = await startHost({ publicUrl: "https://share.example/" });
	const client = await connect(host.url);
	const grant = await makeShare(client.api);
	expect(grant.url).toBe(`https://share.example/share/${grant.slug}`);
	await client.close();
	await host.close();
});

test("lower limits are told, and hold", async () => {
	const host = await startHost({ limits: { op_bytes: 10 } });
	const client = await connect(host.url);
	const { share } = await openShare(client);
	expect((await share.redemption()).limits.op_bytes).toBe(10);
	const ack = await share.appendOps(batchOf(0, [{ payload: '"12345678"' }, { payload: '"123456789"' }]));
	expect(ack).toMatchObject({ cursor: 1, rejected: [{ op_id: "op-1", code: "too_large" }] });
	await client.close();
	await host.close();
});

test("closing tells every WebSocket that the server goes, and takes nothing new", async () => {
	const host = await startHost();
	const client = await connect(host.url);
	const closed = once(client.socket, "close");
	const closing = host.stop();
	expect((await closed)[0]).toBe(1001);
	await closing;
	await host.stop();
	await expect(fetch(`${host.url}/health`)).rejects.toThrow();
	await host.close();
});

/** A POST of an empty batch, of which the head has been sent and the body has not. */
async function beginPost(url: string) {
	const asking = request(`${url}/rpc`, { method: "POST", headers: { "content-length": 1, expect: "100-continue" } });
	const answered = once(asking, "response");
	answered.catch(() => undefined);
	asking.flushHeaders();
	await once(asking, "continue");
	return { asking, answered };
}

test("closing lets a call under way finish", async () => {
	const host = await startHost();
	const { asking, answered } = await beginPost(host.url);
	const closing = host.stop(5000);
	asking.end("\n");
	const [response] = await answered;
	expect(response.statusCode).toBe(400);
	response.resume();
	await closing;
	await host.close();
});

test("closing waits no longer than its grace", async () => {
	const host = await startHost();
	const { answered } = await beginPost(host.url);
	await host.stop(1);
	await expect(answered).rejects.toThrow();
	await host.close();
});

test("a peer that answers no ping is let go, one that does is kept", async () => {
	const beats: (() => void)[] = [];
	const asked: (() => void)[] = [];
	const clock = {
		now: () => Date.now(),
		sleep(ms: number, signal?: AbortSignal) {
			if (ms !== 30_000) return systemClock.sleep(ms, signal);
			return new Promise<void>((resolve) => {
				signal?.addEventListener("abort", () => resolve());
				beats.push(resolve);
				asked.shift()?.();
			});
		},
	};
	const beat = async () => {
		const next = new Promise<void>((resolve) => asked.push(resolve));
		beats.shift()?.();
		await next;
	};
	const host = await startHost({ clock });
	const live = await connect(host.url);
	const dead = new WebSocket(`${host.url.replace("http", "ws")}/rpc`, { autoPong: false });
	await once(dead, "open");
	const closed = once(dead, "close");
	const pinged = once(live.socket, "ping");
	await beat();
	await pinged;
	// The answer to the ping is sent before this call, so it has arrived when the call is answered.
	await makeShare(live.api);
	await beat();
	expect((await closed)[0]).toBe(1006);
	expect(await makeShare(live.api)).toMatchObject({ capability_epoch: 1 });
	await live.close();
	await host.close();
});
