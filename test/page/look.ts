import { existsSync, mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect } from "vitest";

/** Debian's, unless named otherwise. Playwright brings none with it. */
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";

/** A browser takes seconds to start and a core to run: `npm run test:page` asks for it, and needs one. */
const IS_ASKED_FOR = process.env.PAGE === "1";

/** Tests that look at the pages in Chromium, with the scripts that `npm run bundle` makes. */
export function inChromium(name: string, body: () => void): void {
	if (IS_ASKED_FOR) describe(name, body);
	else describe.skip(`${name} (left out: \`npm run test:page\` looks at it in Chromium)`, body);
}

/** Where screenshots go; not a part of the repository. */
const FOLDER = fileURLToPath(new URL("../../screenshots/", import.meta.url));

export const PHONE: BrowserContextOptions = {
	viewport: { width: 390, height: 844 },
	deviceScaleFactor: 2,
	isMobile: true,
	hasTouch: true,
};

/** Chromium for the tests of a file, and pages in it whose every complaint is a failure. */
export class Eyes {
	#browser: Browser | undefined;
	readonly #complaints: string[] = [];

	constructor() {
		if (!IS_ASKED_FOR) return;
		beforeAll(async () => {
			if (!existsSync(CHROMIUM)) throw new Error(`There is no Chromium at ${CHROMIUM}. Set CHROMIUM to where one is.`);
			const args = ["--no-sandbox", "--disable-gpu", "--no-proxy-server"];
			this.#browser = await chromium.launch({ executablePath: CHROMIUM, args });
		}, 120_000);
		afterAll(() => this.#browser?.close());
	}

	/** Opens a page of a server of ours. It may ask that server, and nobody else. */
	async open(url: string, options: BrowserContextOptions = {}): Promise<Page> {
		const context = await this.#browser?.newContext({ viewport: { width: 1100, height: 900 }, ...options });
		if (context === undefined) throw new Error("The browser has not started.");
		context.setDefaultTimeout(60_000);
		const page = await context.newPage();
		const complain = (what: string) => void this.#complaints.push(what);
		page.on("pageerror", (error) => complain(`error: ${error.message}`));
		page.on("dialog", (dialog) => complain(`dialog: ${dialog.message()}`));
		page.on("console", (message) => {
			// The browser tells of every lost connection; and of capnweb's last word on one.
			const isLost = /WebSocket connection|already in CLOSING|net::ERR|status of 4/.test(message.text());
			if (message.type() === "error" && !isLost) complain(`console: ${message.text()}`);
		});
		page.on("request", (request) => {
			const to = request.url();
			if (!to.startsWith(new URL(url).origin) && !to.startsWith("data:")) complain(`request: ${to}`);
		});
		await page.goto(url);
		return page;
	}

	/** What the pages complained of since this was asked last. */
	complaints(): string[] {
		return this.#complaints.splice(0);
	}

	expectNone(): void {
		expect(this.complaints()).toEqual([]);
	}
}

/** Waits until the page says so of itself. */
export function untilState(page: Page, state: string): Promise<unknown> {
	return page.waitForSelector(`#state[data-state="${state}"]`);
}

/** Waits until a text stands on the page. */
export function untilText(page: Page, text: string): Promise<unknown> {
	return page.waitForFunction((wanted) => document.body.textContent?.includes(wanted), text);
}

/** For a person to look at. */
export async function screenshot(page: Page, name: string): Promise<void> {
	mkdirSync(FOLDER, { recursive: true });
	await page.screenshot({ path: `${FOLDER}${name}.png` });
}
