import { existsSync, readdirSync, statfsSync } from "node:fs";
import { join } from "node:path";
import { openReport, type Report } from "../outbox/report.ts";
import { isLocked } from "../sqlite/lock.ts";
import type { Paths } from "./paths.ts";

/** What this user can still write there, in bytes; undefined when it cannot be told. */
export function freeBytesAt(dataDir: string): number | undefined {
	try {
		const { blocks, bavail, bsize } = statfsSync(dataDir);
		// Some file systems have no notion of size.
		return blocks === 0 ? undefined : bavail * bsize;
	} catch {
		return undefined;
	}
}

/** Damaged outboxes that were set aside (outbox/keeper.ts), by full path. */
export function setAsideIn(dataDir: string): string[] {
	const names = existsSync(dataDir) ? readdirSync(dataDir) : [];
	const isOne = (name: string) => /^outbox\.db\.damaged-[^-]+-[^-]+-[^-]+-[^-]+-[^-]+Z$/.test(name);
	return names.filter(isOne).map((name) => join(dataDir, name));
}

/** How often a look is repeated while the agent is just coming or going. */
const LOOKS_MAX = 5;

/** The outbox and the agent's lock as of one moment: an agent that stops between the two looks is not taken for killed. */
export async function look(paths: Paths): Promise<{ report: Report | undefined; isLocked: boolean; now: number }> {
	for (let looks = 1; ; looks++) {
		const before = await isLocked(paths.lock);
		const now = Date.now();
		const reader = await openReport(paths.outbox);
		const report = reader?.read(now);
		reader?.close();
		if (looks === LOOKS_MAX || (await isLocked(paths.lock)) === before) return { report, isLocked: before, now };
	}
}
