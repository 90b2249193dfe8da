import { defineCommand } from "citty";
import { letterNamed, noSuchLetter, withOutbox } from "./dead-letters.ts";
import { resolveSettings, settingsArgs } from "./settings.ts";
import { teach } from "./teach.ts";
import { bytes, jsonLine, printable, printableLines, table } from "./terminal.ts";

export const command = teach(
	defineCommand({
		meta: { name: "show", description: "Show one dead letter whole, with its payload." },
		args: {
			number: { type: "positional", required: true, description: "The dead letter's number, from `dead list`." },
			...settingsArgs("data-dir"),
			json: { type: "boolean", description: "Print a JSON object; `payload` is the op's JSON as text, or null." },
		},
		async run({ args }) {
			const { dataDir } = resolveSettings(args);
			const letter = await withOutbox(dataDir, (outbox) => letterNamed(outbox, args.number));
			if (letter === undefined) throw noSuchLetter(args.number);
			if (args.json) {
				process.stdout.write(jsonLine(letter));
				return;
			}
			const facts = [
				["session", letter.session_id],
				["entity", letter.key],
				["op", `${letter.op_id} (${letter.type})`],
				["buried", new Date(letter.buried_at).toISOString()],
				["why", `${letter.code}: ${letter.reason}`],
				...(letter.parent_id === null ? [] : [["with", `${letter.parent_id}: comes back when that one is revived`]]),
				["payload", letter.payload === null ? "none: it could not be read as an entity" : bytes(letter.bytes)],
			];
			process.stdout.write(`${table(facts.map((row) => row.map(printable)))}\n`);
			if (letter.payload !== null) process.stdout.write(`\n${printableLines(indented(letter.payload))}\n`);
		},
	}),
	{
		when: "To decide whether a dead letter is worth mending. What could steer a terminal is taken out of the payload; --json has it, escaped.",
		exits: { 0: "shown", 66: "no such dead letter" },
		examples: [{ line: "opencode-outbox dead show 3", does: "Number 3 of `dead list`." }],
	},
);

function indented(payload: string): string {
	try {
		return JSON.stringify(JSON.parse(payload), null, 2);
	} catch {
		return payload;
	}
}
