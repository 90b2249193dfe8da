import { defineCommand } from "citty";
import { letterOf, withOutbox } from "./dead-letters.ts";
import { resolveSettings, settingsArgs } from "./settings.ts";
import { teach } from "./teach.ts";
import { age, brief, bytes, jsonLine, printable, table } from "./terminal.ts";

export const command = teach(
	defineCommand({
		meta: { name: "list", description: "List dead letters with their reasons, oldest first." },
		args: {
			...settingsArgs("data-dir"),
			session: { type: "string", valueHint: "SESSION", description: "Only those of this session." },
			json: { type: "boolean", description: "Print a JSON array. Payloads are left out; sizes are bytes." },
		},
		async run({ args }) {
			const { dataDir } = resolveSettings(args);
			const all = (await withOutbox(dataDir, (outbox) => outbox.deadLetters())) ?? [];
			const letters = all.filter((row) => args.session === undefined || row.session_id === args.session).map(letterOf);
			if (args.json) {
				process.stdout.write(jsonLine(letters));
				return;
			}
			if (letters.length === 0) {
				process.stdout.write("No dead letters.\n");
				return;
			}
			const now = Date.now();
			const rows = letters.map((letter) => [
				String(letter.id),
				printable(letter.session_id),
				brief(letter.key, 60),
				bytes(letter.bytes),
				`${age(now - letter.buried_at)} ago`,
				letter.parent_id === null ? letter.code : `with ${letter.parent_id}`,
				brief(letter.reason, 100),
			]);
			process.stdout.write(
				`${table([["NUMBER", "SESSION", "ENTITY", "SIZE", "BURIED", "CODE", "REASON"], ...rows])}\n`,
			);
		},
	}),
	{
		when: "When `status` counts dead letters.",
		exits: { 0: "listed, also when there are none" },
		examples: [
			{ line: "opencode-outbox dead list", does: "All of them." },
			{ line: "opencode-outbox dead list --session ses_123 --json", does: "Those of one session, for a machine." },
		],
	},
);
