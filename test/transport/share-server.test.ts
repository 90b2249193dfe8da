import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { systemClock } from "../../src/model/clock.ts";
import { silent } from "../../src/model/logger.ts";
import { ShareRefusal } from "../../src/protocol/refusal.ts";
import { startShareServer } from "../../src/server/node.ts";
import { capnwebTransport } from "../../src/transport/capnweb.ts";
import type { Connection, TransportKind } from "../../src/transport/transport.ts";
import { discard } from "../evidence/folder.ts";
import { recorded, secret } from "../evidence/record.ts";
import { type FaultProxy, startProxy } from "../fixture/proxy.ts";
import { rotation } from "../server/client.ts";
import { batchOf, failureOf, goneOf, KINDS } from "./lab.ts";

const SERVER_KEY = "k".repeat(43);
const CREATE = { session_id: "ses_1", create_key: "c".repeat(43) };

interface Site {
	readonly connection: Connection;
	readonly proxy: FaultProxy;
	connect(): Promise<Connection>;
	stop(): Promise<void>;
}

async function openSite(kind: TransportKind): Promise<Site> {
	const folder = mkdtempSync(join(tmpdir(), "outbox-transport-"));
	const databasePath = join(folder, "share.db");
	secret("server key", SERVER_KEY);
	secret("create key", CREATE.create_key);
	const server = await startShareServer({ databasePath, serverKeys: [SERVER_KEY], port: 0, logger: recorded(silent) });
	const proxy = await startProxy({ targetPort: server.port });
	proxy.faults.refuseUpgrades = kind === "http-batch";
	const connect = async () => {
		const transport = capnwebTransport({ url: proxy.url, clock: systemClock });
		const connection = await transport.connect(new AbortController().signal);
		onTestFinished(() => connection.close());
		expect(connection.kind).toBe(kind);
		return connection;
	};
	onTestFinished(async () => {
		await proxy.close();
		await server.close(0);
		discard(folder);
	});
	return { connection: await connect(), proxy, connect, stop: () => server.close(0) };
}

/** The transport and the real share server, together. */
describe.each(KINDS)("over %s, the share server", (kind) => {
	test("makes a share, takes its ops once, and tells its digests", async () => {
		const { connection } = await openSite(kind);
		const grant = await connection.createShare(SERVER_KEY, CREATE);
		secret("share secret", grant.secret);
		expect(await connection.createShare(SERVER_KEY, CREATE)).toEqual(grant);
		const share = await connection.redeem(grant.share_id, grant.secret);
		expect(share.redemption).toMatchObject({ share_id: grant.share_id, cursor: 0, capability_epoch: 1 });
		const batch = batchOf(["a", "b"]);
		expect(await share.appendOps(batch)).toMatchObject({ cursor: 2, applied: ["a", "b"] });
		expect(await share.appendOps(batch)).toMatchObject({ cursor: 2, applied: [], duplicates: ["a", "b"] });
		expect((await share.appendOps(batchOf(["x", "y"], 7))).rejected.map((op) => op.code)).toContain("cursor_gap");
		expect((await share.entityDigests()).entities).toHaveLength(2);
	});

	test("refuses with its own codes", async () => {
		const { connection } = await openSite(kind);
		expect(await failureOf(connection.createShare("w".repeat(43), CREATE))).toMatchObject({ code: "denied" });
		expect(await failureOf(connection.redeem("nowhere", "s".repeat(43)))).toMatchObject({ code: "not_found" });
		const grant = await connection.createShare(SERVER_KEY, CREATE);
		secret("share secret", grant.secret);
		expect(await failureOf(connection.redeem(grant.share_id, "s".repeat(43)))).toMatchObject({ code: "denied" });
		const share = await connection.redeem(grant.share_id, grant.secret);
		const renewed = await share.revokeCapability({ rotate_secret: false, rotate_slug: false });
		expect(renewed.capability_epoch).toBeGreaterThan(1);
		const stale = await failureOf(share.appendOps(batchOf(["a"])));
		expect(stale).toMatchObject({ code: "stale_epoch", details: { capability_epoch: renewed.capability_epoch } });
		await (await connection.redeem(grant.share_id, grant.secret)).deleteShare();
		expect(await failureOf(connection.redeem(grant.share_id, grant.secret))).toMatchObject({ code: "revoked" });
	});

	test("has applied a batch whose reply was lost, and knows it again on the next connection", async () => {
		const { connection, proxy, connect } = await openSite(kind);
		const grant = await connection.createShare(SERVER_KEY, CREATE);
		secret("share secret", grant.secret);
		const share = await connection.redeem(grant.share_id, grant.secret);
		const lost = proxy.loseNextReply();
		await Promise.all([lost, failureOf(share.appendOps(batchOf(["a"])))]);
		const again = await (await connect()).redeem(grant.share_id, grant.secret);
		expect(again.redemption).toMatchObject({ cursor: 1, last_op_id: "a" });
		expect(await again.appendOps(batchOf(["a"]))).toMatchObject({ cursor: 1, duplicates: ["a"] });
	});
});

/** A client that keeps the secret that it rotates to before it asks loses nothing with the reply. */
describe.each(KINDS)("over %s, a rotation of the secret", (kind) => {
	test("whose reply was lost is known by its secret, and ends with the same one when asked for again", async () => {
		const { connection, proxy, connect } = await openSite(kind);
		const grant = await connection.createShare(SERVER_KEY, CREATE);
		const share = await connection.redeem(grant.share_id, grant.secret);
		const request = rotation(true);
		const lost = proxy.loseNextReply();
		const [, failure] = await Promise.all([lost, failureOf(share.revokeCapability(request))]);
		expect(failure).not.toBeInstanceOf(ShareRefusal);
		const next = await connect();
		expect(await failureOf(next.redeem(grant.share_id, grant.secret))).toMatchObject({ code: "denied" });
		const again = await next.redeem(grant.share_id, request.next_secret);
		expect(again.redemption.capability_epoch).toBeGreaterThan(grant.capability_epoch);
		expect(await again.revokeCapability(request)).toMatchObject({ secret: request.next_secret });
		await next.redeem(grant.share_id, request.next_secret);
	});

	test("that never arrived leaves the old secret, with which it is asked for again", async () => {
		const { connection, proxy, connect } = await openSite(kind);
		const grant = await connection.createShare(SERVER_KEY, CREATE);
		const share = await connection.redeem(grant.share_id, grant.secret);
		const request = rotation();
		proxy.dropConnections();
		proxy.faults.refuse = true;
		await failureOf(share.revokeCapability(request));
		proxy.faults.refuse = false;
		const next = await connect();
		expect(await failureOf(next.redeem(grant.share_id, request.next_secret))).toMatchObject({ code: "denied" });
		const again = await next.redeem(grant.share_id, grant.secret);
		expect(await again.revokeCapability(request)).toMatchObject({ secret: request.next_secret });
	});
});

test("a share server that stops closes its WebSockets", async () => {
	const { connection, stop } = await openSite("websocket");
	const gone = goneOf(connection);
	await stop();
	expect((await gone).message).toBe("the server closed the WebSocket (1001)");
});
