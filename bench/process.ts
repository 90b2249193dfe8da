import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** An environment in which a process of the CLI keeps all it has below `folder`. */
export function envIn(folder: string): Record<string, string> {
	return {
		PATH: process.env.PATH ?? "",
		HOME: folder,
		...Object.fromEntries(
			["DATA", "CONFIG", "STATE", "CACHE"].map((name) => [`XDG_${name}_HOME`, join(folder, name.toLowerCase())]),
		),
	};
}

/** Seconds of a processor that a process's threads have used; Linux alone tells. */
export function cpuSecondsOf(pid: number): number {
	const threads = readdirSync(`/proc/${pid}/task`);
	// Nanoseconds on a processor come first (https://docs.kernel.org/scheduler/sched-stats.html).
	const spent = threads.map((id) => Number(readFileSync(`/proc/${pid}/task/${id}/schedstat`, "utf8").split(" ")[0]));
	return spent.reduce((sum, ns) => sum + ns, 0) / 1e9;
}

/** The most memory that a process has had resident so far, in MB; Linux alone tells. */
export function peakRssOf(pid: number): number {
	return Number(/^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024;
}

/** The memory that a process has resident now, in MB; Linux alone tells. */
export function rssOf(pid: number): number {
	return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024;
}
