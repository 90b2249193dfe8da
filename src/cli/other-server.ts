import { OutboxError } from "../model/errors.ts";
import type { Outbox } from "../outbox/outbox.ts";

/** How grants name the server inside the agent (agent/server-link.ts). */
const EMBEDDED = "embedded";

/** True for the agent's own server. */
export function isOwnServer(serverId: string | null): boolean {
	return serverId === EMBEDDED;
}

/** Where a share is, and how to get there; completes "its share is on …". */
export function elsewhere(serverUrl: string): string {
	return serverUrl === EMBEDDED
		? "the agent's own server; run without --server"
		: `${serverUrl}; run with that --server`;
}

/** For a session that is parked because its share is on another server than the one that this command talks to. */
export function otherServer(outbox: Outbox, sessionId: string): OutboxError {
	const server = outbox.share(sessionId)?.server_url ?? "another server";
	const name = server === EMBEDDED ? "the agent's own server" : server;
	const hint = server === EMBEDDED ? "Run the command without --server." : "Name that one with --server.";
	const message = `Its share is on ${name}, and this command talks to ${outbox.agent()?.server_url ?? "another one"}.`;
	return new OutboxError("parked", message, { hint });
}
