import { describe, expect, test } from "vitest";
import { type Client, Viewer } from "../client.ts";
import { diff, message, model, OwnShareClient, part, session } from "../opencode-calls.ts";
import type { Host } from "./host.ts";

/** What OpenCode's own share may do, and what comes of it for everybody else. The host must let it make shares. */
export function opencodeContract(client: () => Client, host: () => Host): void {
	const own = () => new OwnShareClient(host().url);
	const whole = [session(), message("msg_1"), part("prt_1", "msg_1"), diff("a.ts"), model("scripted")];

	describe("OpenCode's own share", () => {
		test("what is told can be read at the share's link, in the order in which OpenCode imports it", async () => {
			const share = await own().create();
			expect(share.url).toBe(`${host().url}/share/${share.id}`);
			const { status, json } = await own().sync(share, ...whole.toReversed());
			expect([status, json]).toEqual([200, { cursor: 5, applied: 5, unchanged: 0, rejected: [] }]);
			expect(await own().data(share)).toEqual(whole);
			expect((await fetch(share.url)).status).toBe(200);
		});

		test("a sync that is repeated makes no op, in whatever order its items and their members come", async () => {
			const share = await own().create();
			await own().sync(share, ...whole);
			const shuffled = { type: "session", data: { title: "A title", id: "ses_1" } };
			for (const items of [whole, whole.toReversed(), [shuffled], [diff("a.ts")], []])
				expect((await own().sync(share, ...items)).json).toMatchObject({ cursor: 5, applied: 0 });
			expect(await own().data(share)).toEqual(whole);
		});

		test("a diff is replaced by the next one, and never doubled", async () => {
			const share = await own().create();
			for (const files of [["a.ts"], ["a.ts", "b.ts"], ["a.ts", "b.ts"]]) await own().sync(share, diff(...files));
			expect(await own().data(share)).toEqual([diff("a.ts", "b.ts")]);
		});

		test("of an entity that one sync tells twice, the last word counts", async () => {
			const share = await own().create();
			const { json } = await own().sync(share, session({ title: "first" }), session({ title: "last" }));
			expect(json).toMatchObject({ cursor: 1, applied: 1 });
			expect(await own().data(share)).toEqual([session({ title: "last" })]);
		});

		test.each([
			["a session", session({ time: { updated: 1 } }), session({ time: { updated: 2 } })],
			[
				"an answer",
				message("msg_1", { time: { created: 1 } }),
				message("msg_1", { time: { created: 1, completed: 2 } }),
			],
			[
				"a text",
				part("prt_1", "msg_1", { text: "", time: { start: 1 } }),
				part("prt_1", "msg_1", { time: { start: 1, end: 2 } }),
			],
			["a tool call", tool("running"), tool("completed")],
			["a tool call that failed", tool("pending"), tool("error")],
		])("%s is not put back to what it was by a sync that was overtaken", async (_, earlier, later) => {
			const share = await own().create();
			for (const item of [later, earlier]) await own().sync(share, item);
			expect(await own().data(share)).toEqual([later]);
			const other = await own().create();
			for (const item of [earlier, later]) await own().sync(other, item);
			expect(await own().data(other)).toEqual([later]);
		});

		test("a session that is shared once more gets another share; the first one stays, and stays its client's", async () => {
			const first = await own().create();
			await own().sync(first, ...whole);
			const second = await own().create();
			expect(second.id).not.toBe(first.id);
			expect(second.secret).not.toBe(first.secret);
			expect(await own().data(first)).toEqual(whole);
			expect(await own().data(second)).toEqual([]);
			expect((await own().sync({ id: first.id, secret: second.secret }, session({ title: "x" }))).status).toBe(403);
			expect((await own().sync(first, session({ title: "gone on" }))).json).toMatchObject({ applied: 1 });
		});

		test("whoever watches sees each change once, and no more after the deletion", async () => {
			const share = await own().create();
			const viewer = new Viewer();
			const view = await client().api.viewShare(share.id);
			using _ = await view.watch(viewer, 0);
			await own().sync(share, ...whole);
			await own().sync(share, ...whole, message("msg_2"));
			await viewer.until(() => viewer.cursor === 6);
			expect(viewer.seen.map(({ key }) => key)).toEqual([
				...["session", "message/msg_1", "part/msg_1/prt_1", "session_diff", "model", "message/msg_2"],
			]);
			expect(await view.redemption()).toMatchObject({ session_id: "ses_1", cursor: 6 });
			await own().remove(share);
			await expect(view.redemption()).rejects.toMatchObject({ code: "revoked" });
		});

		test("its secret redeems the share over capnweb too, and ops go on at its cursor", async () => {
			const share = await own().create();
			await own().sync(share, ...whole);
			const { share_id } = await (await client().api.viewShare(share.id)).redemption();
			const writer = await client().api.redeemShare(share_id, share.secret);
			expect(await writer.redemption()).toMatchObject({ scope: "append", cursor: 5, source_watermark: null });
		});

		test("is deleted for everybody; once more is no error, and nothing brings it back", async () => {
			const share = await own().create();
			await own().sync(share, ...whole);
			expect(await own().remove(share)).toEqual({ status: 200, json: {} });
			expect(await own().remove(share)).toEqual({ status: 200, json: {} });
			expect((await own().sync(share, ...whole)).status).toBe(410);
			expect(await own().data(share)).toEqual({ error: "revoked" });
			expect((await fetch(share.url)).status).toBe(410);
		});

		test("what cannot be taken is told, and holds up nothing else", async () => {
			const share = await own().create();
			const deep = JSON.parse(`${"[".repeat(200)}${"]".repeat(200)}`);
			const { status, json } = await own().sync(
				share,
				part("prt_1", "msg_1", { text: "x".repeat(8 * 1024 * 1024) }),
				part("prt_2", "msg_1", { deep }),
				message("msg/1"),
				message("msg_2", { sessionID: "ses_2" }),
				{ type: "todo", data: [] },
				{ type: "part", data: { id: "prt_3" } },
				{ type: "session_diff" },
				null,
				message("m".repeat(600)),
				session(),
			);
			expect([status, json.applied, json.cursor]).toEqual([200, 1, 1]);
			const told = (json.rejected as { key: string | null; code: string }[]).map(({ key, code }) => [
				key?.slice(0, 20) ?? null,
				code,
			]);
			expect(told.toSorted()).toEqual(
				[
					["part/msg_1/prt_1", "too_large"],
					["part/msg_1/prt_2", "invalid_payload"],
					["message/msg/1", "invalid_payload"],
					["message/msg_2", "invalid_payload"],
					[null, "invalid_payload"],
					[null, "invalid_payload"],
					[null, "invalid_payload"],
					[null, "invalid_payload"],
					["message/mmmmmmmmmmmm", "invalid_payload"],
				].toSorted(),
			);
			expect(await own().data(share)).toEqual([session()]);
		});

		test("a session of more items than a batch has comes whole, in one sync", async () => {
			const share = await own().create();
			const items = Array.from({ length: 1200 }, (_, index) => message(`msg_${String(index).padStart(4, "0")}`));
			expect((await own().sync(share, ...items)).json).toMatchObject({ cursor: 1200, applied: 1200 });
			expect((await own().sync(share, ...items)).json).toMatchObject({ cursor: 1200, unchanged: 1200 });
			expect(await own().data(share)).toEqual(items);
		});

		test("records who made, wrote, was refused and deleted", async () => {
			const before = (await host().audit()).length;
			const share = await own().create();
			await own().sync(share, ...whole);
			await own().sync({ ...share, secret: "w".repeat(43) }, ...whole);
			await own().remove({ ...share, secret: "w".repeat(43) });
			await own().remove({ ...share, id: "a-slug-nobody-has-01" });
			await own().remove(share);
			const told = (await host().audit()).slice(before);
			const share_id = told[0]?.[2];
			expect(told).toEqual([
				["granted", "createForOpencode", share_id, null],
				["redeemed", "syncFromOpencode", share_id, null],
				["refused", "syncFromOpencode", share_id, "denied"],
				["refused", "deleteForOpencode", share_id, "denied"],
				["refused", "deleteForOpencode", null, "not_found"],
				["deleted", "deleteForOpencode", share_id, null],
			]);
			expect(share_id).toMatch(/^shr_/);
		});
	});
}

const tool = (status: string) => part("prt_1", "msg_1", { type: "tool", state: { status } });
