import { readFileSync } from "node:fs";
import { ERRORS } from "../../model/errors.ts";
import { EMPTY_REPORT, openReport } from "../../outbox/report.ts";
import { attentionTo } from "../attention.ts";
import { isOwnServer } from "../other-server.ts";
import { pathsIn } from "../paths.ts";
import { type Status, statusOf } from "../status-facts.ts";
import { look, setAsideIn } from "../status-look.ts";
import { age, count } from "../terminal.ts";
import type { Finding } from "./examination.ts";

/** From this age on the oldest pending change is told as a warning, in ms: longer than any retry waits. */
const OLD_MS = 5 * 60_000;

/** The outbox opens, is whole, and nothing in it waits for a person. */
export async function checkOutbox(dataDir: string): Promise<Finding<true>> {
	const paths = pathsIn(dataDir);
	const reader = await openReport(paths.outbox);
	if (reader === undefined)
		return { verdict: "ok", found: "There is none yet; the agent makes it.", facts: { exists: false }, value: true };
	try {
		if (reader.isOlder()) {
			const next = "Start `opencode-outbox run`: it brings it up to date.";
			return { verdict: "warn", found: "An older version of opencode-outbox has written it.", next };
		}
		const damage = reader.damage();
		if (damage !== undefined) {
			const next =
				"Restart `opencode-outbox run`: it sets it aside, saves what can be read, and compares what was shared.";
			return { verdict: "fail", found: `It is damaged: ${damage}`, next };
		}
		const report = reader.read(Date.now());
		const { outbox, ...status } = statusOf(report, { isLocked: true, now: Date.now(), version: "", dataDir });
		// As if all were well with the agent and its server: those are checks of their own.
		const well = {
			agent: { ...status.agent, state: "running" },
			server: { ...status.server, state: "connected" },
		} as const;
		const needy = attentionTo(
			{ ...status, outbox, ...well },
			{ setAside: setAsideIn(dataDir) },
			report.agent?.damage ?? null,
		);
		const oldest = outbox.oldest_pending_age_ms;
		const waits =
			oldest === null ? "nothing is pending" : `${count(outbox.pending, "op")} pending, the oldest for ${age(oldest)}`;
		const found = `${count(report.sessions.length, "session")}; ${waits}; ${count(outbox.dead, "dead letter")}.`;
		const facts = { exists: true, sessions: report.sessions.length, ...outbox, attention: needy.length };
		const [first] = needy;
		if (first !== undefined) {
			const whose = first.session_id === null ? "" : `${first.session_id}: `;
			const more = needy.length > 1 ? ` (and ${needy.length - 1} more: \`opencode-outbox status\`)` : "";
			return { verdict: "fail", found: `${found} ${whose}${first.what}${more}`, next: first.next, facts, value: true };
		}
		if (oldest !== null && oldest > OLD_MS) {
			const next = "See the checks of the agent and the server; `opencode-outbox status` says what it waits for.";
			return { verdict: "warn", found, next, facts, value: true };
		}
		return { verdict: "ok", found, facts, value: true };
	} finally {
		reader.close();
	}
}

/** What there is of an agent. */
export interface AgentSeen {
	readonly status: Status;
	/** The server that it talks to is its own, whose key lies in the data directory. */
	readonly hasOwnServer: boolean;
}

/** One process holds the outbox's lock, and says that it works. */
export async function checkAgent(dataDir: string): Promise<Finding<AgentSeen>> {
	const { report = EMPTY_REPORT, isLocked, now } = await look(pathsIn(dataDir));
	const status = statusOf(report, { isLocked, now, version: "", dataDir });
	const { agent, server, outbox } = status;
	const hasOwnServer = isOwnServer(report.agent?.server_id ?? null);
	const facts = { pid: agent.pid, state: agent.state, since: agent.since, server_state: server.state };
	const start = "`opencode-outbox run` starts it.";
	const answer = (verdict: Finding["verdict"], found: string, next?: string): Finding<AgentSeen> => ({
		...{ verdict, found, next, facts, value: { status, hasOwnServer } },
	});
	if (agent.state === "dead")
		return answer("fail", "It was killed.", `${start} It goes on where it was; nothing is lost.`);
	if (agent.state === "stopped" && outbox.pending > 0)
		return answer(
			"fail",
			`None runs, and ${count(outbox.pending, "op")} wait.`,
			`${start} Or once: \`opencode-outbox flush\`.`,
		);
	if (agent.state === "stopped") return answer("warn", "None runs.", start);
	if (isStopped(agent.pid))
		return answer("fail", `Pid ${agent.pid} holds the lock, but is suspended.`, `kill -CONT ${agent.pid}`);
	const since = agent.since === null ? "" : ` for ${age(now - agent.since)}`;
	const found = `Pid ${agent.pid ?? "unknown"}, ${agent.state}${since}; its server: ${server.state}.`;
	if (server.state === "refused")
		return answer("fail", found, "Put the right key into the server key file. It is read again at the next attempt.");
	if (server.state === "untrusted") return answer("fail", `${found} ${agent.last_error ?? ""}`, ERRORS.untrusted.hint);
	if (agent.state !== "waiting" && agent.last_error !== null && server.state !== "unreachable")
		return answer(
			"warn",
			`${found} ${agent.last_error}`,
			"It tries again by itself; the other checks say what stands in the way.",
		);
	return answer("ok", found);
}

/** True when a process is told to be stopped by a signal, where that can be told (Linux, same namespace of pids). */
function isStopped(pid: number | null): boolean {
	if (pid === null || process.platform !== "linux") return false;
	try {
		return /^\d+ \(.*\) [Tt] /s.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
	} catch {
		return false;
	}
}
