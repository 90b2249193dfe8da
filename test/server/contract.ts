import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { digestOf } from "../../src/model/json.ts";
import { DIGESTS_PER_PAGE, LEDGER_OPS, LIMITS } from "../../src/protocol/limits.ts";
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
} from "./client.ts";

export interface Host {
	/** Origin of a running share server that takes SERVER_KEY and "another-server-key-…", with LIMITS as they are. */
	readonly url: string;
	close(): Promise<void>;
}

export const OTHER_SERVER_KEY = "another-server-key-0123456789abcdef";

/** The rules of a share server (design, section 3), as its clients see them. Every host must pass. */
export function shareContract(name: string, makeHost: () => Promise<Host>): void {
	describe(`the share contract on ${name}`, () => {
		let host: Host;
		let client: Client;
		beforeAll(async () => {
			host = await makeHost();
			client = await connect(host.url);
		});
		afterAll(async () => {
			await client.close();
			await host.close();
		});

		describe("verdicts", () => {
			test("an op at the cursor is applied and moves the cursor", async () => {
				const { share } = await openShare(client);
				const ack = await share.appendOps(batchOf(0, plain(2)));
				expect(ack).toEqual({ cursor: 2, applied: ["op-0", "op-1"], duplicates: [], rejected: [] });
			});

			test("an op in the ledger is a duplicate at whatever position", async () => {
				const { share } = await openShare(client);
				await share.appendOps(batchOf(0, plain(3)));
				const again = batchOf(0, [
					{ op_id: "op-1", expected_cursor: 2 },
					{ op_id: "op-0", expected_cursor: 9 },
				]);
				expect(await share.appendOps(again)).toEqual({
					cursor: 3,
					applied: [],
					duplicates: ["op-1", "op-0"],
					rejected: [],
				});
			});

			test("an unknown op at a taken position is a cursor_conflict", async () => {
				const { share } = await openShare(client);
				await share.appendOps(batchOf(0, plain(2)));
				const ack = await share.appendOps(batchOf(1, [{ op_id: "stranger" }]));
				expect(ack).toMatchObject({
					cursor: 2,
					applied: [],
					rejected: [{ op_id: "stranger", code: "cursor_conflict" }],
				});
			});

			test("an op beyond the cursor is a cursor_gap", async () => {
				const { share } = await openShare(client);
				const ack = await share.appendOps(batchOf(1, plain(1)));
				expect(ack).toMatchObject({ cursor: 0, applied: [], rejected: [{ op_id: "op-1", code: "cursor_gap" }] });
			});

			test.each([
				["not JSON", { payload: "{" }, "invalid_payload"],
				["empty", { payload: "" }, "invalid_payload"],
				["JSON of too many levels", { payload: nested(LIMITS.payload_depth + 1) }, "invalid_payload"],
				["under a key of another type", { key: "part/msg_0/prt_0" }, "invalid_payload"],
				["too large", { payload: JSON.stringify("é".repeat(LIMITS.op_bytes / 2)) }, "too_large"],
			])("a payload that is %s is rejected for good", async (_, draft, code) => {
				const { share } = await openShare(client);
				const ack = await share.appendOps(batchOf(0, [draft]));
				expect(ack).toMatchObject({ cursor: 0, applied: [], duplicates: [], rejected: [{ op_id: "op-0", code }] });
			});

			test("a payload at the limits is applied", async () => {
				const { share } = await openShare(client);
				const payloads = [nested(LIMITS.payload_depth), JSON.stringify("x".repeat(LIMITS.op_bytes - 2)), '"[[{\\"]["'];
				for (const [position, payload] of payloads.entries())
					expect(await share.appendOps(batchOf(position, [{ payload }]))).toMatchObject({ cursor: position + 1 });
			});

			test("an op of no known type refuses the call and applies nothing", async () => {
				const { share } = await openShare(client);
				const batch = batchOf(0, [{}, { type: "secret" as never }]);
				expect(await refusal(share.appendOps(batch))).toMatchObject({ code: "invalid_request" });
				expect(await share.redemption()).toMatchObject({ cursor: 0 });
			});

			test("an op whose dependency was not applied is a missing_dependency", async () => {
				const { share } = await openShare(client);
				const ack = await share.appendOps(batchOf(0, [{}, { depends_on: "op-0" }, { depends_on: "never" }]));
				expect(ack).toMatchObject({
					cursor: 2,
					applied: ["op-0", "op-1"],
					rejected: [{ op_id: "op-2", code: "missing_dependency" }],
				});
			});

			test("a rejected op in the middle leaves its prefix applied and the rest a cursor_gap", async () => {
				const { share } = await openShare(client);
				const ack = await share.appendOps(batchOf(0, [{}, {}, { payload: "nope" }, {}, {}]));
				expect(ack.applied).toEqual(["op-0", "op-1"]);
				expect(ack.rejected.map(({ op_id, code }) => [op_id, code])).toEqual([
					["op-2", "invalid_payload"],
					["op-3", "cursor_gap"],
					["op-4", "cursor_gap"],
				]);
				expect(ack.cursor).toBe(2);
			});

			test("a batch whose ops are not numbered or named as its own is refused as a whole", async () => {
				const { share } = await openShare(client);
				const batch = batchOf(0, plain(2));
				const [first, second] = batch.ops;
				if (!first || !second) throw new Error("two ops");
				for (const ops of [
					[second, first],
					[first, { ...second, batch_id: "other" }],
				])
					expect(await refusal(share.appendOps({ ...batch, ops }))).toMatchObject({ code: "invalid_request" });
				expect(await share.redemption()).toMatchObject({ cursor: 0, last_op_id: null });
			});
		});

		describe("replay", () => {
			test("a batch whose reply was lost is all duplicates, and changes nothing", async () => {
				const { share } = await openShare(client);
				const batch = batchOf(0, plain(3), { source_watermark: { seq: 7, event_id: "evt_7" } });
				await share.appendOps(batch);
				const next = batchOf(3, [{ key: "message/msg_0", payload: '{"id":"msg_0","later":true}' }], {
					source_watermark: { seq: 9, event_id: "evt_9" },
				});
				await share.appendOps(next);
				const before = [await share.redemption(), await share.entityDigests()];
				expect(await share.appendOps(batch)).toEqual({
					cursor: 4,
					applied: [],
					duplicates: ["op-0", "op-1", "op-2"],
					rejected: [],
				});
				expect([await share.redemption(), await share.entityDigests()]).toEqual(before);
				expect(before[0]).toMatchObject({ last_op_id: "op-3", source_watermark: { seq: 9, event_id: "evt_9" } });
			});

			test("a position below the ledger's floor is a duplicate although its id is forgotten", async () => {
				const { share } = await openShare(client);
				const size = LIMITS.ops_per_batch;
				const rounds = Math.ceil(LEDGER_OPS / size) + 1;
				const same = { key: "todo", type: "todo" as const };
				for (let round = 0; round < rounds; round++)
					await share.appendOps(
						batchOf(
							round * size,
							Array.from({ length: size }, () => same),
						),
					);
				const cursor = rounds * size;
				const floor = cursor - LEDGER_OPS;
				expect(await share.appendOps(batchOf(floor - 1, [{ op_id: "stranger" }]))).toMatchObject({
					cursor,
					duplicates: ["stranger"],
				});
				expect(await share.appendOps(batchOf(floor, [{ op_id: "stranger" }]))).toMatchObject({
					cursor,
					rejected: [{ code: "cursor_conflict" }],
				});
				expect(await share.appendOps(batchOf(floor, plain(1)))).toMatchObject({ cursor, duplicates: [`op-${floor}`] });
			});

			test("a watermark stays where it was when a batch is not applied whole", async () => {
				const { share } = await openShare(client);
				await share.appendOps(batchOf(0, plain(1), { source_watermark: { seq: 1, event_id: "evt_1" } }));
				await share.appendOps(batchOf(1, [{}, { payload: "" }], { source_watermark: { seq: 2, event_id: "evt_2" } }));
				await share.appendOps(batchOf(2, plain(1)));
				expect(await share.redemption()).toMatchObject({ cursor: 3, source_watermark: { seq: 1, event_id: "evt_1" } });
			});
		});

		describe("the epoch", () => {
			test("a capability of an earlier epoch can do nothing, and is told the current one", async () => {
				const { grant, share } = await openShare(client);
				const viewer = await client.api.viewShare(grant.slug);
				const next = await share.revokeCapability({ rotate_secret: false, rotate_slug: false });
				expect(next).toEqual({ ...grant, capability_epoch: 2 });
				const stale = { code: "stale_epoch", details: { capability_epoch: 2 } };
				expect(await refusal(share.appendOps(batchOf(0, [{ capability_epoch: 2 }])))).toEqual(stale);
				expect(await refusal(share.redemption())).toEqual(stale);
				expect(await refusal(share.entityDigests())).toEqual(stale);
				expect(await refusal(share.watch(new Viewer(), 0))).toEqual(stale);
				expect(await refusal(share.publishDelta({ key: "k", field: "text", delta: "" }))).toEqual(stale);
				expect(await refusal(share.revokeCapability({ rotate_secret: true, rotate_slug: true }))).toEqual(stale);
				expect(await refusal(share.deleteShare())).toEqual(stale);
				expect(await refusal(viewer.redemption())).toEqual(stale);
				const anew = await client.api.redeemShare(grant.share_id, grant.secret);
				expect(await anew.redemption()).toMatchObject({ cursor: 0, capability_epoch: 2 });
				expect(await anew.appendOps(batchOf(0, [{ capability_epoch: 2 }]))).toMatchObject({ cursor: 1 });
			});

			test("one op of another epoch refuses its whole batch", async () => {
				const { share } = await openShare(client);
				const batch = batchOf(0, [{}, { capability_epoch: 0 }]);
				expect(await refusal(share.appendOps(batch))).toMatchObject({ code: "stale_epoch" });
				expect(await share.redemption()).toMatchObject({ cursor: 0 });
			});
		});

		describe("grants", () => {
			test("creating a share twice with one key gives the same grant and one share", async () => {
				const create_key = createKey();
				const first = await makeShare(client.api, "ses_twice", create_key);
				expect(await makeShare(client.api, "ses_twice", create_key)).toEqual(first);
				expect(first.url).toBe(`${host.url}/share/${first.slug}`);
				expect((await makeShare(client.api, "ses_twice")).share_id).not.toBe(first.share_id);
			});

			test("ids are unguessable", async () => {
				const grants = await Promise.all(Array.from({ length: 20 }, () => makeShare(client.api)));
				for (const field of ["share_id", "slug", "secret"] as const)
					expect(new Set(grants.map((grant) => grant[field])).size).toBe(grants.length);
				for (const { slug, share_id } of grants) {
					expect(slug).toMatch(/^[a-zA-Z0-9_-]{22,64}$/);
					expect(share_id.length).toBeGreaterThanOrEqual(22);
				}
			});

			test("a create key is good for its session and its owner only", async () => {
				const create_key = createKey();
				await makeShare(client.api, "ses_mine", create_key);
				const foreign = [
					client.api.createShare(SERVER_KEY, { session_id: "ses_other", create_key }),
					client.api.createShare(OTHER_SERVER_KEY, { session_id: "ses_mine", create_key }),
				];
				for (const call of foreign) expect(await refusal(call)).toMatchObject({ code: "denied" });
			});

			test("who has no server key makes no share", async () => {
				const call = client.api.createShare("not-a-key", { session_id: "ses_1", create_key: createKey() });
				expect(await refusal(call)).toMatchObject({ code: "denied" });
			});

			test("an unknown share is not_found, a wrong secret is denied", async () => {
				const { grant } = await openShare(client);
				const wrong = grant.secret.replace(/^./, (first) => (first === "A" ? "B" : "A"));
				expect(await refusal(client.api.redeemShare(grant.share_id, wrong))).toMatchObject({ code: "denied" });
				expect(await refusal(client.api.redeemShare("shr_unknown", grant.secret))).toMatchObject({ code: "not_found" });
				expect(await refusal(client.api.viewShare("a-slug-nobody-has-01"))).toMatchObject({ code: "not_found" });
			});

			test("a rotated secret and slug answer revoked, the new ones work", async () => {
				const create_key = createKey();
				const old = await makeShare(client.api, "ses_rotated", create_key);
				const share = await client.api.redeemShare(old.share_id, old.secret);
				const grant = await share.revokeCapability({ rotate_secret: true, rotate_slug: true });
				expect(grant.secret).not.toBe(old.secret);
				expect(await refusal(client.api.redeemShare(old.share_id, old.secret))).toMatchObject({ code: "revoked" });
				expect(await refusal(client.api.viewShare(old.slug))).toMatchObject({ code: "revoked" });
				expect(await refusal(makeShare(client.api, "ses_rotated", create_key))).toMatchObject({ code: "revoked" });
				const anew = await client.api.redeemShare(grant.share_id, grant.secret);
				expect(await anew.redemption()).toMatchObject({ capability_epoch: 2, scope: "append" });
				const view = await client.api.viewShare(grant.slug);
				expect(await view.redemption()).toMatchObject({ scope: "view" });
			});

			test("a deleted share answers revoked, not not_found", async () => {
				const create_key = createKey();
				const grant = await makeShare(client.api, "ses_deleted", create_key);
				const share = await client.api.redeemShare(grant.share_id, grant.secret);
				await share.appendOps(batchOf(0, plain(3)));
				await share.deleteShare();
				const calls = [
					() => client.api.redeemShare(grant.share_id, grant.secret),
					() => client.api.viewShare(grant.slug),
					() => makeShare(client.api, "ses_deleted", create_key),
					() => share.redemption(),
					() => share.appendOps(batchOf(3, plain(1))),
					() => share.deleteShare(),
				];
				for (const call of calls) expect(await refusal(call())).toEqual({ code: "revoked", details: {} });
			});

			test("who only has the link may look and not touch", async () => {
				const { grant, share } = await openShare(client);
				await share.appendOps(batchOf(0, plain(1)));
				const view = await client.api.viewShare(grant.slug);
				expect(await view.redemption()).toMatchObject({ scope: "view", cursor: 1 });
				const calls = [
					view.appendOps(batchOf(1, plain(1))),
					view.entityDigests(),
					view.publishDelta({ key: "k", field: "text", delta: "x" }),
					view.revokeCapability({ rotate_secret: false, rotate_slug: false }),
					view.deleteShare(),
				];
				for (const call of calls) expect(await refusal(call)).toMatchObject({ code: "denied" });
			});
		});

		describe("entities", () => {
			test("a redemption tells where the share stands", async () => {
				const { grant, share } = await openShare(client);
				await share.appendOps(batchOf(0, plain(2)));
				expect(await share.redemption()).toEqual({
					share_id: grant.share_id,
					session_id: "ses_1",
					scope: "append",
					cursor: 2,
					capability_epoch: 1,
					last_op_id: "op-1",
					source_watermark: null,
					created_at: expect.any(Number),
					limits: LIMITS,
				});
			});

			test("the last op of an entity is what its digest tells", async () => {
				const { share } = await openShare(client);
				await share.appendOps(batchOf(0, [todo("[1]"), todo("[2]")]));
				expect(await share.entityDigests()).toEqual({
					entities: [{ key: "todo", digest: digestOf("[2]") }],
					next: null,
				});
			});

			test("removing a message takes its parts along and no other's", async () => {
				const { share } = await openShare(client);
				const part = (message: string, id: string) => ({ type: "part" as const, key: `part/${message}/${id}` });
				await share.appendOps(
					batchOf(0, [
						{ key: "message/m1" },
						part("m1", "p1"),
						part("m1", "p2"),
						{ key: "message/m10" },
						part("m10", "p1"),
						part("m10", "p2"),
						{ type: "part_removed", key: "part/m10/p2" },
						{ type: "message_removed", key: "message/m1" },
					]),
				);
				const { entities } = await share.entityDigests();
				expect(entities.map(({ key }) => key)).toEqual(["message/m10", "part/m10/p1"]);
			});

			test("a removed entity may come back", async () => {
				const { share } = await openShare(client);
				const removed = { type: "message_removed" as const, key: "message/m1" };
				await share.appendOps(batchOf(0, [{ key: "message/m1" }, removed, { key: "message/m1" }]));
				expect((await share.entityDigests()).entities).toHaveLength(1);
			});

			test("a deleted session is an entity, and its share is kept", async () => {
				const { share } = await openShare(client);
				const gone = { type: "session_deleted" as const, key: "session_deleted", payload: "{}" };
				await share.appendOps(batchOf(0, [{ type: "session", key: "session" }, gone]));
				const { entities } = await share.entityDigests();
				expect(entities.map(({ key }) => key)).toEqual(["session", "session_deleted"]);
			});

			test("digests come in pages, each key once and in order", async () => {
				const { share } = await openShare(client);
				const count = 2 * DIGESTS_PER_PAGE;
				for (let first = 0; first < count; first += LIMITS.ops_per_batch)
					await share.appendOps(batchOf(first, plain(LIMITS.ops_per_batch)));
				const first = await share.entityDigests();
				const second = await share.entityDigests(first.next ?? "");
				expect([first.entities.length, second.entities.length, second.next]).toEqual([
					DIGESTS_PER_PAGE,
					DIGESTS_PER_PAGE,
					null,
				]);
				const found = [...first.entities, ...second.entities].map(({ key }) => key);
				expect(found).toEqual([...new Set(found)].sort());
			});
		});

		describe("watching", () => {
			test("what was there comes first, then each change, each once and in order, while others append", async () => {
				const { grant, share } = await openShare(client);
				const size = 250;
				await share.appendOps(batchOf(0, plain(size)));
				const viewer = new Viewer();
				const view = await client.api.viewShare(grant.slug);
				const appends = [1, 2, 3].map((round) => share.appendOps(batchOf(round * size, plain(size))));
				const watching = view.watch(viewer, 100);
				appends.push(...[4, 5, 6].map((round) => share.appendOps(batchOf(round * size, plain(size)))));
				await Promise.all(appends);
				using _ = await watching;
				await viewer.until(() => viewer.cursor === 7 * size);
				const positions = viewer.seen.map((op) => op.position);
				expect(positions).toEqual(Array.from({ length: 7 * size - 100 }, (_, index) => 100 + index));
			});

			test("a removal is told from an old cursor", async () => {
				const { share } = await openShare(client);
				const part = { type: "part" as const, key: "part/m1/p1" };
				const removed = { type: "message_removed" as const, key: "message/m1" };
				await share.appendOps(batchOf(0, [{ key: "message/m1" }, part, removed]));
				const viewer = new Viewer();
				using _ = await share.watch(viewer, 1);
				await viewer.until(() => viewer.cursor === 3);
				expect(viewer.seen).toEqual([{ position: 2, type: "message_removed", key: "message/m1", payload: null }]);
			});

			test("a slow viewer is waited for by nobody, and sees each entity's last state once", async () => {
				const { share } = await openShare(client);
				const viewer = new Viewer();
				const gate = Promise.withResolvers<void>();
				viewer.hold = gate.promise;
				using _ = await share.watch(viewer, 0);
				await share.appendOps(batchOf(0, [todo("[0]")]));
				await viewer.until(() => viewer.deliveries === 1);
				for (let position = 1; position < 100; position++)
					await share.appendOps(batchOf(position, [todo(`[${position}]`)]));
				expect(viewer.deliveries).toBe(1);
				viewer.hold = undefined;
				gate.resolve();
				await viewer.until(() => viewer.cursor === 100);
				expect(viewer.seen.map((op) => op.payload)).toEqual(["[0]", "[99]"]);
			});

			test("deltas reach viewers and are not stored", async () => {
				const { share } = await openShare(client);
				const viewer = new Viewer();
				using _ = await share.watch(viewer, 0);
				const delta = { key: "part/m1/p1", field: "text", delta: "Hel" };
				await share.publishDelta(delta);
				await viewer.until(() => viewer.deltas.length === 1);
				expect(viewer.deltas).toEqual([delta]);
				expect(await share.redemption()).toMatchObject({ cursor: 0 });
			});

			test.each(["revokeCapability", "deleteShare"] as const)("%s ends it", async (method) => {
				const { grant, share } = await openShare(client);
				const viewer = new Viewer();
				const view = await client.api.viewShare(grant.slug);
				using _ = await view.watch(viewer, 0);
				if (method === "deleteShare") await share.deleteShare();
				else await share.revokeCapability({ rotate_secret: false, rotate_slug: false });
				await viewer.until(() => viewer.endings.length > 0);
				expect(viewer.endings).toEqual(["revoked"]);
			});

			test("a cancelled subscription hears nothing more", async () => {
				const { share } = await openShare(client);
				const [cancelled, watching] = [new Viewer(), new Viewer()];
				using subscription = await share.watch(cancelled, 0);
				using _ = await share.watch(watching, 0);
				await subscription.cancel();
				await share.appendOps(batchOf(0, plain(1)));
				await watching.until(() => watching.cursor === 1);
				expect(cancelled.deliveries).toBe(0);
			});

			test("a cursor beyond the share's is refused", async () => {
				const { share } = await openShare(client);
				expect(await refusal(share.watch(new Viewer(), 1))).toMatchObject({ code: "invalid_request" });
			});
		});
	});
}

function nested(depth: number): string {
	return "[".repeat(depth) + "]".repeat(depth);
}

function todo(payload: string) {
	return { type: "todo" as const, key: "todo", payload };
}
