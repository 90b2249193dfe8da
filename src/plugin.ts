import { utimes } from "node:fs/promises";
import { join } from "node:path";
import { defaultDataDir } from "./cli/paths.ts";
import { DOORBELL_FILE } from "./source/file-doorbell.ts";

/** Events after which OpenCode's database holds something new. */
const RINGS =
	/^(session\.(created|updated|deleted|diff|idle)|message\.(updated|removed)|message\.part\.(updated|removed)|todo\.updated)$/;
/** Events within this time ring once, in ms: a streaming tool makes hundreds a second. */
const QUIET_MS = 50;

/**
 * The OpenCode plugin: rings the doorbell of the agent that runs on this machine.
 *
 * For the TUI and `opencode run`, which open no port that an agent could listen to. Carries no truth: the agent reads
 * OpenCode's database, and finds by polling what no doorbell told. O(1) per event, never throws, waits for nothing,
 * writes nothing to the terminal; without an agent it has no effect (G7).
 *
 * The only export, since OpenCode takes every export of a plugin file for a plugin.
 */
export default async function opencodeOutbox(): Promise<{ event(input: { event: { type: string } }): Promise<void> }> {
	const bell = join(process.env.OPENCODE_OUTBOX_DATA_DIR || defaultDataDir(process.env), DOORBELL_FILE);
	let ringing = false;
	const ring = () => {
		ringing = false;
		const now = new Date();
		// The agent makes the file; where it is missing, nobody listens.
		utimes(bell, now, now).catch(() => undefined);
	};
	return {
		async event({ event }) {
			if (ringing || !RINGS.test(event?.type ?? "")) return;
			ringing = true;
			setTimeout(ring, QUIET_MS).unref();
		},
	};
}
