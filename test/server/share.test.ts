import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import { AUDIT_ROWS_MAX, ROWS_PER_LOOK, STRANGER_ROWS_MAX } from "../../src/server/audit.ts";
import type { Sqlite } from "../../src/sqlite/driver.ts";
import { batchOf, connect, createKey, makeShare, openShare, plain, refusal, rotation, SERVER_KEY } from "./client.ts";
import { shareContract } from "./contract.ts";
import { type NodeHost, startHost } from "./host.ts";
import { startRules } from "./rules.ts";

shareContract("Node", startHost);

describe("the share database", () => {
	let host: NodeHost;
	afterEach(() => host.close());

	test("holds no secret, create key or server key in clear, and a deleted share's content no more", async () => {
		host = await startHost();
		const client = await connect(host.url);
		const create_key = createKey();
		const grant = await makeShare(client.api, "ses_1", create_key);
		const share = await client.api.redeemShare(grant.share_id, grant.secret);
		const content = "a sentence that nobody else says";
		await share.appendOps(batchOf(0, [{ payload: JSON.stringify(content) }]));
		const rotated = await share.revokeCapability(rotation(true));
		expect(bytesOf(host)).toContain(content);
		for (const clear of [grant.secret, rotated.secret, create_key, SERVER_KEY])
			expect(bytesOf(host)).not.toContain(clear);
		const anew = await client.api.redeemShare(rotated.share_id, rotated.secret);
		await anew.deleteShare();
		await client.close();
		await host.stop();
		expect(bytesOf(host)).not.toContain(content);
	});

	test("is there again after a restart, with every cursor and entity", async () => {
		host = await startHost();
		const first = await connect(host.url);
		const { grant, share } = await openShare(first);
		await share.appendOps(batchOf(0, plain(5)));
		const before = [await share.redemption(), await share.entityDigests()];
		await first.close();
		await host.stop();
		const again = await startHost({ databasePath: host.databasePath });
		const second = await connect(again.url);
		const anew = await second.api.redeemShare(grant.share_id, grant.secret);
		expect([await anew.redemption(), await anew.entityDigests()]).toEqual(before);
		await second.close();
		await again.close();
	});

	test("records every grant, redemption, refusal, revocation and deletion", async () => {
		host = await startHost();
		const client = await connect(host.url);
		const { grant, share } = await openShare(client);
		await client.api.viewShare(grant.slug);
		await refusal(client.api.redeemShare(grant.share_id, "w".repeat(43)));
		await refusal(client.api.redeemShare("shr_unknown", grant.secret));
		await refusal(client.api.createShare("wrong", { session_id: "ses_1", create_key: createKey() }));
		await share.revokeCapability({ rotate_secret: false, rotate_slug: false });
		await refusal(share.appendOps(batchOf(0, plain(1))));
		const anew = await client.api.redeemShare(grant.share_id, grant.secret);
		await anew.deleteShare();
		await refusal(client.api.viewShare(grant.slug));
		await client.close();
		await host.stop();
		const id = grant.share_id;
		expect(await host.audit()).toEqual([
			["granted", "createShare", id, null],
			["redeemed", "redeemShare", id, null],
			["redeemed", "viewShare", id, null],
			["refused", "redeemShare", id, "denied"],
			["refused", "redeemShare", null, "not_found"],
			["refused", "createShare", null, "denied"],
			["revoked", "revokeCapability", id, null],
			["refused", "appendOps", id, "stale_epoch"],
			["redeemed", "redeemShare", id, null],
			["deleted", "deleteShare", id, null],
			["refused", "viewShare", null, "revoked"],
		]);
	});
});

