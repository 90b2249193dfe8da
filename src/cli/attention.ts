import { basename } from "node:path";
import { CLAIMED } from "../agent/failure.ts";
import { ERRORS } from "../model/errors.ts";
import { RESTORING } from "../outbox/adopt.ts";
import type { SessionReport } from "../outbox/report.ts";
import { OVER_QUOTA } from "../outbox/session.ts";
import { PASSWORD_HINT } from "../source/http.ts";
import type { Status } from "./status-facts.ts";
import { count } from "./terminal.ts";

/** Something that goes on only when a person acts (G6). */
export interface Attention {
	/** Null for what concerns the agent as a whole. */
	readonly session_id: string | null;
	/** What is the matter, with the facts. */
	readonly what: string;
	/** What to do next. */
	readonly next: string;
}

/** What a disk has free when it counts as full, in bytes: an append would not fit any more. */
const FULL_BELOW = 1024 * 1024;

/** What keeps capture from reading, by the error's code, and what to do. */
const BROKEN: Readonly<Record<string, readonly [what: string, next: string]>> = {
	corrupt: ["is damaged, or is no SQLite database", "OpenCode must be able to open it; put a backup in its place."],
	io: ["cannot be read", "See the agent's log for why; its permissions and its disk come first."],
	unknown_schema: ["is not laid out as this version knows it", "Upgrade opencode-outbox, or set --opencode-db."],
	busy: ["is locked by another program", "End whatever holds it: OpenCode's own locks last for milliseconds."],
};

/**
 * Everything that waits for a person, the agent's own first. What mends itself (retries, a silent server) is not in it.
 *
 * @param freeBytes of the disk that holds the outbox; undefined when it cannot be told.
 * @param setAside damaged outboxes that are still there.
 * @param damage what the agent says of the last one of them.
 */
export function attentionTo(
	status: Omit<Status, "attention">,
	{ freeBytes, setAside = [] }: { freeBytes?: number | undefined; setAside?: readonly string[] | undefined },
	damage: string | null,
): Attention[] {
	const { agent, server, outbox, sessions } = status;
	const list: Attention[] = [];
	const add = (session_id: string | null, what: string, next: string) => void list.push({ session_id, what, next });
	const pending = count(outbox.pending, "op");
	if (agent.state === "dead")
		add(
			null,
			"The agent was killed.",
			"Start it again: `opencode-outbox run`. It goes on where it was; nothing is lost.",
		);
	if (agent.state === "stopped" && outbox.pending > 0) {
		const next = "`opencode-outbox run` starts it; `opencode-outbox flush` sends what is there once.";
		add(null, `The agent is stopped; ${pending} pending.`, next);
	}
	if (agent.capture_paused === "outbox_full") {
		const next =
			"It goes on by itself as the server takes what is pending; OpenCode keeps the events. --outbox-max raises the limit.";
		add(null, "Capture is paused: the outbox takes as much of the disk as it may.", next);
	}
	if (agent.capture_paused === "disk_full" || (freeBytes !== undefined && freeBytes < FULL_BELOW)) {
		const next = "Free some space; it goes on by itself, OpenCode keeps the events.";
		add(null, "The disk that holds the outbox is full; capture is stopped.", next);
	}
	const broken = BROKEN[agent.capture_paused ?? ""];
	if (broken && agent.pid !== null) {
		const [what, next] = broken;
		const goesOn = "It goes on by itself then, and nothing is lost: OpenCode has what it has.";
		add(null, `Capture is stopped: OpenCode's database ${status.opencode.db ?? ""} ${what}.`, `${next} ${goesOn}`);
	}
	if (agent.capture_paused === "denied")
		add(null, `Capture is stopped: ${agent.last_error ?? "OpenCode's server does not let us in."}`, PASSWORD_HINT);
	for (const path of setAside) {
		const told = damage?.includes(basename(path)) ? damage : `An outbox that was damaged is kept as ${basename(path)}.`;
		const next = `Check the disk. The shares mend themselves; delete ${path} with its -wal and -shm once nobody needs it.`;
		add(null, told, next);
	}
	if (server.state === "refused") {
		const what = `The share server ${server.url ?? ""} does not accept the server key.`;
		add(null, what, "Put the right key into the server key file. It is read again at the next attempt.");
	}
	if (server.state === "untrusted") {
		const why = agent.last_error ?? "The share server's certificate is not trusted here.";
		add(null, `Nothing is sent to ${server.url ?? "the share server"}: ${why}`, ERRORS.untrusted.hint);
	}
	for (const session of sessions) {
		const { session_id: id, dead } = session;
		if (session.state === "parked") {
			const why = session.last_error === null ? "" : `: ${session.last_error}`;
			const kept =
				session.parked_code === CLAIMED ? `; ${count(session.pending, "change")} of this machine kept here` : "";
			add(id, `It is parked (${session.parked_code})${why}${kept}`, afterParking(session));
		}
		if (session.parked_code === RESTORING) {
			const next = `Run it again: \`opencode-outbox restore --continue ${id}\`. It goes on from where it was.`;
			add(id, `Its restore has not ended; nothing of it is synced until then (${session.url}).`, next);
		}
		if (dead > 0) {
			const next = `\`opencode-outbox dead list --session ${id}\`, then \`dead revive\` or \`dead discard\`.`;
			add(id, `${count(dead, "dead letter")}: set aside, while the session goes on.`, next);
		}
		if (session.source_state === "vanished" && session.wanted !== "never") {
			const why = session.source_note === null ? "" : ` (${session.source_note})`;
			const next = `Nothing, if OpenCode gets it back. \`opencode-outbox unshare ${id}\` takes the share back.`;
			add(
				id,
				`OpenCode does not show it any more, and nothing proves that it was deleted${why}. Its share is kept.`,
				next,
			);
		}
	}
	return list;
}

function afterParking({ session_id: id, parked_code, url }: SessionReport): string {
	const share = `then \`opencode-outbox share ${id}\`, makes a new share`;
	const anew = `\`opencode-outbox unshare ${id}\`, ${share}.`;
	const forget = `\`opencode-outbox unshare --forget ${id}\`, ${share}; the old one stays where it is.`;
	if (parked_code === "other_server") return `Run the agent with the server that has the share (${url}). Or: ${forget}`;
	if (parked_code === "wish_lost")
		return `What was asked of it went with a damaged outbox. \`opencode-outbox share ${id}\` shares it, \`unshare ${id}\` does not.`;
	if (parked_code === CLAIMED)
		return `\`opencode-outbox restore ${url}\` brings what the other machine did, beside this with --fork where both went on; --continue takes it back. To share this copy by itself: \`opencode-outbox unshare --forget ${id}\`, then \`opencode-outbox share ${id}\`.`;
	if (parked_code === OVER_QUOTA)
		return "Its ops are kept, and it goes on by itself within minutes of the server having room: raise its --share-bytes-max, --owner-bytes-max or --owner-shares-max, or `opencode-outbox unshare` what need not be there.";
	if (parked_code === "denied") return `Its ops are kept. Somebody has changed the share's secret. ${forget}`;
	if (parked_code === "invalid_request")
		return "Upgrade opencode-outbox here or on the server, then restart the agent.";
	return `Its ops are kept. ${anew}`;
}
