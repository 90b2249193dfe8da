import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, statSync } from "node:fs";
import type { Report } from "../../src/outbox/report.ts";

/** What one look tells. Sizes in bytes, instants in epoch ms. */
export interface Sample {
	readonly at: number;
	/** Events that OpenCode's database has. */
	readonly events: number;
	/** Ops that the shares have, as far as the outbox knows. */
	readonly delivered: number;
	readonly pending: number;
	readonly oldestPendingMs: number;
	/** Attempts that did not succeed yet, over all sessions. */
	readonly attempts: number;
	readonly dead: number;
	readonly agentRss: number;
	/** Memory that no file backs: heap and the like; 0 where the system does not tell. */
	readonly agentAnonymous: number;
	/** The part of it that the C library's allocator has taken (SQLite's pages, buffers); 0 where the system does not tell. */
	readonly agentMalloc: number;
	readonly agentFiles: number;
	readonly serverRss: number;
	readonly serverAgeMs: number;
	readonly outbox: number;
	readonly outboxWal: number;
	readonly share: number;
	readonly shareWal: number;
	readonly opencode: number;
}

export function sampleOf(of: {
	readonly agent: number;
	readonly server: { readonly pid: number; readonly ageMs: number };
	readonly outbox: string;
	readonly share: string;
	readonly opencode: string;
	readonly report: Report;
	readonly events: number;
}): Sample {
	const at = Date.now();
	const { totals, sessions } = of.report;
	const sum = (value: (session: (typeof sessions)[number]) => number) =>
		sessions.reduce((total, session) => total + value(session), 0);
	const agent = memoryOf(of.agent);
	return {
		at,
		events: of.events,
		delivered: sum((session) => session.cursor),
		pending: totals.pending,
		oldestPendingMs: totals.oldest_pending_at === null ? 0 : Math.max(0, at - totals.oldest_pending_at),
		attempts: sum((session) => session.attempts),
		dead: totals.dead,
		agentRss: agent.rss,
		agentAnonymous: agent.anonymous,
		agentMalloc: mallocOf(of.agent),
		agentFiles: filesOf(of.agent),
		serverRss: memoryOf(of.server.pid).rss,
		serverAgeMs: of.server.ageMs,
		outbox: sizeOf(of.outbox),
		outboxWal: sizeOf(`${of.outbox}-wal`),
		share: sizeOf(of.share),
		shareWal: sizeOf(`${of.share}-wal`),
		opencode: sizeOf(of.opencode),
	};
}

function sizeOf(path: string): number {
	return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

/** Where there is no /proc, `ps` tells the resident set alone. A process that is just gone has none. */
function memoryOf(pid: number): { rss: number; anonymous: number } {
	try {
		if (process.platform !== "linux") {
			const kib = Number(execFileSync("ps", ["-o", "rss=", "-p", String(pid)], { encoding: "utf8" }));
			return { rss: kib * 1024, anonymous: 0 };
		}
		const status = readFileSync(`/proc/${pid}/status`, "utf8");
		const bytes = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1] ?? 0) * 1024;
		return { rss: bytes("VmRSS"), anonymous: bytes("RssAnon") };
	} catch {
		return { rss: 0, anonymous: 0 };
	}
}

/** What lies between the start of the data segment and the program break. */
function mallocOf(pid: number): number {
	try {
		const map = /^[0-9a-f]+-[0-9a-f]+ .*\[heap\]\n(?:\w+:.*\n)*?Rss:\s+(\d+) kB/m.exec(
			readFileSync(`/proc/${pid}/smaps`, "utf8"),
		);
		return Number(map?.[1] ?? 0) * 1024;
	} catch {
		return 0;
	}
}

/** Open file descriptors; 0 where there is no /proc. */
function filesOf(pid: number): number {
	try {
		return readdirSync(`/proc/${pid}/fd`).length;
	} catch {
		return 0;
	}
}
