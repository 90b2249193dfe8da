import { afterAll, beforeAll, expect, it } from "vitest";
import { batchOf, type Client, connect, type Draft, openShare } from "../../server/client.ts";
import { type NodeHost, startHost } from "../../server/host.ts";
import { flaws } from "../flaws.ts";
import { Eyes, inChromium, PHONE, screenshot, untilState, untilText } from "../look.ts";
import { answered, assistant, called, everything, part, said, session, user } from "../payloads.ts";

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

async function shared(drafts: readonly Draft[]) {
	const { grant, share } = await openShare(client);
	for (let at = 0; at < drafts.length; at += 400) await share.appendOps(batchOf(at, drafts.slice(at, at + 400)));
	return { grant, share, cursor: drafts.length };
}

inChromium("the page of a session", () => {
	const eyes = new Eyes();

	it("can be used by everybody: WCAG 2.2 AA, light and dark, with everything unfolded", async () => {
		const { grant } = await shared(everything());
		for (const colorScheme of ["light", "dark"] as const) {
			const page = await eyes.open(grant.url, { colorScheme });
			await untilState(page, "live");
			await screenshot(page, `session-${colorScheme}`);
			await page.evaluate(() => scrollTo(0, 800));
			await page.waitForTimeout(300);
			await screenshot(page, `session-${colorScheme}-tools`);
			await page.evaluate(() => scrollTo(0, 1700));
			await page.waitForTimeout(300);
			await screenshot(page, `session-${colorScheme}-answer`);
			await page.evaluate(() => {
				for (const details of document.querySelectorAll("details")) details.open = true;
			});
			expect(await flaws(page)).toEqual([]);
		}
		eyes.expectNone();
	});

	it("is read with a keyboard alone, from the top to the end", async () => {
		const { grant } = await shared(everything());
		const page = await eyes.open(grant.url);
		await untilState(page, "live");
		const focused = () => page.evaluate(() => document.activeElement?.textContent?.trim());
		await page.keyboard.press("Tab");
		expect(await focused()).toBe("Skip to the messages");
		await page.keyboard.press("Enter");
		await page.waitForFunction(() => scrollY > 0);
		await page.keyboard.press("Tab");
		expect(await page.evaluate(() => document.activeElement?.closest("#messages") !== null)).toBe(true);
		const names = new Set<string | undefined>();
		for (let presses = 0; presses < 60; presses++) {
			names.add(await page.evaluate(() => document.activeElement?.localName));
			await page.keyboard.press("Tab");
		}
		expect(names).toEqual(new Set([...names, "a", "summary"]));
		await page.focus(".thought summary");
		await page.keyboard.press("Enter");
		expect(await page.$eval(".thought", (one) => (one as HTMLDetailsElement).open)).toBe(true);
		eyes.expectNone();
	});

	it("fits a phone, whatever stands in it", async () => {
		const wide = [
			user("msg_a"),
			said(
				"msg_a",
				"prt_1",
				`${"x".repeat(5000)}\n\n| ${"a long head | ".repeat(20)}\n|${"---|".repeat(20)}\n| ${"cell | ".repeat(20)}`,
			),
			assistant("msg_b"),
			called("msg_b", "prt_1", "bash", {
				input: { command: "y".repeat(3000), description: "z".repeat(300) },
				output: "w".repeat(9000),
			}),
			called("msg_b", "prt_2", "edit", {
				input: { filePath: `/${"deep/".repeat(60)}a.ts` },
				metadata: { diff: `@@ -1 +1 @@\n+${"v".repeat(4000)}\n` },
			}),
		];
		const { grant } = await shared([...everything(), ...wide]);
		const page = await eyes.open(grant.url, PHONE);
		await untilState(page, "live");
		await screenshot(page, "session-phone");
		for (let y = 0; y < 4; y++) {
			await page.evaluate(() => scrollTo(0, document.documentElement.scrollHeight));
			await page.waitForTimeout(200);
		}
		expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(390);
		await page.evaluate(() => scrollTo(0, 900));
		await page.waitForTimeout(300);
		await screenshot(page, "session-phone-tools");
		expect(await flaws(page)).toEqual([]);
		eyes.expectNone();
	});

	it("runs nothing of what stands in it, and asks nobody for anything", async () => {
		const attacks = [
			"<script>alert(1)</script>",
			'<img src="https://tracker.example/x.png" onerror="alert(1)">',
			"![x](https://tracker.example/x.png)",
			"[x](javascript:alert(1))",
			'<a href="javascript:alert(1)">x</a>',
			"<style>body{display:none}</style>",
			'<iframe src="https://tracker.example"></iframe>',
			'"><svg onload=alert(1)>',
			"\u202eevil \u001b[31mred\u001b]0;title\u0007",
		];
		const everywhere = attacks.flatMap((attack, n): Draft[] => [
			user(`msg_${n}0`, { agent: attack, model: { modelID: attack } }),
			said(`msg_${n}0`, "prt_1", attack),
			part(`msg_${n}0`, "prt_2", {
				type: "file",
				mime: "image/svg+xml",
				filename: attack,
				url: `data:image/svg+xml,${encodeURIComponent("<svg onload='alert(1)'/>")}`,
			}),
			assistant(`msg_${n}1`, { error: { name: attack, data: { message: attack } } }),
			answered(`msg_${n}1`, "prt_1", attack),
			called(`msg_${n}1`, "prt_2", "bash", {
				title: attack,
				input: { command: attack, description: attack },
				output: attack,
			}),
			called(`msg_${n}1`, "prt_3", attack, {
				input: { [attack]: attack },
				output: attack,
				status: "error",
				error: attack,
			}),
			called(`msg_${n}1`, "prt_4", "edit", {
				input: { filePath: attack },
				metadata: { diff: `@@ -1 +1 @@\n-${attack}\n+${attack}\n` },
			}),
		]);
		const { grant, share, cursor } = await shared([
			session({ title: attacks.join(" "), directory: attacks.join("/") }),
			...everywhere,
		]);
		const page = await eyes.open(grant.url);
		await untilState(page, "live");
		// The same as what comes while the page is open.
		const again = everywhere.map((one) => ({ ...one, key: one.key?.replace("msg_", "msg_9") ?? "" }));
		for (let at = 0; at < again.length; at += 30) await share.appendOps(batchOf(cursor + at, again.slice(at, at + 30)));
		await page.waitForFunction((count) => document.querySelectorAll(".message").length === count, attacks.length * 4);
		for (const link of await page.$$(
			"a[href^='javascript'], a[href^='data'], script:not([src]), iframe, svg, style, img",
		))
			expect(await link.evaluate((one) => one.outerHTML)).toBe("");
		await page.waitForTimeout(500);
		eyes.expectNone();
	});

	it("of 200 turns and 5,000 parts is complete, soon there, and smooth", async () => {
		const turns = Array.from({ length: 200 }, (_, turn) => String(turn).padStart(4, "0"));
		const drafts = turns.flatMap((turn): Draft[] => [
			user(`msg_${turn}a`),
			said(`msg_${turn}a`, "prt_000", `Question ${turn}: what about **this**?`),
			assistant(`msg_${turn}b`),
			...Array.from({ length: 24 }, (_, n): Draft => {
				const id = `prt_${String(n).padStart(3, "0")}`;
				if (n % 3 === 0)
					return answered(`msg_${turn}b`, id, `Step ${n} of ${turn}.\n\n\`\`\`ts\nconst a = ${n};\n\`\`\``);
				if (n % 3 === 1)
					return called(`msg_${turn}b`, id, "bash", {
						input: { command: "npm test", description: "Tests" },
						output: "ok\n".repeat(30),
					});
				return called(`msg_${turn}b`, id, "read", { input: { filePath: `/a/${n}.ts` }, output: "line\n".repeat(40) });
			}),
		]);
		const { grant, share, cursor } = await shared([session(), ...drafts]);
		const started = performance.now();
		const page = await eyes.open(grant.url);
		await untilState(page, "live");
		const liveMs = performance.now() - started;
		expect(await page.$$eval(".part", (all) => all.length)).toBe(5000);
		expect(await page.textContent("#messages > :first-child")).toContain("Question 0000");

		// A reader scrolls through all of it; how long it does not answer meanwhile is told.
		const frames = await page.evaluate(async () => {
			const took: number[] = [];
			let last = performance.now();
			const height = document.documentElement.scrollHeight;
			for (let y = 0; y < height; y += Math.max(800, height / 100)) {
				scrollTo(0, y);
				await new Promise(requestAnimationFrame);
				took.push(performance.now() - last);
				last = performance.now();
			}
			return took.sort((a, b) => a - b).map(Math.round);
		});
		// Not the longest: other work on the machine makes that one.
		const slowMs = frames[Math.floor(frames.length * 0.95)] ?? 0;
		const before = performance.now();
		await share.appendOps(batchOf(cursor, [answered("msg_0199b", "prt_999", "the newest line")]));
		await untilText(page, "the newest line");
		const shownMs = performance.now() - before;
		console.log(
			`5,000 parts: live after ${Math.round(liveMs)} ms; ${frames.length} jumps through all of it, the median ` +
				`${frames[Math.floor(frames.length / 2)]} ms, 95 of 100 within ${slowMs} ms, the longest ${frames.at(-1)} ms; ` +
				`a new part shown after ${Math.round(shownMs)} ms`,
		);
		expect(liveMs).toBeLessThan(60_000);
		expect(slowMs).toBeLessThan(1500);
		expect(shownMs).toBeLessThan(10_000);
		await page.click("text=To the end");
		await page.waitForFunction(() => {
			const newest = document.querySelector('[data-key="part/msg_0199b/prt_999"]')?.getBoundingClientRect();
			return newest !== undefined && newest.top > 0 && newest.bottom < innerHeight;
		});
		await screenshot(page, "session-large-end");
		eyes.expectNone();
	}, 180_000);

	it("does not jump while it is read: what comes moves nothing that stands", async () => {
		const { grant, share, cursor } = await shared(everything());
		const page = await eyes.open(grant.url);
		await page.evaluate(() => {
			const watched = globalThis as unknown as { jumps: number };
			watched.jumps = 0;
			new PerformanceObserver((list) => {
				for (const entry of list.getEntries()) watched.jumps += (entry as unknown as { value: number }).value;
			}).observe({ type: "layout-shift", buffered: true });
		});
		await untilState(page, "live");
		await share.appendOps(batchOf(cursor, [user("msg_9"), said("msg_9", "prt_1", "one more")]));
		await untilText(page, "one more");
		// Below 0.1 is good, as browsers measure it (Cumulative Layout Shift).
		expect(await page.evaluate(() => (globalThis as unknown as { jumps: number }).jumps)).toBeLessThan(0.02);
		eyes.expectNone();
	});
});
