import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import Database from "better-sqlite3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { systemClock } from "../../../src/model/clock.ts";
import type { Env } from "../../../src/server/worker/env.ts";
import { operate } from "../../../src/server/worker/operator.ts";
import { capnwebTransport } from "../../../src/transport/capnweb.ts";
import {
	batchOf,
	type Client,
	connect,
	createKey,
	makeShare,
	openShare,
	plain,
	refusal,
	SERVER_KEY,
	Viewer,
} from "../client.ts";
import { OPERATOR_KEY, startWorker, type WorkerHost } from "./host.ts";

/** The runtime evicts an object that nobody has called for ten seconds; looking would be calling. */
const EVICTION_MS = 13_000;

let host: WorkerHost;
let client: Client;
beforeAll(async () => {
	host = await startWorker({ isProbed: true });
	client = await connect(host.url);
});
afterAll(async () => {
	await client.close();
	await host.close();
});

const share = (id: string, method: string, ...args: unknown[]) => host.probe("SHARE", id, method, ...args);

/** Rows of an object's file, whatever its tables. */
function rowsIn(path: string): number {
	const database = new Database(path, { readonly: true });
	const tables = database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").pluck().all() as string[];
	const count = (table: string) => database.prepare(`SELECT count(*) FROM "${table}"`).pluck().get() as number;
	const rows = tables.reduce((sum, table) => sum + count(table), 0);
	database.close();
	return rows;
}

/** What is thrown when nobody has decided. */
async function unknown(call: PromiseLike<unknown>): Promise<void> {
	const { code } = await refusal(call);
	expect(code).toBeUndefined();
}

describe("an idle share", () => {
	test("has no object in memory while clients' sockets and watchers stay, and the sessions go on", async () => {
		const { grant, share: held } = await openShare(client);
		const other = await connect(host.url);
		const viewer = new Viewer();
		using _ = await (await other.api.viewShare(grant.slug)).watch(viewer, 0);
		await held.appendOps(batchOf(0, plain(1)));
		await viewer.until(() => viewer.cursor === 1);
		const instances = () =>
			Promise.all([share(grant.share_id, "instance"), host.probe("WATCH", grant.share_id, "instance")]);
		const before = await instances();
		await delay(EVICTION_MS);
		const after = await instances();
		expect(after.map((instance, index) => instance === before[index])).toEqual([false, false]);
		expect([client.socket.readyState, other.socket.readyState]).toEqual([1, 1]);
		expect(await held.appendOps(batchOf(1, plain(1)))).toMatchObject({ cursor: 2, applied: ["op-1"] });
		await viewer.until(() => viewer.cursor === 2);
		expect(viewer.seen.map(({ position }) => position)).toEqual([0, 1]);
		await other.close();
	});

	test("that was never made stores nothing, whoever asks for it", async () => {
		const before = new Set(host.files("SHARE"));
		await refusal(client.api.redeemShare(`shr_${"x".repeat(24)}`, createKey()));
		await refusal(client.api.viewShare("y".repeat(48)));
		// The runtime makes a file for whatever it is asked about.
		const fresh = host.files("SHARE").filter((path) => !before.has(path));
		expect(fresh.map(rowsIn)).toEqual(fresh.map(() => 0));
	});
});

describe("an object that is reset", () => {
	test.each(["before", "after"])(
		"%s the commit leaves one call unknown, and its session and the next call whole",
		async (when) => {
			const { grant, share: held } = await openShare(client);
			await held.appendOps(batchOf(0, plain(1)));
			await share(grant.share_id, "dieAt", when);
			const batch = batchOf(1, plain(2));
			await unknown(held.appendOps(batch));
			expect(await held.redemption()).toMatchObject({ cursor: when === "before" ? 1 : 3 });
			const ack = await held.appendOps(batch);
			expect(ack).toMatchObject({ cursor: 3, [when === "before" ? "applied" : "duplicates"]: ["op-1", "op-2"] });
		},
	);

	test("does not end what is watched: no gap, none twice", async () => {
		const { grant, share: held } = await openShare(client);
		const viewer = new Viewer();
		using _ = await held.watch(viewer, 0);
		const size = 20;
		for (let round = 0; round < 4; round++) {
			await held.appendOps(batchOf(round * size, plain(size)));
			const [binding, id] =
				round % 2 === 0 ? (["WATCH", grant.share_id] as const) : (["SHARE", grant.share_id] as const);
			await host.probe(binding, id, "die").catch(() => undefined);
		}
		await held.appendOps(batchOf(4 * size, plain(size)));
		await viewer.until(() => viewer.cursor === 5 * size);
		expect(viewer.seen.map(({ position }) => position)).toEqual(Array.from({ length: 5 * size }, (_, index) => index));
	});
});

