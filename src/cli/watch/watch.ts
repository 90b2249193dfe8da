import { setTimeout as delay } from "node:timers/promises";
import type { Status } from "../status-facts.ts";
import { currentStatus } from "../status-look.ts";
import { statusText } from "../status-text.ts";
import { jsonLine, type Paint } from "../terminal.ts";
import { bar, barStyle, percent, progressText, stallText } from "./line.ts";
import { type Progress, Watched } from "./progress.ts";
import { Screen, type Terminal } from "./screen.ts";

export interface WatchOptions {
	readonly dataDir: string;
	readonly intervalMs: number;
	/** End once nothing is left that can be sent. */
	readonly untilDrained: boolean;
	readonly all: boolean;
	readonly format: "screen" | "lines" | "json";
	readonly out: Terminal;
	readonly paint: Paint;
	/** Ends the watch. */
	readonly signal: AbortSignal;
}

/** Looks take this part of the time at most: the agent beside it has better things to do. */
const LOOKING_PART = 0.1;
/** Of a terminal that does not tell, and the most that a line of progress needs. */
const COLUMNS = 80;
const BAR_MAX = 40;

/** A look at the outbox and what it says of the backlog. */
interface Look {
	readonly status: Status;
	readonly isBlank: boolean;
	readonly now: number;
	readonly progress: Progress;
}

/**
 * Looks again and again until the signal comes, or nothing is left to send; writes nothing but what is shown.
 *
 * @returns the last look, and whether it found nothing left that can be sent.
 */
export async function watch(options: WatchOptions): Promise<{ status: Status; isDrained: boolean }> {
	const { dataDir, intervalMs, untilDrained, format, out, signal } = options;
	const watched = new Watched();
	const screen = new Screen(out);
	const restore = () => screen.leave();
	const onStop = () => {
		screen.leave();
		process.kill(process.pid, "SIGSTOP");
	};
	process.once("exit", restore);
	if (format === "screen") process.on("SIGTSTP", onStop);
	try {
		for (;;) {
			const startedAt = performance.now();
			const seen = await currentStatus(dataDir);
			const look = { ...seen, progress: watched.observe(sampleOf(seen.status, seen.now)) };
			const isDrained = nothingToSend(look.status);
			const isLast = signal.aborted || (untilDrained && isDrained);
			if (format === "json") out.write(jsonLine(jsonOf(look, options.all)));
			else if (format === "lines") out.write(`${lineOf(look)}\n`);
			else if (!isLast) screen.draw(frame(look, options));
			if (isLast) {
				screen.leave();
				if (format === "screen") out.write(`${frame(look, options).join("\n")}\n`);
				return { status: look.status, isDrained };
			}
			const tookMs = performance.now() - startedAt;
			await pause(Math.max(intervalMs, tookMs / LOOKING_PART), signal, () => {
				if (format === "screen") screen.draw(frame(look, options));
			});
		}
	} finally {
		screen.leave();
		process.off("exit", restore);
		process.off("SIGTSTP", onStop);
	}
}

/** Waits; calls `redraw` when the terminal has got another size, or when the person has come back with `fg`. */
async function pause(ms: number, signal: AbortSignal, redraw: () => void): Promise<void> {
	const again = ["SIGWINCH", "SIGCONT"] as const;
	for (const name of again) process.on(name, redraw);
	try {
		await delay(ms, undefined, { signal }).catch(() => undefined);
	} finally {
		for (const name of again) process.off(name, redraw);
	}
}

function sampleOf(status: Status, at: number) {
	const sessions = status.sessions.map(({ session_id, ...session }) => [session_id, session] as const);
	return { at, pending: status.outbox.pending, acked: new Map(sessions) };
}

/** What is parked waits for a person, however long one watches. */
function nothingToSend({ sessions }: Status): boolean {
	return sessions.every(({ pending, state }) => pending === 0 || state === "parked" || state === "excluded");
}

function frame({ status, isBlank, now, progress }: Look, { all, out, paint, dataDir }: WatchOptions): string[] {
	if (isBlank)
		return [paint("bold", `Nothing has run here yet (${dataDir}).`), "`opencode-outbox run` starts the agent."];
	const columns = out.columns ?? COLUMNS;
	const why = stallText(progress, status, now);
	return [
		progressLine(progress, status, columns, paint),
		...(why === undefined ? [] : [`  ${why}`]),
		...statusText(status, now, all, paint).trimEnd().split("\n"),
	];
}

/** A bar as wide as the rest of the line allows; below ten characters, or without a backlog, it would tell nothing. */
function progressLine(progress: Progress, status: Status, columns: number, paint: Paint): string {
	const text = progressText(progress, status);
	if (progress.total === 0) return text;
	const part = `${String(percent(progress)).padStart(3)} %`;
	const width = Math.min(BAR_MAX, columns - text.length - part.length - 4);
	const head = width < 10 ? "" : `${bar(progress.done, progress.total, width, barStyle(process.env))} `;
	return `${paint("green", head)}${part}  ${text}`;
}

/** One line for a log: when, how far, and why not further. */
function lineOf({ status, now, progress }: Look): string {
	const why = stallText(progress, status, now);
	const told = [progressText(progress, status), ...(why === undefined ? [] : [why])].join("; ");
	const part = progress.total === 0 ? "" : `, ${percent(progress)} %`;
	return `${new Date(now).toISOString()} ${status.outbox.pending} pending${part}: ${told}`;
}

/** As `status --json`, without its sessions unless they are asked for: a line of them can be as long as a book. */
function jsonOf({ status, now, progress }: Look, all: boolean): object {
	const { sessions, ...rest } = status;
	const { outlook, ...counts } = progress;
	const eta_ms = outlook.kind === "eta" ? outlook.ms : null;
	const told = { ...counts, outlook: outlook.kind, eta_ms, why: stallText(progress, status, now) ?? null };
	return { at: now, progress: told, ...rest, ...(all ? { sessions } : {}) };
}
