import { statSync } from "node:fs";
import { resolve } from "node:path";
import { defineCommand } from "citty";
import { putBack } from "../server/backup.ts";
import { progress } from "./backup.ts";
import { pathsIn } from "./paths.ts";
import { resolveSettings, settingsArgs } from "./settings.ts";
import { teach } from "./teach.ts";
import { count, jsonLine } from "./terminal.ts";

export const command = teach(
	defineCommand({
		meta: { name: "restore-server" },
		args: {
			file: { type: "positional", required: true, description: "The backup, as `backup` has made it." },
			...settingsArgs("data-dir"),
			json: { type: "boolean", description: "Print a JSON object: {database, former, shares, bytes}." },
		},
		async run({ args }) {
			const { serverDatabase: database } = pathsIn(resolveSettings(args).dataDir);
			const file = resolve(args.file);
			const size = statSync(file, { throwIfNoEntry: false })?.size ?? 0;
			const { former, shares, bytes } = await putBack(database, file, Date.now(), progress(size));
			if (args.json) process.stdout.write(jsonLine({ database, former, shares, bytes }));
			else {
				const kept = former === null ? "" : ` What was there before is kept as ${former}.`;
				process.stdout.write(
					`${database} is the backup now, with ${count(shares, "share")}.${kept} Start the server: its clients compare what they have, and send what it lacks.\n`,
				);
			}
		},
	}),
	{
		when: "When the server's database is lost or damaged, or was put where it should not be. The server must be stopped. Everything that was redeemed before is fenced, and each client brings its shares level again as it comes back: nothing that a client still has is lost. What clients deleted on the server since the backup is back until it is deleted again.",
		exits: {
			0: "put back",
			65: "the backup is damaged, or none",
			66: "there is no such file",
			73: "the database cannot be written there",
			74: "the disk is full or fails",
			75: "a server runs on the database; nothing was changed",
		},
		examples: [
			{
				line: "opencode-outbox restore-server /backup/share.db",
				does: "The database that was there is kept beside the new one.",
			},
		],
	},
);
