import { Agent } from "../agent/agent.ts";
import { Capture } from "../agent/capture.ts";
import { hurry, isDrained } from "../agent/flusher.ts";
import { recordedRules } from "../agent/rules.ts";
import { systemClock } from "../model/clock.ts";
import { OutboxError } from "../model/errors.ts";
import type { Logger } from "../model/logger.ts";
import { type Outbox, openOutbox } from "../outbox/outbox.ts";
import { redactedSource } from "../source/redacted.ts";
import { isLocked } from "../sqlite/lock.ts";
import { agentOptions, openSource, roomOf } from "./compose.ts";
import { pathsIn } from "./paths.ts";
import { rulesOf } from "./rules.ts";
import type { Settings } from "./settings.ts";

/** How often a command looks whether a running agent has done what it was asked for, in ms. */
const LOOK_MS = 50;
/** How often it looks whether there still is somebody to wait for, in ms. A look is a probe of the lock, below 1 ms. */
const HEIR_MS = 250;

/** The outbox with somebody who flushes it: the agent that runs, or one for the time of this command. */
export interface Host {
	readonly outbox: Outbox;
	/** True when the flushing is another process's. */
	readonly beside: boolean;
	/** Captures what OpenCode has now. Throws no_source and what else stands in the way. */
	capture(signal: AbortSignal): Promise<void>;
	/**
	 * Waits until `claim` holds; false when `signal` was aborted first.
	 *
	 * @throws OutboxError denied when the server does not let this agent in: waiting will not mend that.
	 */
	until(claim: () => boolean, signal: AbortSignal): Promise<boolean>;
	/** True when nothing is left that can be sent; parked sessions and dead letters wait for a person. */
	idle(): boolean;
}

/** Runs `body` with a host and leaves everything as it was before, but for what was sent. */
export async function withHost<T>(settings: Settings, log: Logger, body: (host: Host) => Promise<T>): Promise<T> {
	const agent = await startUnlessOwned(settings, log);
	if (agent) {
		try {
			return await body({
				get outbox() {
					return agent.outbox;
				},
				beside: false,
				capture: (signal) => agent.capture(signal),
				until: untilOn(() => agent.outbox),
				idle: () => agent.idle(),
			});
		} finally {
			await agent.stop();
		}
	}
	return withHeir(settings, log, body);
}

/** Beside whoever has the outbox; takes over when that was killed, or was a command that has ended. */
async function withHeir<T>(settings: Settings, log: Logger, body: (host: Host) => Promise<T>): Promise<T> {
	const paths = pathsIn(settings.dataDir);
	const outbox = await openOutbox(paths.outbox);
	let heir: Agent | undefined;
	const takeOver = async () => {
		if (heir === undefined && !(await isLocked(paths.lock))) heir = await startUnlessOwned(settings, log);
	};
	try {
		// The agent sees the change of its database and goes to work at once, whatever it was waiting for.
		hurry(outbox, systemClock.now());
		// What is shared, and for how long, is the running agent's to decide, not this command's flags'.
		const mode = outbox.agent()?.share_mode ?? settings.share;
		const onDelete = outbox.agent()?.on_delete ?? settings.onDelete;
		const room = roomOf(outbox, settings, log);
		return await body({
			outbox,
			get beside() {
				return heir === undefined;
			},
			capture: async (signal) => {
				const agent = outbox.agent();
				const { selection, redactor } = agent === undefined ? rulesOf(settings) : recordedRules(agent);
				const opened = await openSource(settings, agent?.opencode_identity ?? undefined);
				const source = redactedSource(opened, redactor);
				try {
					const capture = new Capture({ outbox, mode, onDelete, selection, clock: systemClock, log, room });
					await capture.pass(source, signal);
				} finally {
					source.close();
				}
			},
			until: untilOn(() => outbox, takeOver),
			idle: () => heir?.idle() ?? isDrained(outbox, mode),
		});
	} finally {
		await heir?.stop();
		outbox.close();
	}
}

async function startUnlessOwned(settings: Settings, log: Logger): Promise<Agent | undefined> {
	try {
		return await Agent.start({ ...agentOptions(settings, log, true), hurry: true, keepsRules: true });
	} catch (error) {
		if (error instanceof OutboxError && error.code === "owned") return undefined;
		throw error;
	}
}

function untilOn(outbox: () => Outbox, takeOver?: () => Promise<void>) {
	return async (claim: () => boolean, signal: AbortSignal): Promise<boolean> => {
		for (let lookedAt = systemClock.now(); !claim(); ) {
			if (signal.aborted) return false;
			const agent = outbox().agent();
			if (agent?.server_state === "refused")
				throw new OutboxError("denied", `The share server ${agent.server_url ?? ""} does not accept the server key.`);
			if (agent?.server_state === "untrusted")
				throw new OutboxError("untrusted", agent.last_error ?? "The share server's certificate is not trusted here.");
			await systemClock.sleep(LOOK_MS, signal);
			if (takeOver === undefined || systemClock.now() - lookedAt < HEIR_MS) continue;
			await takeOver();
			lookedAt = systemClock.now();
		}
		return true;
	};
}
