import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { AxeResults } from "axe-core";
import type { Page } from "playwright-core";

const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js");

/** What of WCAG 2.2 AA, and of good practice, a page breaks: each rule with where. */
export async function flaws(page: Page): Promise<string[]> {
	await page.evaluate(readFileSync(AXE, "utf8"));
	const { violations } = await page.evaluate(async (): Promise<AxeResults> => {
		const { axe } = globalThis as unknown as { axe: typeof import("axe-core") };
		return await axe.run(document);
	});
	return violations.flatMap(({ id, nodes }) =>
		nodes.map(({ target, failureSummary }) => `${id} at ${target}: ${failureSummary}`),
	);
}
