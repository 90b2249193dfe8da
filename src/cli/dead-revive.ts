import { defineCommand } from "citty";
import type { ReviveResult } from "../outbox/dead.ts";
import type { Outbox } from "../outbox/outbox.ts";
import { type Choice, checkChoice, chosen, noSuchLetter, withOutbox } from "./dead-letters.ts";
import { resolveSettings, settingsArgs } from "./settings.ts";
import { teach } from "./teach.ts";
import { count, jsonLine } from "./terminal.ts";

type Revived = ReviveResult & { readonly id: number };

export const command = teach(
	defineCommand({
		meta: {
			name: "revive",
			description: "Put dead letters back, to be sent again at the end of their session's line.",
		},
		args: {
			number: { type: "positional", required: false, description: "The dead letters' numbers, from `dead list`." },
			all: { type: "boolean", description: "Every dead letter, instead of numbers." },
			session: { type: "string", valueHint: "SESSION", description: "With --all: only those of this session." },
			...settingsArgs("data-dir"),
			json: { type: "boolean", description: "Print a JSON array of {id, outcome, ops}." },
		},
		async run({ args }) {
			const choice: Choice = { ids: args._, all: args.all === true, session: args.session };
			checkChoice(choice, "opencode-outbox dead revive");
			const { dataDir } = resolveSettings(args);
			const results = await withOutbox(dataDir, (outbox) => revive(outbox, choice, Date.now()));
			if (results === undefined && !choice.all) throw noSuchLetter(choice.ids.join(", "));
			if (args.json) process.stdout.write(jsonLine(results ?? []));
			else process.stdout.write(`${told(results ?? []).join("\n")}\n`);
			return results?.some((result) => result.outcome === "no_payload") ? 1 : 0;
		},
	}),
	{
		when: "After what made them fail was mended, for example when the share server takes larger ops now. What still fails is set aside again. Those that were set aside because of one come back with it.",
		exits: {
			0: "revived, or superseded: a newer state of the entity was captured since, so the letter was only discarded",
			1: "some have no payload: there is nothing to send, they stay",
			66: "no such dead letter; none was touched",
		},
		examples: [
			{ line: "opencode-outbox dead revive 3 4", does: "Numbers 3 and 4 of `dead list`." },
			{ line: "opencode-outbox dead revive --all --session ses_123", does: "All of one session." },
		],
		repeats: true,
	},
);

/** All letters are found before any is touched. One that came back with another meanwhile is no news. */
function revive(outbox: Outbox, choice: Choice, now: number): Revived[] {
	return outbox.transaction(() =>
		chosen(outbox, choice)
			.map(({ id }) => ({ id, ...outbox.revive(id, now) }))
			.filter((result) => result.outcome !== "unknown"),
	);
}

function told(results: readonly Revived[]): string[] {
	if (results.length === 0) return ["No dead letters."];
	const lines = results.map(({ id, outcome, ops }) => {
		if (outcome === "revived") return `${id}: revived, ${count(ops, "op")} pending again.`;
		if (outcome === "superseded") return `${id}: superseded by a newer state of the same entity; discarded.`;
		return `${id}: has no payload, so there is nothing to send; it stays. \`dead discard ${id}\` ends it.`;
	});
	const isSome = results.some((result) => result.outcome === "revived");
	return isSome ? [...lines, "A running agent sends them at once; without one, `run` or `flush` does."] : lines;
}
