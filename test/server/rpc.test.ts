import { randomBytes } from "node:crypto";
import { MessageChannel } from "node:worker_threads";
import { newMessagePortRpcSession } from "capnweb";
import { afterEach, beforeEach, expect, test } from "vitest";
import { systemClock } from "../../src/model/clock.ts";
import { silent } from "../../src/model/logger.ts";
import type { ShareRpc } from "../../src/protocol/rpc.ts";
import { Connection } from "../../src/server/connection.ts";
import { Hub } from "../../src/server/hub.ts";
import { Redactor } from "../../src/server/redact.ts";
import { Api } from "../../src/server/rpc.ts";
import { makeShare, refusal, Viewer } from "./client.ts";
import { startRules } from "./rules.ts";

let rules: Awaited<ReturnType<typeof startRules>>;
let hub: Hub;
beforeEach(async () => {
	rules = await startRules({ sealedOps: 4, ledgerOps: 8 });
	hub = new Hub();
});
afterEach(() => rules.close());

/** A session with an Api whose hub the test can look into. */
function session() {
	const { port1, port2 } = new MessageChannel();
	const connection = new Connection("socket", new Redactor(silent, randomBytes), () => undefined);
	const api = new Api({ rules: rules.share, hub, clock: systemClock }, connection);
	newMessagePortRpcSession(port1 as unknown as InstanceType<typeof globalThis.MessagePort>, api);
	return newMessagePortRpcSession<ShareRpc>(port2 as unknown as InstanceType<typeof globalThis.MessagePort>);
}

test("a viewer whose connection ends is forgotten, with all its subscriptions", async () => {
	const api = session();
	const grant = await makeShare(api);
	const view = await api.viewShare(grant.slug);
	await view.watch(new Viewer(), 0);
	await view.watch(new Viewer(), 0);
	expect(hub.size).toBe(2);
	api[Symbol.dispose]();
	await expect.poll(() => hub.size).toBe(0);
});

test("letting go of a subscription ends it", async () => {
	const api = session();
	const grant = await makeShare(api);
	const view = await api.viewShare(grant.slug);
	const subscription = await view.watch(new Viewer(), 0);
	subscription[Symbol.dispose]();
	await expect.poll(() => hub.size).toBe(0);
	api[Symbol.dispose]();
});

test("a connection takes 32 subscriptions at once, and a further one when one has ended", async () => {
	const api = session();
	const grant = await makeShare(api);
	const view = await api.viewShare(grant.slug);
	const subscriptions = await Promise.all(Array.from({ length: 32 }, () => view.watch(new Viewer(), 0)));
	expect(await refusal(view.watch(new Viewer(), 0))).toEqual({ code: "busy", details: {}, retry_after_ms: 1000 });
	await subscriptions[0]?.cancel();
	await view.watch(new Viewer(), 0);
	expect(hub.size).toBe(32);
	api[Symbol.dispose]();
	await expect.poll(() => hub.size).toBe(0);
});
