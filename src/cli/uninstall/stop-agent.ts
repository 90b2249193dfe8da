import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { OutboxError } from "../../model/errors.ts";
import { isLocked } from "../../sqlite/lock.ts";

/** From SIGTERM to the end, in ms: an agent drains for 8 s at most. */
const STOP_MS = 15_000;
const LOOK_MS = 50;
/** How long it is looked whether somebody starts another one, in ms: a plugin tries again after 2 s at first. */
const HEIR_MS = 3000;

/** The process that has the outbox; undefined where none has. */
export async function holder(lockPath: string): Promise<{ pid: number | null } | undefined> {
	if (!(await isLocked(lockPath))) return undefined;
	try {
		const pid = Number(readFileSync(`${lockPath}.pid`, "utf8"));
		return { pid: Number.isSafeInteger(pid) && pid > 0 ? pid : null };
	} catch {
		return { pid: null };
	}
}

/**
 * Ends the process that has the outbox, by SIGTERM: it sends what it can for 8 s. Its lock tells that it is still the one.
 *
 * @throws OutboxError owned when it cannot be told which process it is, or when it does not end.
 */
export async function stopAgent(lockPath: string): Promise<void> {
	const held = await holder(lockPath);
	if (held === undefined) return;
	if (held.pid === null)
		throw new OutboxError("owned", `A process holds ${lockPath}, and does not tell which one.`, {
			hint: "Stop the agent where it runs (another container?), then run this again. Nothing was changed.",
		});
	try {
		process.kill(held.pid, "SIGTERM");
	} catch (error) {
		const { code } = error as NodeJS.ErrnoException;
		if (code === "ESRCH" && !(await isLocked(lockPath))) return;
		throw new OutboxError("owned", `The agent (pid ${held.pid}) cannot be stopped from here (${code}).`, {
			hint: "Stop it as the user and in the container that it runs in, then run this again. Nothing was changed.",
		});
	}
	for (const until = Date.now() + STOP_MS; (await holder(lockPath))?.pid === held.pid; await delay(LOOK_MS))
		if (Date.now() > until)
			throw new OutboxError("owned", `The agent (pid ${held.pid}) has not ended within ${STOP_MS / 1000} s.`, {
				hint: `See its log; \`kill -9 ${held.pid}\` ends it, and loses nothing. Then run this again.`,
			});
}

/** Whether an agent comes back: an OpenCode with the plugin in it starts one, and so does a service. */
export async function comesBack(lockPath: string): Promise<boolean> {
	for (const until = Date.now() + HEIR_MS; Date.now() < until; await delay(LOOK_MS))
		if (await isLocked(lockPath)) return true;
	return false;
}
