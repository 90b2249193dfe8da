import { afterAll, beforeAll, expect, it } from "vitest";
import { Lab, type Machine, type Server } from "../../e2e/lab.ts";
import type { Opencode } from "../../fixture/opencode.ts";
import { Eyes, inChromium, screenshot, untilState, untilText } from "../look.ts";

/** Between two words of an answer, in ms. */
const PAUSE_MS = 80;
const WORDS = 1000;

inChromium("a turn of the real OpenCode, before somebody who looks at its page", () => {
	const eyes = new Eyes();
	const lab = new Lab();
	let opencode: Opencode;
	let server: Server;
	let machine: Machine;
	beforeAll(async () => {
		opencode = await lab.opencode("opencode", { git: true });
		server = await lab.server();
		machine = lab.machine("machine", opencode, server, { OPENCODE_OUTBOX_OPENCODE_URL: opencode.url });
		await machine.run();
	}, 180_000);
	afterAll(() => lab.close());

	it("grows word by word, shows its tools, its sub-session and its undo, and goes when it is unshared", async () => {
		const { id } = await opencode.createSession();
		await opencode.prompt(id, "say: hello");
		const { url } = await machine.share(id);
		const page = await eyes.open(url);
		await untilState(page, "live");
		await untilText(page, "hello");

		const model = await lab.model();
		model.pauseMs = PAUSE_MS;
		const text = Array.from({ length: WORDS }, (_, n) => `word-${n}`).join(" ");
		const answer = opencode.prompt(id, `say: ${text}`);
		const lengths = new Set<number>();
		const read = () => page.$$eval(".message:last-child .prose", ([one]) => one?.textContent?.trim() ?? "");
		while (lengths.size < 6) {
			const now = await read();
			if (now.startsWith("word-0")) {
				expect(text.startsWith(now)).toBe(true);
				lengths.add(now.length);
			}
			await page.waitForTimeout(PAUSE_MS);
		}
		await screenshot(page, "turn-growing");
		model.pauseMs = 0;
		await answer;
		await page.waitForFunction(
			(whole) => document.querySelector(".message:last-child .prose")?.textContent?.trim() === whole,
			text,
		);
		await page.waitForSelector(".working", { state: "detached" });
		expect(await page.textContent(".message:last-child .step")).toMatch(/10 in · 5 out/);

		await opencode.prompt(id, "run: echo from-the-tool; exit 3");
		await page.waitForSelector(".message .tool[data-state=completed] .output:has-text('from-the-tool')");
		await opencode.prompt(id, "write: notes.txt some words");
		await page.waitForSelector(".message .tool[data-state=completed]:has-text('notes.txt')");
		await opencode.prompt(id, "todo: Measure, Mend");
		await page.waitForSelector("[data-piece=todos]:has-text('0 of 2 done')", { state: "attached" });
		await opencode.prompt(id, "task: say: from below");
		await page.waitForSelector(".child a");
		await screenshot(page, "turn-tools");
		const below = await eyes.open(new URL((await page.getAttribute(".child a", "href")) ?? "", url).href);
		await untilText(below, "from below");

		const messages = await opencode.messages(id);
		const asked = messages.findLast(({ info }) => info.role === "user");
		await opencode.revert(id, asked?.info.id ?? "");
		await untilText(page, "undone and not shown");
		expect(await page.$(".child a")).toBeNull();
		await opencode.unrevert(id);
		await page.waitForSelector(".child a");

		const same = await page.$$eval("#messages > article", (all) => all.map((one) => (one as HTMLElement).dataset.key));
		expect(same).toEqual(messages.map(({ info }) => `message/${info.id}`));
		await machine.cli("unshare", id);
		await untilState(page, "deleted");
		eyes.expectNone();
	}, 240_000);

	it("no secret of these machines was told", () => lab.expectNothingTold());
});
