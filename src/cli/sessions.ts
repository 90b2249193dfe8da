import { defineCommand } from "citty";
import { type Rules, recordedRules } from "../agent/rules.ts";
import { EVERYTHING, type Known, Selection, type ShareMode, type Verdict } from "../agent/selection.ts";
import { systemClock } from "../model/clock.ts";
import type { Report } from "../outbox/report.ts";
import type { SessionFacts } from "../source/source.ts";
import { isLocked } from "../sqlite/lock.ts";
import { openSource } from "./compose.ts";
import { sessionsOf } from "./opencode-sessions.ts";
import { pathsIn } from "./paths.ts";
import { RULE_SETTINGS, rulesOf } from "./rules.ts";
import { resolveQuietly, type Settings, settingsArgs } from "./settings.ts";
import { reportOf } from "./status-look.ts";
import { teach } from "./teach.ts";
import { age, brief, count, jsonLine, printable, table } from "./terminal.ts";

/** What `sessions --json` prints of each session. */
interface Listed extends SessionFacts {
	readonly taken: boolean;
	/** Why it is left out; null when it is taken. */
	readonly reason: string | null;
	/** True when something of it was captured already. */
	readonly begun: boolean;
}

const TITLE_CHARACTERS = 40;

export const command = teach(
	defineCommand({
		meta: { name: "sessions" },
		args: {
			...settingsArgs("data-dir", "opencode-db", "share", ...RULE_SETTINGS),
			json: {
				type: "boolean",
				description:
					"Print {taken, left_out, sessions: [{session_id, parent_id, title, directory, updated_at, taken, reason, begun}]}.",
			},
		},
		async run({ args }) {
			const settings = resolveQuietly(args);
			const { redactor } = rulesOf(settings);
			const listed = (await look(settings)).map((session) => ({
				...session,
				title: redactor?.text(session.title) ?? session.title,
				directory: redactor?.text(session.directory) ?? session.directory,
			}));
			const taken = listed.filter((session) => session.taken).length;
			const left_out = listed.length - taken;
			if (args.json) process.stdout.write(jsonLine({ taken, left_out, sessions: listed }));
			else process.stdout.write(text(listed, taken, systemClock.now()));
		},
	}),
	{
		when: "Before `run`: to see what the rules would take, which are given by flags, variables and the config file as `run` takes them. It looks and changes nothing, and sends nothing. What was asked of a session (`share`, `unshare`) decides before any rule; sub-sessions follow the session that they belong to; directories and titles are looked at whenever something changes, the age only before a session begins.",
		exits: { 0: "listed", 66: "there is no OpenCode database here" },
		examples: [
			{ line: "opencode-outbox sessions", does: "By the rules that are set." },
			{
				line: "opencode-outbox sessions --exclude '~/clients' --max-age 30d",
				does: "Tries rules out: nothing below ~/clients, nothing that rested for a month.",
			},
			{ line: "opencode-outbox sessions --exclude-title '(?i)private|draft'", does: "By title, in capitals or not." },
		],
	},
);

async function look(settings: Settings): Promise<Listed[]> {
	const now = systemClock.now();
	const paths = pathsIn(settings.dataDir);
	const report = await reportOf(paths.outbox, now);
	const rules = await rulesNow(settings, report, paths.lock);
	const source = await openSource(settings);
	try {
		const sessions = await sessionsOf(source);
		const known = knownFrom(report, rules.mode, now);
		const verdicts = new Selection(rules.selection ?? EVERYTHING).verdicts(sessions, known);
		return sessions.map((session) => {
			const verdict = verdicts.get(session.session_id) as Verdict;
			const reason = verdict.taken ? null : verdict.reason;
			return { ...session, taken: verdict.taken, reason, begun: known.begun.has(session.session_id) };
		});
	} finally {
		source.close();
	}
}

/** The rules that are set; where none are and an agent runs, those that it goes by. */
async function rulesNow(
	settings: Settings,
	report: Report | undefined,
	lock: string,
): Promise<Pick<Rules, "selection"> & { mode: ShareMode }> {
	const { selection } = rulesOf(settings);
	const agent = report?.agent;
	if (selection !== undefined || agent == null || !(await isLocked(lock))) return { selection, mode: settings.share };
	return { selection: recordedRules(agent).selection, mode: agent.share_mode ?? settings.share };
}

function knownFrom(report: Report | undefined, mode: ShareMode, now: number): Known {
	const rows = report?.sessions ?? [];
	const idsOf = (is: (row: (typeof rows)[number]) => boolean) => new Set(rows.filter(is).map((row) => row.session_id));
	return {
		...{ mode, now, wanted: new Map(rows.map((row) => [row.session_id, row.wanted])) },
		shared: idsOf((row) => row.share_id !== null),
		begun: idsOf((row) => row.cursor + row.pending + row.dead > 0),
	};
}

function text(listed: readonly Listed[], taken: number, now: number): string {
	const rows = listed.map(({ session_id, title, directory, updated_at, reason }) => [
		printable(session_id),
		`"${brief(title, TITLE_CHARACTERS)}"`,
		printable(directory),
		`${age(now - updated_at)} ago`,
		reason === null ? "synced" : `left out: ${printable(reason)}`,
	]);
	const summary = `${count(listed.length, "session")}: ${taken} synced, ${listed.length - taken} left out.\n`;
	return rows.length === 0 ? summary : `${table(rows)}\n${summary}`;
}
