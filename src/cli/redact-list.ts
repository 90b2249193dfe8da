import { defineCommand } from "citty";
import { DETECTORS } from "../redaction/detectors.ts";
import { teach } from "./teach.ts";
import { jsonLine, table } from "./terminal.ts";

export const command = teach(
	defineCommand({
		meta: { name: "list", description: "List the named detectors and what each looks for." },
		args: { json: { type: "boolean", description: "Print [{name, doc}]." } },
		run({ args }) {
			const rows = DETECTORS.map(({ name, doc }) => ({ name, doc }));
			if (args.json) process.stdout.write(jsonLine(rows));
			else process.stdout.write(`${table(rows.map(({ name, doc }) => [name, doc]))}\n`);
		},
	}),
	{
		when: "To choose names for `--redact`. They look for what is known to be a secret by its form; for what only you know, there is `--redact-pattern`.",
		exits: { 0: "listed" },
		examples: [{ line: "opencode-outbox redact list", does: "Name and description, a line each." }],
	},
);
