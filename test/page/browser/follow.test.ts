import { copyFileSync } from "node:fs";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { batchOf, type Client, connect, type Draft, openShare } from "../../server/client.ts";
import { type NodeHost, startHost } from "../../server/host.ts";
import { Eyes, inChromium, screenshot, untilState, untilText } from "../look.ts";
import { assistant, draft, everything, part, said, session, user } from "../payloads.ts";

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

/** A share that a test goes on with. */
async function begun(drafts: readonly Draft[]) {
	const { grant, share } = await openShare(client);
	let cursor = 0;
	const append = async (...more: Draft[]) => {
		await share.appendOps(batchOf(cursor, more));
		cursor += more.length;
	};
	await append(...drafts);
	return { grant, share, append };
}

const removed = (type: "message_removed" | "part_removed", key: string) => draft(type, key, {});

/** Keys of what is shown, in its order. */
const shown = (page: Page) =>
	page.$$eval("#messages [data-key]", (all) => all.map((one) => (one as HTMLElement).dataset.key));
const textOf = (page: Page, key: string) => page.$eval(`[data-key="${key}"]`, (one) => one.textContent?.trim());

inChromium("an open page", () => {
	const eyes = new Eyes();

	it("follows its session, each change once and in its place", async () => {
		const { grant, append } = await begun([session(), user("msg_1"), said("msg_1", "prt_1", "one")]);
		const page = await eyes.open(grant.url);
		await untilState(page, "live");
		await append(
			assistant("msg_3"),
			said("msg_3", "prt_2", "four"),
			said("msg_3", "prt_1", "three"),
			session({ title: "Renamed" }),
			draft("todo", "todo", [{ content: "A thing to do", status: "pending" }]),
		);
		await append(said("msg_3", "prt_2", "four!"), said("msg_1", "prt_2", "two"));
		await untilText(page, "two");
		const [one, two, three, four] = ["part/msg_1/prt_1", "part/msg_1/prt_2", "part/msg_3/prt_1", "part/msg_3/prt_2"];
		expect(await shown(page)).toEqual(["message/msg_1", one, two, "message/msg_3", three, four]);
		expect(await textOf(page, "part/msg_3/prt_2")).toBe("four!");
		expect(await page.title()).toBe("Renamed");
		expect(await page.textContent("h1")).toBe("Renamed");
		expect(await page.textContent("[data-piece=totals]")).toContain("$0.0123");
		expect(await page.textContent("[data-piece=todos]")).toContain("A thing to do");
		await append(removed("part_removed", "part/msg_3/prt_1"), removed("message_removed", "message/msg_1"));
		await page.waitForFunction(() => document.querySelectorAll("#messages [data-key]").length === 2);
		expect(await shown(page)).toEqual(["message/msg_3", four]);
		eyes.expectNone();
	});

	it("shows the same as a page that is opened then", async () => {
		const all = everything();
		const { grant, append } = await begun(all.slice(0, 1));
		const page = await eyes.open(grant.url);
		await untilState(page, "live");
		// In an order of its own, and twice.
		await append(...all.slice(1).reverse());
		await append(...all);
		await untilText(page, "2 files changed in this session");
		const fresh = await eyes.open(grant.url);
		const bodies = [page, fresh].map((one) =>
			one.$eval("#main", (main) => {
				for (const marked of main.querySelectorAll("[data-stored]")) marked.removeAttribute("data-stored");
				for (const details of main.querySelectorAll("details")) details.removeAttribute("open");
				return main.innerHTML;
			}),
		);
		const [grown, read] = await Promise.all(bodies);
		expect(grown).toBe(read);
		eyes.expectNone();
	});

	it("shows text as it streams, and its final state once", async () => {
		const key = "part/msg_2/prt_1";
		const text = (value: string, end?: number) =>
			part("msg_2", "prt_1", { type: "text", text: value, time: { start: 1, ...(end ? { end } : {}) } });
		const growing = assistant("msg_2", { time: { created: Date.now() } });
		const { grant, share, append } = await begun([user("msg_1"), said("msg_1", "prt_1", "hi"), growing, text("So ")]);
		const page = await eyes.open(grant.url);
		await untilState(page, "live");
		expect(await page.textContent(".working")).toBe("Working…");
		const delta = (offset: number, more: string) => share.publishDelta({ key, field: "text", offset, delta: more });
		await delta(3, "**far**, ");
		await untilText(page, "So far,");
		await delta(3, "**far**, ");
		await delta(12, "so good");
		await untilText(page, "So far, so good");
		expect(await page.innerHTML(`[data-key="${key}"] p`)).toBe("So <strong>far</strong>, so good");
		await append(text("So **far**, so good.", 9), assistant("msg_2"));
		await untilText(page, "so good.");
		await delta(19, " and more");
		await append(said("msg_2", "prt_2", "next"));
		await untilText(page, "next");
		expect(await textOf(page, key)).toBe("So far, so good.");
		expect(await page.$(".working")).toBeNull();
		eyes.expectNone();
	});

	it("takes back what an undo takes back, and shows it again when that is undone", async () => {
		const kept = [user("msg_1"), said("msg_1", "prt_1", "kept")];
		const { grant, append } = await begun([session(), ...kept, user("msg_2"), said("msg_2", "prt_1", "undone")]);
		const page = await eyes.open(grant.url);
		await untilState(page, "live");
		await append(session({ revert: { messageID: "msg_2" } }));
		await untilText(page, "1 message undone and not shown.");
		expect(await shown(page)).toEqual(["message/msg_1", "part/msg_1/prt_1"]);
		await append(session());
		await page.waitForFunction(() => document.querySelectorAll("#messages [data-key]").length === 4);
		await untilState(page, "live");
		await append(said("msg_2", "prt_2", "and goes on"));
		await untilText(page, "and goes on");
		eyes.expectNone();
	});

	it("keeps what a reader has unfolded and selected while its message goes on", async () => {
		const thought = (text: string, end?: number) =>
			part("msg_2", "prt_1", { type: "reasoning", text, time: { start: 1, ...(end ? { end } : {}) } });
		const { grant, append } = await begun([assistant("msg_2"), thought("First.")]);
		const page = await eyes.open(grant.url);
		await untilState(page, "live");
		await page.click(".thought summary");
		await page.evaluate(() => getSelection()?.selectAllChildren(document.querySelector(".thought p") ?? document.body));
		await append(thought("First.\n\nSecond.", 5));
		await untilText(page, "Second.");
		expect(await page.$eval(".thought", (one) => (one as HTMLDetailsElement).open)).toBe(true);
		expect(await page.evaluate(() => String(getSelection()))).toBe("First.");
		eyes.expectNone();
	});

	it("keeps who reads along at the end there, and tells who reads further up that there is more", async () => {
		const { grant, append } = await begun([user("msg_1"), said("msg_1", "prt_1", "line\n\n".repeat(100))]);
		const page = await eyes.open(grant.url);
		await untilState(page, "live");
		await append(said("msg_1", "prt_2", "line\n\n".repeat(30)));
		await page.waitForSelector(".new-below:not([hidden])");
		expect(await page.evaluate(() => scrollY)).toBe(0);
		await page.click(".new-below");
		await page.waitForSelector(".new-below", { state: "hidden" });
		await append(said("msg_1", "prt_3", "the very end"));
		await untilText(page, "the very end");
		await page.waitForFunction(() => innerHeight + scrollY >= document.documentElement.scrollHeight - 130);
		eyes.expectNone();
	});
});

