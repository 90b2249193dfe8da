import type { Status } from "../status-facts.ts";
import { age, brief, count } from "../terminal.ts";
import type { Outlook, Progress } from "./progress.ts";

/** A bar of `width` characters. Full only when nothing is pending, and never quite empty once something was done. */
export function bar(done: number, total: number, width: number, [full, rest]: readonly [string, string]): string {
	const exact = total <= 0 ? width : (done / total) * width;
	const filled = done >= total ? width : Math.min(width - 1, done > 0 ? Math.max(1, Math.floor(exact)) : 0);
	return full.repeat(filled) + rest.repeat(width - filled);
}

/** The characters of a bar: blocks where the terminal's language has them. */
export function barStyle(env: Readonly<Record<string, string | undefined>>): readonly [string, string] {
	const locale = env.LC_ALL || env.LC_CTYPE || env.LANG || "";
	return /utf-?8/i.test(locale) && env.TERM !== "linux" ? ["█", "░"] : ["#", "."];
}

/** How far a backlog is: "1234 of 2740 sent, 56/s, about 3 min". */
export function progressText({ done, total, per_second, outlook }: Progress, { agent }: Status): string {
	if (outlook.kind === "level")
		return agent.pid === null ? "nothing captured is pending; no agent runs" : "nothing is pending";
	const rate = per_second === null || outlook.kind === "stalled" ? [] : [`${rateText(per_second)}/s`];
	return [`${done} of ${total} sent`, ...rate, outlookText(outlook)].join(", ");
}

/** Whole percents that are done of a backlog; 100 only when all is. */
export function percent({ done, total }: Progress): number {
	return Math.floor((100 * done) / total);
}

function rateText(perSecond: number): string {
	return perSecond >= 10 ? String(Math.round(perSecond)) : perSecond.toFixed(1);
}

function outlookText(outlook: Outlook): string {
	if (outlook.kind === "eta") return about(outlook.ms);
	if (outlook.kind === "stalled") return "stalled";
	return outlook.kind === "growing" ? "growing" : "cannot tell yet";
}

/** As coarse as an estimate is: "about 40 s", "about 3 min". */
export function about(ms: number): string {
	if (ms < 10_000) return "a few seconds";
	if (ms < 90_000) return `about ${Math.round(ms / 10_000) * 10} s`;
	if (ms < 90 * 60_000) return `about ${Math.round(ms / 60_000)} min`;
	if (ms < 48 * 3_600_000) return `about ${Math.round(ms / 3_600_000)} h`;
	return `about ${Math.round(ms / 86_400_000)} d`;
}

/** Why a backlog does not move, where that is known; the first that applies. */
export function stallText({ outlook }: Progress, status: Status, now: number): string | undefined {
	if (outlook.kind === "level" || outlook.kind === "eta") return undefined;
	const { agent, server, sessions } = status;
	if (agent.pid === null)
		return `${agent.state === "dead" ? "the agent was killed" : "no agent runs"}: \`opencode-outbox run\``;
	if (server.state === "refused") return "the share server refuses the key";
	if (server.state === "untrusted") return "the share server's certificate is not trusted";
	const acked = Math.max(0, ...sessions.map((session) => session.last_acked_at ?? 0));
	const silence = acked === 0 ? "nothing acknowledged yet" : `nothing acknowledged for ${age(now - acked)}`;
	if (server.state === "unreachable") {
		const next = server.next_connect_at === null ? "" : `, next ${inTime(server.next_connect_at, now)}`;
		return `the share server is away: ${silence}; ${count(server.connect_attempts, "attempt")}${next}`;
	}
	const waiting = sessions.filter((session) => session.pending > 0 && session.state !== "excluded");
	if (waiting.length > 0 && waiting.every((session) => session.state === "parked")) return "all of it waits for you";
	const retries = waiting.filter((session) => session.state === "retrying" && session.next_retry_at !== null);
	const [soonest] = retries.sort((a, b) => (a.next_retry_at ?? 0) - (b.next_retry_at ?? 0));
	if (soonest?.next_retry_at != null) {
		const when = inTime(soonest.next_retry_at, now);
		return `${count(retries.length, "session")} to be tried again ${when}: ${brief(soonest.last_error ?? "", 200)}`;
	}
	return outlook.kind === "stalled" ? silence : undefined;
}

function inTime(at: number, now: number): string {
	return at <= now ? "now" : `in ${age(at - now)}`;
}
