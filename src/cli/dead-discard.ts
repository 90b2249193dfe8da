import { defineCommand } from "citty";
import { OutboxError } from "../model/errors.ts";
import { type Choice, checkChoice, chosen, noSuchLetter, withOutbox } from "./dead-letters.ts";
import { resolveSettings, settingsArgs } from "./settings.ts";
import { teach } from "./teach.ts";
import { count, jsonLine } from "./terminal.ts";

export const command = teach(
	defineCommand({
		meta: {
			name: "discard",
			description: "Throw dead letters away, with those set aside because of them. This is final.",
		},
		args: {
			number: { type: "positional", required: false, description: "The dead letters' numbers, from `dead list`." },
			all: { type: "boolean", description: "Every dead letter, instead of numbers." },
			session: { type: "string", valueHint: "SESSION", description: "With --all: only those of this session." },
			yes: { type: "boolean", alias: "y", description: "Yes, more than one. Nothing is asked." },
			...settingsArgs("data-dir"),
			json: { type: "boolean", description: "Print a JSON object: {discarded}." },
		},
		async run({ args }) {
			const choice: Choice = { ids: args._, all: args.all === true, session: args.session };
			checkChoice(choice, "opencode-outbox dead discard");
			if (!args.yes && (choice.all || choice.ids.length > 1))
				throw new OutboxError("usage", "More than one dead letter would be discarded for good.", {
					hint: "Add --yes if that is meant; nothing was discarded.",
				});
			const { dataDir } = resolveSettings(args);
			const discarded = await withOutbox(dataDir, (outbox) =>
				outbox.transaction(() => chosen(outbox, choice).reduce((sum, { id }) => sum + outbox.discard(id), 0)),
			);
			if (discarded === undefined && !choice.all) throw noSuchLetter(choice.ids.join(", "));
			if (args.json) process.stdout.write(jsonLine({ discarded: discarded ?? 0 }));
			else process.stdout.write(`${count(discarded ?? 0, "dead letter")} discarded.\n`);
		},
	}),
	{
		when: "When what they say may be missing from the share. A later change of the same entity is sent as ever.",
		exits: { 0: "discarded", 66: "no such dead letter; none was touched" },
		examples: [
			{
				line: "opencode-outbox dead discard 3",
				does: "Number 3 of `dead list`, and what was set aside because of it.",
			},
			{ line: "opencode-outbox dead discard --all --yes", does: "All of them." },
		],
		repeats: true,
	},
);
