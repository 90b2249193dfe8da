import { statSync } from "node:fs";
import type { Clock } from "../model/clock.ts";

/** How often it is looked whether anything goes on, in ms: a few stats of files. */
const LOOK_MS_MAX = 5000;

export interface IdlenessOptions {
	/** How long nothing must go on, in ms. */
	readonly afterMs: number;
	/** True while somebody is there who needs an agent: an OpenCode on the lane, or a server that is listened to. */
	readonly isNeeded: () => boolean;
	/** True when nothing is left that can be sent. */
	readonly isDrained: () => boolean;
	/** OpenCode's database: whoever writes it is at work, on the lane or not. Null where its server is the source. */
	readonly opencodeDb: string | null;
	readonly clock: Clock;
}

/**
 * Resolves when nothing has gone on for `afterMs`, or when `signal` is aborted; true in the first case.
 *
 * Whatever happens after is captured by the next agent: OpenCode keeps it, and its plugin starts one.
 */
export async function idleness(options: IdlenessOptions, signal: AbortSignal): Promise<boolean> {
	const { afterMs, isNeeded, isDrained, opencodeDb, clock } = options;
	const lookMs = Math.min(LOOK_MS_MAX, afterMs / 4);
	let seen = traceOf(opencodeDb);
	for (let since = clock.now(); !signal.aborted; await clock.sleep(lookMs, signal)) {
		const trace = traceOf(opencodeDb);
		const isQuiet = trace === seen && !isNeeded() && isDrained();
		seen = trace;
		if (!isQuiet) since = clock.now();
		else if (clock.now() - since >= afterMs) return true;
	}
	return false;
}

/** Changes with every write to the database, which goes to its WAL first. */
function traceOf(path: string | null): string {
	if (path === null) return "";
	return [path, `${path}-wal`]
		.map((file) => statSync(file, { throwIfNoEntry: false }))
		.map((stat) => (stat === undefined ? "" : `${stat.ino}:${stat.mtimeMs}:${stat.size}`))
		.join(" ");
}
