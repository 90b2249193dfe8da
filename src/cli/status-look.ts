import { existsSync, readdirSync, statfsSync } from "node:fs";
import { join } from "node:path";
import { OutboxError } from "../model/errors.ts";
import { version } from "../model/package.ts";
import { EMPTY_REPORT, openReport, type Report } from "../outbox/report.ts";
import { isLocked } from "../sqlite/lock.ts";
import { type Paths, pathsIn } from "./paths.ts";
import { type Status, statusOf } from "./status-facts.ts";

/** What `status` tells of a data directory now. Changes nothing; works while the agent runs, is stopped or was killed. */
export async function currentStatus(dataDir: string): Promise<{
	readonly status: Status;
	/** Nothing has ever run there. */
	readonly isBlank: boolean;
	readonly now: number;
}> {
	const seen = await look(pathsIn(dataDir));
	const facts = {
		...seen,
		version: version(),
		dataDir,
		freeBytes: freeBytesAt(dataDir),
		setAside: setAsideIn(dataDir),
	};
	const status = statusOf(seen.report ?? EMPTY_REPORT, facts);
	return { status, isBlank: seen.report === undefined && !seen.isLocked, now: seen.now };
}

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

/**
 * The outbox and the agent's lock as of one moment: an agent that stops between the two looks is not taken for killed.
 *
 * @throws OutboxError older_database, and what the file says.
 */
export async function look(paths: Paths): Promise<{ report: Report | undefined; isLocked: boolean; now: number }> {
	for (let looks = 1; ; looks++) {
		const before = await isLocked(paths.lock);
		const now = Date.now();
		const report = await reportOf(paths.outbox, now);
		if (looks === LOOKS_MAX || (await isLocked(paths.lock)) === before) return { report, isLocked: before, now };
	}
}

/**
 * One state of the outbox at `path`; undefined where there is none.
 *
 * @throws OutboxError older_database while what this version looks for is not in it yet, and what the file says.
 */
export async function reportOf(path: string, now: number): Promise<Report | undefined> {
	const reader = await openReport(path);
	try {
		if (reader?.isOlder())
			throw new OutboxError("older_database", `${path} was written by an older version of opencode-outbox.`);
		return reader?.read(now);
	} finally {
		reader?.close();
	}
}