inChromium("a page that loses its server", () => {
	const eyes = new Eyes();

	it("says that it is behind, finds the server again by itself, and goes on from its cursor", async () => {
		let own = await startHost();
		const { port, databasePath } = own;
		const writer = await connect(own.url);
		const { grant, share } = await openShare(writer);
		await share.appendOps(batchOf(0, [user("msg_1"), said("msg_1", "prt_1", "before")]));
		const page = await eyes.open(grant.url);
		await untilState(page, "live");
		await own.stop();
		await untilState(page, "behind");
		expect(await page.textContent("#state")).toMatch(/Behind, reconnecting \d+ s/);
		await screenshot(page, "state-behind");
		own = await startHost({ databasePath, port });
		const again = await connect(own.url);
		const held = await again.api.redeemShare(grant.share_id, grant.secret);
		await held.appendOps(batchOf(2, [said("msg_1", "prt_1", "before!"), said("msg_1", "prt_2", "meanwhile")]));
		await untilState(page, "live");
		await untilText(page, "meanwhile");
		const texts = await page.$$eval("#messages .part", (all) => all.map((one) => one.textContent?.trim()));
		expect(texts).toEqual(["before!", "meanwhile"]);
		await again.close();
		await own.close();
		eyes.expectNone();
	});

	it("says that it is offline when the browser is, and live when that is over", async () => {
		const { grant } = await begun([user("msg_1")]);
		const page = await eyes.open(grant.url);
		await untilState(page, "live");
		await page.context().setOffline(true);
		await untilState(page, "offline");
		await page.context().setOffline(false);
		await untilState(page, "live");
		eyes.expectNone();
	});

	it("begins anew when the server was put back to an earlier state", async () => {
		let own = await startHost();
		const { port, databasePath } = own;
		const again = async () => {
			own = await startHost({ databasePath, port });
		};
		const append = async (grant: { share_id: string; secret: string }, from: number, ...drafts: Draft[]) => {
			const writer = await connect(own.url);
			const held = await writer.api.redeemShare(grant.share_id, grant.secret);
			await held.appendOps(batchOf(from, drafts));
			await writer.close();
		};
		const maker = await connect(own.url);
		const { grant } = await openShare(maker);
		await maker.close();
		await append(grant, 0, user("msg_1"), said("msg_1", "prt_1", "saved"));
		await own.stop();
		copyFileSync(databasePath, `${databasePath}.earlier`);
		await again();
		await append(grant, 2, said("msg_1", "prt_1", "lost"), said("msg_1", "prt_2", "lost too"));
		const page = await eyes.open(grant.url);
		await untilState(page, "live");
		await own.stop();
		copyFileSync(`${databasePath}.earlier`, databasePath);
		await again();
		await untilText(page, "saved");
		await untilState(page, "live");
		expect(await page.$$eval("#messages .part", (all) => all.map((one) => one.textContent?.trim()))).toEqual(["saved"]);
		await own.close();
		eyes.expectNone();
	});
});

