import { defineCommand } from "citty";
import { version } from "../model/version.ts";
import { EMPTY_REPORT } from "../outbox/report.ts";
import { pathsIn } from "./paths.ts";
import { resolveSettings, settingsArgs } from "./settings.ts";
import { statusOf } from "./status-facts.ts";
import { freeBytesAt, look, setAsideIn } from "./status-look.ts";
import { SESSIONS_SHOWN, statusText } from "./status-text.ts";
import { teach } from "./teach.ts";
import { jsonLine, painter } from "./terminal.ts";

/** The exit code of a status in which something waits for a person. */
const NEEDS_A_PERSON = 1;

export const command = teach(
	defineCommand({
		meta: { name: "status", description: "Show what is pending, who works on it, and what needs a person." },
		args: {
			...settingsArgs("data-dir"),
			all: { type: "boolean", description: `List every session, not only the latest ${SESSIONS_SHOWN}.` },
			json: {
				type: "boolean",
				description: "Print one JSON object. Instants are epoch ms, ages and sizes ms and bytes.",
			},
		},
		async run({ args }) {
			const { dataDir } = resolveSettings(args);
			const seen = await look(pathsIn(dataDir));
			const facts = {
				...seen,
				version: version(),
				dataDir,
				freeBytes: freeBytesAt(dataDir),
				setAside: setAsideIn(dataDir),
			};
			const status = statusOf(seen.report ?? EMPTY_REPORT, facts);
			const isBlank = seen.report === undefined && !seen.isLocked;
			if (args.json) process.stdout.write(jsonLine(status));
			else if (isBlank)
				process.stdout.write(`Nothing has run here yet (${dataDir}).\n\`opencode-outbox run\` starts the agent.\n`);
			else process.stdout.write(statusText(status, seen.now, args.all === true, painter(process.stdout, process.env)));
			return status.attention.length > 0 ? NEEDS_A_PERSON : 0;
		},
	}),
	{
		when: "Look here first. It works while the agent runs, is stopped or was killed, and changes nothing. The age of the oldest pending change comes first: a stalled sync has no errors to count.",
		exits: {
			0: "nothing needs a person (retries and an unreachable server mend themselves)",
			[NEEDS_A_PERSON]: 'something does: see "Needs you", or `attention` in the JSON',
			65: "the outbox is damaged, or the file is none",
		},
		examples: [
			{ line: "opencode-outbox status", does: "For people." },
			{
				line: "opencode-outbox status --json | jq .outbox.oldest_pending_age_ms",
				does: "For a monitor: null when nothing is pending.",
			},
		],
	},
);
