import type { SessionReport } from "../outbox/report.ts";
import type { Status } from "./status-facts.ts";
import { age, brief, bytes, count, type Paint, printable, table } from "./terminal.ts";

/** Sessions that need nobody, shown without `--all`. */
export const SESSIONS_SHOWN = 20;
const TITLE_CHARACTERS = 40;

/** `status` for people: the oldest pending age first, then who works, what needs a person, and the rest. */
export function statusText(status: Status, now: number, all: boolean, paint: Paint): string {
	const needy = new Set(status.attention.map((item) => item.session_id));
	const isRetrying = (session: SessionReport) => session.state === "retrying" && !needy.has(session.session_id);
	const retrying = status.sessions.filter(isRetrying);
	// Of those that were never begun, nothing is known here but that they are left out.
	const isMark = (session: SessionReport) =>
		session.state === "excluded" && session.title === "" && session.cursor === 0;
	const isRest = (session: SessionReport) => !needy.has(session.session_id) && !isRetrying(session) && !isMark(session);
	const rest = status.sessions.filter(isRest);
	const shown = all ? rest : rest.slice(0, SESSIONS_SHOWN);
	const hidden = rest.length - shown.length;
	return [
		headline(status, paint),
		table(facts(status, now).map(([label, text]) => [paint("dim", label), text])),
		section("Needs you", attention(status, paint), paint),
		section("Retrying by itself", retrying.map((session) => retryText(session, now)).join("\n"), paint),
		section(
			"Sessions",
			table(
				shown.map((session) => sessionRow(session, now)),
				"  ",
			),
			paint,
		),
		hidden > 0 ? `  … and ${hidden} more: --all shows them.\n` : "",
		section("Left out", leftOut(status), paint),
	]
		.filter((part) => part !== "")
		.map((part) => (part.endsWith("\n") ? part : `${part}\n`))
		.join("");
}

function headline({ agent, outbox }: Status, paint: Paint): string {
	const { oldest_pending_age_ms: oldest, pending } = outbox;
	if (oldest === null && agent.pid !== null) return paint("bold", "Nothing is pending.");
	// Without an agent nobody has looked at OpenCode, so that nothing pending does not mean that all is there.
	if (oldest === null)
		return paint("bold", "Nothing captured is pending; what OpenCode did since is captured at the next start.");
	return paint("bold", `Oldest pending change: ${age(oldest)} (${count(pending, "op")}, ${bytes(outbox.bytes)})`);
}

function facts({ agent, server, opencode, outbox }: Status, now: number): [string, string][] {
	const since = agent.since === null ? "" : ` for ${age(now - agent.since)}`;
	const who = agent.pid === null ? agent.state : `${agent.state}${since} (pid ${agent.pid})`;
	const problem =
		agent.last_error === null || agent.state === "stopped" || isAway(server) ? "" : `; ${brief(agent.last_error, 200)}`;
	const next = server.next_connect_at === null ? "" : `, next attempt ${due(server.next_connect_at, now)}`;
	const failed = isAway(server) ? ` after ${count(server.connect_attempts, "attempt")}${next}` : "";
	const way = server.transport === null ? "" : ` over ${server.transport}`;
	const heard =
		opencode.url === null ? "" : `${opencode.connected ? "connected to" : "not connected to"} ${opencode.url}`;
	const deletes = agent.on_delete === "delete" ? "what it deletes is deleted on the server too" : "";
	const places = [opencode.db ?? "", opencode.source === "server" ? `${heard}, its only source` : heard, deletes];
	return [
		["Agent", `${who}${problem}`],
		["Server", server.url === null ? "none yet" : printable(`${server.url}: ${server.state}${way}${failed}`)],
		["OpenCode", opencode.source === null ? "none yet" : printable(places.filter((text) => text !== "").join(", "))],
		[
			"Outbox",
			`${outbox.pending} pending (${outbox.sealed} sealed, ${outbox.in_flight} in flight), ${outbox.dead} dead`,
		],
	];
}

function isAway({ state }: Status["server"]): boolean {
	return state === "unreachable" || state === "untrusted";
}

function leftOut({ left_out, outbox }: Status): string {
	const rows = left_out.map(({ reason, sessions }) => [`  ${count(sessions, "session")}`, printable(reason)]);
	if (outbox.excluded > 0)
		rows.push([`  ${count(outbox.excluded, "op")}`, "kept until their sessions are taken again"]);
	return table(rows);
}

function attention({ attention, sessions }: Status, paint: Paint): string {
	const titles = new Map(sessions.map((session) => [session.session_id, session.title]));
	return attention
		.map(({ session_id: id, what, next }) => {
			const whose = id === null ? "" : `${printable(id)} ${quoted(titles.get(id) ?? "")}: `;
			return `  ${paint("yellow", `${whose}${brief(what, 500)}`)}\n    ${printable(next)}`;
		})
		.join("\n");
}

function retryText(session: SessionReport, now: number): string {
	const { session_id: id, title, attempts, next_retry_at, last_error, pending } = session;
	const next = next_retry_at === null ? "now" : due(next_retry_at, now);
	const tried = `${count(pending, "op")}, ${count(attempts, "attempt")}, next ${next}`;
	return `  ${printable(id)} ${quoted(title)}: ${tried}; ${brief(last_error ?? "", 200)}`;
}

function sessionRow(session: SessionReport, now: number): string[] {
	const { session_id: id, title, state, source_state, pending, cursor, last_acked_at, url } = session;
	const progress = pending > 0 ? `${pending} of ${cursor + pending} pending` : `${count(cursor, "op")}`;
	const acked = last_acked_at === null ? "" : `${age(now - last_acked_at)} ago`;
	const where = source_state === "present" ? state : `${state}, ${source_state} in OpenCode`;
	return [printable(id), quoted(title), where, progress, acked, printable(url ?? "")];
}

function quoted(title: string): string {
	return `"${brief(title, TITLE_CHARACTERS)}"`;
}

function due(at: number, now: number): string {
	return at <= now ? "now" : `in ${age(at - now)}`;
}

function section(title: string, text: string, paint: Paint): string {
	return text === "" ? "" : `\n${paint("bold", title)}\n${text}\n`;
}
