import { defineCommand } from "citty";
import { command as discard } from "./dead-discard.ts";
import { command as exporting } from "./dead-export.ts";
import { command as list } from "./dead-list.ts";
import { command as revive } from "./dead-revive.ts";
import { command as show } from "./dead-show.ts";
import { teach } from "./teach.ts";

export const command = teach(
	defineCommand({
		meta: { name: "dead" },
		subCommands: { list, show, export: exporting, revive, discard },
	}),
	{
		when: "An op that the share server refuses for good, or that cannot be read, is set aside with its reason, so that its session and all others go on. It stays until a person revives or discards it. All of these work beside a running agent.",
		exits: { 0: "done", 66: "no such dead letter" },
		examples: [
			{ line: "opencode-outbox dead list", does: "What was set aside, and why." },
			{ line: "opencode-outbox dead revive 3", does: "Send number 3 again, after what made it fail was mended." },
		],
	},
);