describe("the audit log", () => {
	const flood = (sqlite: Sqlite, event: string, rows: number) =>
		sqlite.exec(`INSERT INTO audit (at, event, method) WITH RECURSIVE n(i) AS
			(SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${rows}) SELECT 0, '${event}', 'x' FROM n`);
	const counts = (sqlite: Sqlite) =>
		sqlite.prepare("SELECT event, count(*) AS rows FROM audit GROUP BY event ORDER BY event").all();

	test("keeps its newest rows of each kind and few more; refusals push out no grant", async () => {
		const rules = await startRules({ sealedOps: 4, ledgerOps: 8 });
		flood(rules.sqlite, "granted", AUDIT_ROWS_MAX + 500);
		flood(rules.sqlite, "refused", STRANGER_ROWS_MAX + 500);
		for (let row = 0; row < ROWS_PER_LOOK; row++)
			rules.share.createShare(SERVER_KEY, { session_id: "ses_1", create_key: createKey() });
		const [granted, refused] = counts(rules.sqlite) as { rows: number }[];
		expect(refused?.rows).toBe(STRANGER_ROWS_MAX);
		expect(granted?.rows).toBeGreaterThanOrEqual(AUDIT_ROWS_MAX);
		expect(granted?.rows).toBeLessThan(AUDIT_ROWS_MAX + ROWS_PER_LOOK);
		rules.close();
	});

	test("tells a flood of refusals and looks in one row each, with how often", async () => {
		const rules = await startRules({ sealedOps: 4, ledgerOps: 8 });
		const { slug } = rules.share.createShare(SERVER_KEY, { session_id: "ses_1", create_key: createKey() });
		const changes = () => rules.sqlite.prepare<{ n: number }>("SELECT total_changes() AS n").get()?.n;
		const refuse = () => expect(() => rules.share.redeemShare("shr_unknown", "s".repeat(43))).toThrow();
		refuse();
		rules.share.viewShare(slug);
		rules.share.settle();
		const before = changes();
		for (let call = 1; call < 1000; call++) {
			refuse();
			rules.share.viewShare(slug);
		}
		expect(changes()).toBe(before);
		rules.share.settle();
		const rows = rules.sqlite.prepare("SELECT event, method, times FROM audit ORDER BY id").all();
		expect(rows).toEqual([
			{ event: "granted", method: "createShare", times: 1 },
			{ event: "refused", method: "redeemShare", times: 1000 },
			{ event: "redeemed", method: "viewShare", times: 1000 },
		]);
		rules.close();
	});
});

/**
 * One thing that arrives: a batch of three, or the first ops of it, `back` batches before the one after the next, as
 * its client sealed it or with a stranger's ids.
 */
const arrival = fc.record({
	// Mostly the next one, so that shares grow beyond what a ledger remembers.
	back: fc.oneof({ arbitrary: fc.constant(1), weight: 3 }, { arbitrary: fc.nat(8), weight: 2 }),
	cut: fc.oneof({ arbitrary: fc.constant(0), weight: 2 }, { arbitrary: fc.nat(2), weight: 1 }),
	stranger: fc.oneof({ arbitrary: fc.constant(false), weight: 3 }, { arbitrary: fc.boolean(), weight: 1 }),
});

