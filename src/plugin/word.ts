import type { SessionReport } from "../outbox/report.ts";

/**
 * Whether a session is safe and where its link is, in a few lines for a person. Read from the outbox, which it does not
 * change. What that takes is loaded only here: OpenCode's start must not wait for it.
 */
export async function wordAbout(sessionId: string, dataDir: string): Promise<string> {
	const { currentStatus } = await import("../cli/status-look.ts");
	const { age, count } = await import("../cli/terminal.ts");
	const { status, isBlank, now } = await currentStatus(dataDir);
	if (isBlank) return `Nothing of it is recorded yet: no agent of opencode-outbox has ever run in ${dataDir}.`;
	const { agent, server, attention } = status;
	const session = status.sessions.find(({ session_id }) => session_id === sessionId);
	const lines = [session === undefined ? "Nothing of this session is recorded yet." : safety(session)];
	if (session !== undefined && session.pending > 0 && session.oldest_pending_at !== null)
		lines.push(
			`${count(session.pending, "change")} wait in the outbox on this machine, the oldest for ${age(now - session.oldest_pending_at)}.`,
		);
	lines.push(session?.url == null ? "It has no link yet." : `Link: ${session.url}`);
	if (agent.pid === null)
		lines.push(
			`No agent runs (${agent.state}); what is said now is recorded when the next one starts. OpenCode keeps it until then.`,
		);
	else if (server.state === "unreachable") lines.push(`The share server ${server.url ?? ""} cannot be reached.`);
	for (const { session_id, what, next } of attention)
		if (session_id === null || session_id === sessionId) lines.push(`Needs you: ${what} ${next}`);
	return lines.join("\n");
}

function safety({ state, last_error }: SessionReport): string {
	const why = last_error === null ? "" : ` (${last_error})`;
	switch (state) {
		case "synced":
			return "This session is safe: the share has everything that was recorded of it.";
		case "pending":
			return "This session is recorded on this machine and is being sent.";
		case "retrying":
			return `This session is recorded on this machine; sending it has failed and is tried again${why}.`;
		case "comparing":
			return `This session is recorded on this machine; its share is being compared with OpenCode${why}.`;
		case "incomplete":
			return "This session is on the share, but for what was set aside.";
		case "parked":
			return "This session is recorded on this machine, but is not sent until you act.";
		case "unsharing":
			return "This session's share is being taken back.";
		case "excluded":
			return "This session is not synced: your rules leave it out.";
		case "unshared":
			return "This session is not shared: its share was taken back.";
		case "not_shared":
			return "This session is recorded on this machine only: nobody asked to share it.";
	}
}
