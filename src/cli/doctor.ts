import { defineCommand } from "citty";
import { OutboxError } from "../model/errors.ts";
import { version } from "../model/package.ts";
import { Examination } from "./doctor/examination.ts";
import { CHECKS, examine } from "./doctor/examine.ts";
import { examinationText } from "./doctor/text.ts";
import { durationFlag } from "./duration.ts";
import { didYouMean } from "./nearest.ts";
import { settingsArgs } from "./settings.ts";
import { teach } from "./teach.ts";
import { jsonLine, painter, printable } from "./terminal.ts";

/** The exit code of an examination in which something needs a person. */
const NEEDS_A_PERSON = 1;

const doctor = defineCommand({
	meta: { name: "doctor" },
	args: {
		...settingsArgs("data-dir", "opencode-db", "opencode-url", "server", "server-key-file", "share", "port"),
		quick: {
			type: "boolean",
			description: "Only what is on this machine, and without writing: runtime, settings, data-dir, outbox, agent.",
		},
		expect: {
			type: "string",
			valueHint: "CHECK,…",
			description: "Checks that must be ok: where what they look for is not there, that fails too.",
		},
		timeout: { type: "string", valueHint: "DURATION", default: "5s", description: "How long each check may take." },
		json: {
			type: "boolean",
			description: "Print {ok, version, checks: [{name, proves, verdict, found, next, elapsed_ms, facts}]}.",
		},
	},
	async run({ args }) {
		const timeoutMs = durationFlag("timeout", args.timeout);
		const exam = new Examination(CHECKS, timeoutMs, expected(args.expect));
		await examine(exam, args, timeoutMs, args.quick === true);
		const { checked } = exam;
		const ok = checked.every(({ verdict }) => verdict !== "fail");
		if (args.json) process.stdout.write(jsonLine({ ok, version: version(), checks: checked }));
		else process.stdout.write(examinationText(checked, painter(process.stdout, process.env)));
		return ok ? 0 : NEEDS_A_PERSON;
	},
});

export const command = teach(doctor, {
	when: "After setting it up, when something seems wrong, and in a health check (--quick). Nothing of OpenCode's and nothing in the outbox is changed. Without --quick it writes two things, and takes them back: a small file in the data directory, and a share on the server, which leaves a tombstone there.",
	examples: [
		{ line: "opencode-outbox doctor", does: "Looks at everything that there is." },
		{
			line: "opencode-outbox doctor --expect agent,opencode,capture,server,server-key,round-trip",
			does: "Accepts an installation: all of it must be there.",
		},
		{ line: "opencode-outbox doctor --quick --expect agent", does: "For a container's health check." },
		{ line: "opencode-outbox doctor --json | jq '.checks[] | select(.verdict == \"fail\")'", does: "For machines." },
	],
	exits: {
		0: "all is well; warnings do not fail",
		[NEEDS_A_PERSON]: "something needs a person: each one says what to do",
	},
});

/** @throws OutboxError usage for a check that there is not. */
function expected(text: string | undefined): ReadonlySet<string> {
	const known = Object.keys(CHECKS);
	const names = (text ?? "")
		.split(",")
		.map((name) => name.trim())
		.filter(Boolean);
	for (const name of names)
		if (!known.includes(name))
			throw new OutboxError("usage", `--expect ${printable(name)}: there is no such check.`, {
				hint: didYouMean(name, known, `Checks are ${known.join(", ")}.`),
			});
	return new Set(names);
}