describe("the rules", () => {
	test("refuse by themselves what who only has the link may not do, whoever calls them", async () => {
		const rules = await startRules({ sealedOps: 4, ledgerOps: 8 });
		const { slug } = rules.share.createShare(SERVER_KEY, { session_id: "ses_1", create_key: createKey() });
		const viewer = rules.share.viewShare(slug);
		expect(() => rules.share.deleteShare(viewer)).toThrow("may only look");
		expect(() => rules.share.entityDigests(viewer)).toThrow("may only look");
		rules.share.redemption(viewer);
		rules.close();
	});

	test("let no share go that has changed since, though they note the time of a change once a minute", async () => {
		let now = 1_700_000_000_000;
		const rules = await startRules({ sealedOps: 4, ledgerOps: 8, now: () => now });
		const grant = rules.share.createShare(SERVER_KEY, { session_id: "ses_1", create_key: createKey() });
		const holder = rules.share.redeemShare(grant.share_id, grant.secret);
		const noted = () => rules.sqlite.prepare("SELECT changed_at FROM share").get();
		const appendAt = (position: number, ms: number) => {
			now += ms;
			rules.share.appendOps(holder, batchOf(position, plain(1)));
			return now;
		};
		const made = now;
		const changed = appendAt(0, 59_000);
		expect(noted()).toEqual({ changed_at: made });
		for (const since of [made, changed]) expect(rules.share.expire(since)).toBeUndefined();
		const later = appendAt(1, 2000);
		expect(noted()).toEqual({ changed_at: later });
		expect(rules.share.expire(later + 60_000)).toBeUndefined();
		expect(rules.share.expire(later + 60_001)).toBe(grant.share_id);
		rules.close();
	});

	test("know an id no more that lies below the floor, whether its row is still there or not", async () => {
		const rules = await startRules({ sealedOps: 4, ledgerOps: 8 });
		const grant = rules.share.createShare(SERVER_KEY, { session_id: "ses_1", create_key: createKey() });
		const holder = rules.share.redeemShare(grant.share_id, grant.secret);
		const send = (position: number, op_id: string) => rules.share.appendOps(holder, batchOf(position, [{ op_id }]));
		const held = () => rules.sqlite.prepare("SELECT position FROM ledger WHERE op_id = 'again'").all();
		send(0, "again");
		for (let position = 1; position < 9; position++) send(position, `op-${position}`);
		expect(held()).toEqual([{ position: 0 }]);
		expect(send(9, "again")).toMatchObject({ cursor: 10, applied: ["again"] });
		expect(held()).toEqual([{ position: 9 }]);
		expect(send(9, "again")).toMatchObject({ cursor: 10, duplicates: ["again"] });
		expect(rules.share.redemption(holder)).toMatchObject({ last_op_id: "again" });
		rules.close();
	});

	test("apply no op twice or out of order, however batches are repeated, reordered and mixed with strangers", async () => {
		await fc.assert(
			fc.asyncProperty(fc.array(arrival, { maxLength: 80, size: "max" }), async (arrivals) => {
				// A ledger of eight ops: old batches fall below its floor.
				const rules = await startRules({ sealedOps: 4, ledgerOps: 8 });
				try {
					const grant = rules.share.createShare(SERVER_KEY, { session_id: "ses_1", create_key: createKey() });
					const holder = rules.share.redeemShare(grant.share_id, grant.secret);
					const applied: string[] = [];
					for (const { back, cut, stranger } of arrivals) {
						const next = Math.floor(applied.length / 3);
						const first = 3 * Math.max(0, next + 1 - back);
						// A stranger who comes first is no stranger.
						if (stranger && first + 3 > applied.length) continue;
						const drafts = Array.from({ length: 3 - cut }, (_, seq) => ({
							...(stranger ? { op_id: `stranger-${first + seq}` } : {}),
							...(first + seq > 0 ? { depends_on: `op-${first + seq - 1}` } : {}),
						}));
						const ack = rules.share.appendOps(holder, batchOf(first, drafts));
						applied.push(...ack.applied);
						expect(ack.cursor).toBe(applied.length);
						const codes = new Set(ack.rejected.map(({ code }) => code));
						if (stranger) expect([...codes].filter((code) => code !== "cursor_conflict")).toEqual([]);
						else expect([...codes].filter((code) => code !== "cursor_gap")).toEqual([]);
					}
					expect(applied).toEqual(Array.from({ length: applied.length }, (_, position) => `op-${position}`));
					expect(rules.share.entityDigests(holder).entities).toHaveLength(applied.length);
					const rows = rules.sqlite.prepare<{ op_id: string }>("SELECT op_id FROM ledger ORDER BY position").all();
					expect(rows.slice(-8).map(({ op_id }) => op_id)).toEqual(applied.slice(-8));
					// And up to a quarter more, from below the floor.
					expect(rows.length).toBeLessThanOrEqual(9);
				} finally {
					rules.close();
				}
			}),
			{ numRuns: 60 },
		);
	});
});

function bytesOf(host: NodeHost): string {
	const folder = dirname(host.databasePath);
	return readdirSync(folder)
		.map((file) => readFileSync(join(folder, file), "latin1"))
		.join("\n");
}
