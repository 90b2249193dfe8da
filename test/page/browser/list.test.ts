import { afterAll, beforeAll, expect, it } from "vitest";
import { batchOf, type Client, connect, openShare, SERVER_KEY } from "../../server/client.ts";
import { OTHER_SERVER_KEY } from "../../server/contract/host.ts";
import { type NodeHost, startHost } from "../../server/host.ts";
import { flaws } from "../flaws.ts";
import { Eyes, inChromium, PHONE, screenshot, untilState, untilText } from "../look.ts";
import { said, session, user } from "../payloads.ts";

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

async function shared(id: string, over: Readonly<Record<string, unknown>>) {
	const { grant, share } = await openShare(client);
	await share.appendOps(batchOf(0, [session({ id, ...over }), user("msg_1"), said("msg_1", "prt_1", "hi")]));
	return { grant, share };
}

inChromium("the list of an owner's sessions", () => {
	const eyes = new Eyes();
	const titles = (page: import("playwright-core").Page) =>
		page.$$eval(".row-title", (all) => all.map((one) => one.textContent));

	it("is shown to who has a server key, and stays up to date", async () => {
		const hour = 3_600_000;
		const first = await shared("ses_1", { title: "Make the importer faster", directory: "/home/a/notes" });
		await shared("ses_2", {
			title: "Read the <b>manual</b>",
			directory: "/home/a/other",
			time: { created: 1, updated: Date.now() - 2 * hour },
		});
		await shared("ses_3", { title: "Look for other loops", directory: "/home/a/notes", parentID: "ses_1" });
		for (let n = 0; n < 12; n++)
			await shared(`ses_1${n}`, {
				title: `Weekly report ${n + 1}`,
				directory: n % 2 ? "/home/a/reports" : "/home/a/other",
			});
		const page = await eyes.open(host.url);
		await screenshot(page, "list-sign-in");
		expect(await flaws(page)).toEqual([]);
		await page.fill("#key", "not-a-key-of-this-server-0123456789");
		await page.keyboard.press("Enter");
		await untilText(page, "This server does not know that key.");
		await page.fill("#key", SERVER_KEY);
		await page.keyboard.press("Enter");
		await untilState(page, "live");
		await untilText(page, "Make the importer faster");
		expect(await titles(page)).toContain("Read the <b>manual</b>");
		expect(await titles(page)).not.toContain("Look for other loops");
		await screenshot(page, "list");
		expect(await flaws(page)).toEqual([]);

		// The key is in no address and, unless asked for, nowhere but in the page.
		expect(page.url()).toBe(`${host.url}/`);
		expect(await page.evaluate(() => sessionStorage.length + localStorage.length + document.cookie.length)).toBe(0);

		await page.fill("[name=words]", "notes importer");
		await page.waitForFunction(() => document.querySelectorAll(".row-title").length === 1);
		await page.fill("[name=words]", "");
		await page.selectOption("[name=project]", "/home/a/reports");
		await page.waitForFunction(() => document.querySelectorAll(".row-title").length === 6);
		await page.selectOption("[name=project]", "");
		await page.check("[name=children]");
		await untilText(page, "Look for other loops");

		await first.share.appendOps(batchOf(3, [session({ id: "ses_1", title: "The importer is fast now" })]));
		await untilText(page, "The importer is fast now");
		await page.click("text=The importer is fast now");
		await untilState(page, "live");
		expect(new URL(page.url()).pathname).toBe(`/share/${first.grant.slug}`);
		eyes.expectNone();
	});

	it("shows one owner's sessions to no other, and forgets a key that was not to be kept", async () => {
		const page = await eyes.open(host.url);
		await page.fill("#key", OTHER_SERVER_KEY);
		await page.check("#keep");
		await page.click("button.main");
		await untilState(page, "live");
		await page.waitForSelector(".count:text('0 sessions')");
		await page.reload();
		await untilState(page, "live");
		await page.click("[name=out]");
		await page.waitForSelector("#key");
		await page.reload();
		await page.waitForSelector("#key");
		expect(await page.evaluate(() => sessionStorage.length)).toBe(0);
		eyes.expectNone();
	});

	it("fits a phone, dark", async () => {
		const page = await eyes.open(host.url, { ...PHONE, colorScheme: "dark" });
		await page.fill("#key", SERVER_KEY);
		await page.click("button.main");
		await untilState(page, "live");
		await page.waitForSelector(".row-title");
		await screenshot(page, "list-phone-dark");
		expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(390);
		expect(await flaws(page)).toEqual([]);
		eyes.expectNone();
	});
});