inChromium("an owner's decision", () => {
	const eyes = new Eyes();

	it("to unshare is told at once, and stays", async () => {
		const { grant, share } = await begun([session(), user("msg_1"), said("msg_1", "prt_1", "hi")]);
		const page = await eyes.open(grant.url);
		await untilState(page, "live");
		await share.deleteShare();
		await untilState(page, "deleted");
		await untilText(page, "This session was unshared and is gone from the server.");
		await screenshot(page, "state-deleted");
		await page.reload();
		await untilText(page, "This session is not shared any more");
		eyes.expectNone();
	});

	it("to take the link back is told at once", async () => {
		const { grant, share } = await begun([session(), user("msg_1")]);
		const page = await eyes.open(grant.url);
		await untilState(page, "live");
		await share.revokeCapability({ rotate_secret: false, rotate_slug: true });
		await untilState(page, "revoked");
		await untilText(page, "The owner has taken this link back.");
		await screenshot(page, "state-revoked");
		eyes.expectNone();
	});

	it("to rotate the secret alone changes nothing for who has the link", async () => {
		const { grant, share } = await begun([session(), user("msg_1")]);
		const page = await eyes.open(grant.url);
		await untilState(page, "live");
		const next = await share.revokeCapability({ rotate_secret: false, rotate_slug: false });
		const held = await client.api.redeemShare(next.share_id, next.secret);
		const { capability_epoch } = next;
		await held.appendOps(batchOf(2, [{ ...said("msg_1", "prt_1", "goes on"), capability_epoch }]));
		await untilText(page, "goes on");
		await untilState(page, "live");
		eyes.expectNone();
	});
});
