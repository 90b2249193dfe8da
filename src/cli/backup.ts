import { statSync } from "node:fs";
import { resolve } from "node:path";
import { defineCommand } from "citty";
import { backUp } from "../server/backup.ts";
import { pathsIn } from "./paths.ts";
import { resolveSettings, settingsArgs } from "./settings.ts";
import { teach } from "./teach.ts";
import { bytes, count, jsonLine } from "./terminal.ts";

export const command = teach(
	defineCommand({
		meta: { name: "backup" },
		args: {
			file: {
				type: "positional",
				required: true,
				description: "The file to make. Its folder must be safe: it holds all shares.",
			},
			force: {
				type: "boolean",
				description: "Put it over the file that is there; that one stays until the new one is whole.",
			},
			...settingsArgs("data-dir"),
			json: { type: "boolean", description: "Print a JSON object: {file, bytes, shares, elapsed_ms}." },
		},
		async run({ args }) {
			const { serverDatabase } = pathsIn(resolveSettings(args).dataDir);
			const [file, startedAt] = [resolve(args.file), performance.now()];
			const size = statSync(serverDatabase, { throwIfNoEntry: false })?.size ?? 0;
			const { shares, bytes: written } = await backUp(serverDatabase, file, {
				force: args.force === true,
				onProgress: progress(size),
			});
			const elapsed_ms = Math.round(performance.now() - startedAt);
			if (args.json) process.stdout.write(jsonLine({ file, bytes: written, shares, elapsed_ms }));
			else
				process.stdout.write(
					`${file}: ${count(shares, "share")}, ${bytes(written)}, checked. \`opencode-outbox restore-server\` puts it back.\n`,
				);
		},
	}),
	{
		when: "Regularly, for a share server that is to survive its disk. The copy is one state of the database, however much is written meanwhile; it is checked and on the disk before it has its name, so that a file of that name is always a whole backup. It holds every share in the clear and no key: `server/key` is not in it.",
		exits: {
			0: "made, checked, and on the disk",
			65: "the server's database is damaged, or none of ours",
			66: "there is no such database",
			73: "the file cannot be written there",
			74: "the disk is full or fails",
			77: "the file is there already (see --force)",
		},
		examples: [
			{
				line: "opencode-outbox backup /backup/share.db",
				does: "Of the server of this data directory, `run`'s own or `serve`'s.",
			},
			{ line: "opencode-outbox backup /backup/share.db --force --json", does: "Every night, from a timer." },
		],
	},
);

/** Tells on a terminal how far a copy is, once per tenth. */
export function progress(size: number): (done: number) => void {
	let told = 0;
	return (done) => {
		if (!process.stderr.isTTY || done - told < 0.1) return;
		told = done;
		process.stderr.write(`${Math.round(done * 100)} % of ${bytes(size)}\n`);
	};
}