describe("a session", () => {
	test.each([
		["calls", { SESSION_CALLS: "3" }],
		["age", { SESSION_SECONDS: "1" }],
	])("that has reached its cap of %s is closed, and its client connects anew", async (_, env) => {
		const capped = await startWorker({ env });
		const transport = capnwebTransport({ url: capped.url, clock: systemClock });
		const { signal } = new AbortController();
		const connection = await transport.connect(signal);
		const grant = await connection.createShare(SERVER_KEY, { session_id: "ses_1", create_key: createKey() });
		const held = await connection.redeem(grant.share_id, grant.secret);
		let cursor = 0;
		let last = batchOf(cursor, plain(1));
		while (!connection.closed.aborted && cursor < 100) {
			last = batchOf(cursor, plain(1));
			const ack = await held.appendOps(last).catch(() => undefined);
			cursor = ack?.cursor ?? cursor;
			if ("SESSION_SECONDS" in env) await once(connection.closed, "abort");
			else await delay(100);
		}
		expect(String(connection.closed.reason)).toContain("1012");
		const anew = await transport.connect(signal);
		const again = await anew.redeem(grant.share_id, grant.secret);
		// What was under way as it was closed may have been applied, and its reply lost; the same bytes again have one effect.
		expect([cursor, cursor + 1]).toContain(again.redemption.cursor);
		expect((await again.appendOps(last)).cursor).toBe((last.ops[0]?.expected_cursor ?? 0) + 1);
		anew.close();
		await capped.close();
	});
});

describe("a share that is restored", () => {
	const ask = async (body: object | string, key = OPERATOR_KEY) => {
		const response = await fetch(`${host.url}/operator/restore`, {
			method: "POST",
			headers: { authorization: `Bearer ${key}` },
			body: typeof body === "string" ? body : JSON.stringify(body),
		});
		return { status: response.status, json: (await response.json()) as Record<string, unknown> };
	};

	test("gets a new epoch, which fences what was out there; its cursor lies further back", async () => {
		const { grant, share: held } = await openShare(client);
		const { share_id } = grant;
		const viewer = new Viewer();
		using _ = await held.watch(viewer, 0);
		await held.appendOps(batchOf(0, plain(2)));
		await share(share_id, "save");
		await held.appendOps(batchOf(2, plain(3)));
		await share(share_id, "rewind").catch(() => undefined);
		const before = Date.now();
		const { status, json } = await ask({ share_id });
		expect(status).toBe(200);
		expect(json.capability_epoch).toBeGreaterThanOrEqual(before);
		await viewer.until(() => viewer.endings.length > 0);
		expect(await refusal(held.appendOps(batchOf(5, plain(1))))).toMatchObject({
			code: "stale_epoch",
			details: { capability_epoch: json.capability_epoch },
		});
		const anew = await client.api.redeemShare(share_id, grant.secret);
		expect(await anew.redemption()).toMatchObject({ cursor: 2, last_op_id: "op-1" });
		expect((await ask({ share_id })).json.capability_epoch).toBeGreaterThan(json.capability_epoch as number);
	});

	test("only by its operator, and only when there is such a share", async () => {
		const { share_id } = await makeShare(client.api);
		expect(await ask({ share_id }, SERVER_KEY)).toMatchObject({ status: 403 });
		expect(await ask({ share_id }, "")).toMatchObject({ status: 403 });
		expect(await ask({ share_id: `shr_${"x".repeat(24)}` })).toMatchObject({ status: 404 });
		for (const wrong of ["{", {}, { share_id: "shr_1" }, { share_id, to: -1 }, { share_id, more: 1 }])
			expect(await ask(wrong)).toMatchObject({ status: 400 });
	});

	test("by nobody where there is no operator's key, or one that could be guessed", async () => {
		const { share_id } = await makeShare(client.api);
		for (const key of [undefined, "", "short"]) {
			const request = new Request("http://share/operator/restore", {
				method: "POST",
				headers: { authorization: `Bearer ${key ?? ""}` },
				body: JSON.stringify({ share_id }),
			});
			const env = { ...(key === undefined ? {} : { OPERATOR_KEY: key }) } as Env;
			expect((await operate(request, "/operator/restore", env)).status).toBe(404);
		}
	});

	test("is told when the platform cannot", async () => {
		const { share_id } = await makeShare(client.api);
		const { status, json } = await ask({ share_id, to: Date.now() - 60_000 });
		expect([status, json.error]).toEqual([400, "invalid_request"]);
	});
});
