import type { Outcome } from "./restore-run.ts";
import { brief, count, jsonLine, printable } from "./terminal.ts";

const SAID: Record<Outcome["outcome"], string> = {
	restored: "restored",
	forwarded: "brought forward",
	already_there: "already there",
	has_gone_on: "already there, and has gone on here",
	failed: "FAILED",
};
const WOULD: Partial<Record<Outcome["outcome"], string>> = {
	restored: "would be restored",
	forwarded: "would be brought forward",
};

/** How many of a long list are printed. */
const LISTED_MAX = 20;

/** Prints what became of each share. */
export function tell(
	{ dry_run, synced, outcomes }: { dry_run: boolean; synced: boolean | null; outcomes: readonly Outcome[] },
	json: boolean,
): void {
	if (json) {
		const sessions = outcomes.map(({ error, ...rest }) => ({
			...rest,
			error: error && { code: error.code, message: error.message, hint: error.hint },
		}));
		process.stdout.write(jsonLine({ dry_run, synced, sessions }));
		return;
	}
	for (const outcome of outcomes) process.stdout.write(lines(outcome, dry_run));
	if (outcomes.length === 0) process.stdout.write("The server key has no session to restore.\n");
	if (synced === false) process.stderr.write("Not synced yet: `opencode-outbox run` goes on; `status` tells.\n");
}

function lines({ error, not_kept, notes, ...rest }: Outcome, dryRun: boolean): string {
	const { session_id, title, outcome, directory, events, link } = rest;
	const said = (dryRun ? WOULD[outcome] : undefined) ?? SAID[outcome];
	const where = directory === null ? "" : `, in ${printable(directory)}`;
	const how = events > 0 ? ` (${count(events, "event")})` : "";
	const name = session_id === null ? printable(link) : `${session_id} "${brief(title, 60)}"`;
	const text = [`${name}: ${said}${how}${where}`];
	if (error) text.push(`  ${printable(error.message)}`, `  ${printable(error.hint)}`);
	for (const { key, why } of not_kept.slice(0, LISTED_MAX))
		text.push(`  not kept: ${printable(key)} ${printable(why)}`);
	if (not_kept.length > LISTED_MAX) text.push(`  … and ${not_kept.length - LISTED_MAX} more (--json names all)`);
	for (const note of notes) text.push(`  ${printable(note)}`);
	return `${text.join("\n")}\n`;
}

/** The exit code: of the first that failed, else whether all was kept and synced. */
export function exitOf(outcomes: readonly Outcome[], synced: boolean | null): number {
	const failed = outcomes.find(({ error }) => error !== null);
	if (failed?.error) return failed.error.exitCode;
	if (outcomes.some(({ not_kept }) => not_kept.length > 0)) return 1;
	return synced === false ? 75 : 0;
}

/** Tells on a terminal how far a long restore is, on one line that is written over. */
export function progressOn(stream: (NodeJS.WriteStream & { readonly isTTY?: boolean }) | undefined) {
	return (sessionId: string, done: number, total: number): void => {
		if (stream?.isTTY !== true) return;
		stream.write(done < total ? `\r${sessionId}: ${done} of ${total} ` : `\r${" ".repeat(sessionId.length + 30)}\r`);
	};
}
