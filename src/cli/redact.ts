import { defineCommand } from "citty";
import { command as list } from "./redact-list.ts";
import { command as test } from "./redact-test.ts";
import { teach } from "./teach.ts";

export const command = teach(
	defineCommand({
		meta: { name: "redact" },
		subCommands: { list, test },
	}),
	{
		when: "With `--redact` and `--redact-pattern`, secrets are taken out of sessions before anything is stored or sent; `[redacted:NAME]` stands in their place. OpenCode's own data stays as it is. Rules are best set in the config file, so that every command goes by them. When they change, the next `run` puts everything through the new ones, also what is on the shares already.",
		exits: { 0: "done" },
		examples: [
			{ line: "opencode-outbox redact test --redact all", does: "What all detectors would take out, masked." },
			{ line: "opencode-outbox redact list", does: "The detectors and what each looks for." },
		],
	},
);
