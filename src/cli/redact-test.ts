import { defineCommand } from "citty";
import { OutboxError } from "../model/errors.ts";
import type { Hit, Redactor } from "../redaction/redactor.ts";
import { isPoison, type SessionFacts, type Source } from "../source/source.ts";
import { openSource } from "./compose.ts";
import { sessionsOf } from "./opencode-sessions.ts";
import { rulesOf } from "./rules.ts";
import { resolveQuietly, settingsArgs } from "./settings.ts";
import { teach } from "./teach.ts";
import { brief, count, jsonLine, printable, table } from "./terminal.ts";

/** How often progress is told on a terminal, in ms. */
const PROGRESS_MS = 1000;
const CONTEXT_CHARACTERS = 100;
/** The exit code of --fail-on-hits. */
const HAS_HITS = 1;

interface Place extends Hit {
	readonly session_id: string;
	readonly key: string;
}

interface Findings {
	readonly sessions: number;
	readonly entities: number;
	readonly bytes: number;
	/** Hits by rule. */
	readonly rules: Record<string, number>;
	/** The first of them, as many as were asked for. */
	readonly hits: readonly Place[];
	readonly total: number;
}

const test = defineCommand({
	meta: { name: "test", description: "Show what the redaction rules would take out of the sessions that there are." },
	args: {
		...settingsArgs("data-dir", "opencode-db", "redact", "redact-pattern"),
		session: { type: "string", valueHint: "SESSION", description: "Only this session." },
		limit: { type: "string", valueHint: "N", default: "50", description: "How many hits are shown; all are counted." },
		"fail-on-hits": { type: "boolean", description: "Exit with 1 when there are hits." },
		json: {
			type: "boolean",
			description:
				"Print {sessions, entities, bytes, rules: {NAME: hits}, total, hits: [{session_id, key, path, rule, context}]}.",
		},
	},
	async run({ args }) {
		const settings = resolveQuietly(args);
		const limit = Number(args.limit);
		if (!/^\d{1,6}$/.test(args.limit)) throw new OutboxError("usage", "--limit: expected a number, 0-999999.");
		const { redactor } = rulesOf(settings);
		if (redactor === undefined)
			throw new OutboxError("usage", "No redaction rules are set, and none are given.", {
				hint: "Try `--redact all`, or `--redact-pattern REGEX`; `redact list` shows the detectors.",
			});
		const source = await openSource(settings);
		try {
			const findings = await find(source, redactor, args.session, limit);
			process.stdout.write(args.json ? jsonLine(findings) : text(findings));
			return args["fail-on-hits"] && findings.total > 0 ? HAS_HITS : 0;
		} finally {
			source.close();
		}
	},
});

export const command = teach(test, {
	when: "Before rules are set, and after: it looks through every session that OpenCode has, changes nothing and sends nothing. What was found is masked: two of its characters at most are shown, and how many it has.",
	examples: [
		{ line: "opencode-outbox redact test", does: "With the rules that are set." },
		{ line: "opencode-outbox redact test --redact all --session ses_1f4a", does: "All detectors on one session." },
		{
			line: "opencode-outbox redact test --redact-pattern 'pin: (?P<pin>[0-9]{4})' --fail-on-hits",
			does: "A rule of your own, which takes out what is in its group, as [redacted:pin].",
		},
	],
	exits: {
		0: "looked through, with or without hits",
		[HAS_HITS]: "there are hits, and --fail-on-hits was given",
		66: "there is no OpenCode database here, or no such session",
	},
});

async function find(source: Source, redactor: Redactor, asked: string | undefined, limit: number): Promise<Findings> {
	const all = await sessionsOf(source);
	const sessions = all.filter(({ session_id }) => asked === undefined || session_id === asked);
	if (asked !== undefined && sessions.length === 0)
		throw new OutboxError("no_such_session", `OpenCode has no session ${printable(asked)}.`, {
			hint: "`opencode-outbox sessions` lists them.",
		});
	const rules: Record<string, number> = Object.fromEntries(redactor.names.map((name) => [name, 0]));
	const hits: Place[] = [];
	let [entities, bytes, total, toldAt] = [0, 0, 0, performance.now()];
	for (const [n, session] of sessions.entries()) {
		for (const { key, payload } of await entitiesOf(source, session)) {
			entities++;
			bytes += payload.length;
			for (const hit of redactor.hits(payload)) {
				total++;
				rules[hit.rule] = (rules[hit.rule] ?? 0) + 1;
				if (hits.length < limit) hits.push({ session_id: session.session_id, key, ...hit });
			}
		}
		if (!process.stderr.isTTY || performance.now() - toldAt < PROGRESS_MS) continue;
		toldAt = performance.now();
		process.stderr.write(`${n + 1} of ${count(sessions.length, "session")}, ${count(total, "hit")}\n`);
	}
	return { sessions: sessions.length, entities, bytes, rules, total, hits };
}

async function entitiesOf(source: Source, { session_id }: SessionFacts): Promise<{ key: string; payload: string }[]> {
	const snapshot = await source.snapshot(session_id);
	return (snapshot?.entities ?? []).flatMap((entity) => (isPoison(entity) ? [] : [entity]));
}

function text({ sessions, entities, rules, total, hits }: Findings): string {
	const found = Object.entries(rules).filter(([, hits]) => hits > 0);
	const places = hits.map(({ session_id, key, path, rule, context }) =>
		[
			`${printable(session_id)}  ${printable(key)}  ${printable(path.join("."))}`,
			`  ${rule}: ${brief(context, CONTEXT_CHARACTERS)}`,
		].join("\n"),
	);
	const more = total > hits.length ? [`… and ${total - hits.length} more: --limit shows more of them.`] : [];
	const counts = found.length === 0 ? [] : ["", table(found.map(([name, hits]) => [name, String(hits)]))];
	const summary = `${count(total, "hit")} in ${count(sessions, "session")} (${entities} messages, parts and the like).`;
	return `${[...places, ...more, ...counts, summary].join("\n")}\n`;
}
