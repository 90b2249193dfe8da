import { OutboxError } from "../model/errors.ts";
import { keys } from "../model/op.ts";
import type { Outbox } from "../outbox/outbox.ts";
import { openSource } from "./compose.ts";
import type { Settings } from "./settings.ts";
import { printable } from "./terminal.ts";

/**
 * Makes sure that a session that a person named exists, in OpenCode or as something captured or shared here.
 *
 * @throws OutboxError no_such_session.
 */
export async function requireSession(settings: Settings, outbox: Outbox, sessionId: string): Promise<void> {
	if (outbox.isCaptured(sessionId, keys.session) || outbox.share(sessionId) !== undefined) return;
	if (await isInOpencode(settings, sessionId)) return;
	const message = `There is no session ${printable(sessionId)}, neither in OpenCode nor in the outbox.`;
	throw new OutboxError("no_such_session", message, {
		hint: "`opencode session list` and `opencode-outbox status` list the sessions with their ids.",
	});
}

async function isInOpencode(settings: Settings, sessionId: string): Promise<boolean> {
	try {
		const source = await openSource(settings);
		try {
			return (await source.snapshot(sessionId)) !== undefined;
		} finally {
			source.close();
		}
	} catch (error) {
		if (error instanceof OutboxError && error.code === "no_source") return false;
		throw error;
	}
}
