import { closeSync, fsyncSync, openSync, rmSync, writeSync } from "node:fs";
import { resolve } from "node:path";
import { defineCommand } from "citty";
import { OutboxError } from "../model/errors.ts";
import { type Choice, checkChoice, chosen, noSuchLetter, withOutbox } from "./dead-letters.ts";
import { resolveSettings, settingsArgs } from "./settings.ts";
import { teach } from "./teach.ts";
import { count, jsonLine, printable } from "./terminal.ts";

export const command = teach(
	defineCommand({
		meta: {
			name: "export",
			description: "Write dead letters with their payloads, a JSON object per line. They stay where they are.",
		},
		args: {
			number: { type: "positional", required: false, description: "The dead letters' numbers, from `dead list`." },
			all: { type: "boolean", description: "Every dead letter, instead of numbers." },
			session: { type: "string", valueHint: "SESSION", description: "With --all: only those of this session." },
			out: {
				type: "string",
				valueHint: "FILE",
				description: "A new file, mode 0600, instead of stdout. One that is there is not overwritten.",
			},
			...settingsArgs("data-dir"),
			json: { type: "boolean", description: "With --out: print a JSON object {exported, path}." },
		},
		async run({ args }) {
			const choice: Choice = { ids: args._, all: args.all === true, session: args.session };
			checkChoice(choice, "opencode-outbox dead export");
			if (args.json && args.out === undefined)
				throw new OutboxError("usage", "--json goes with --out: what is exported to stdout is JSON lines already.");
			const { dataDir } = resolveSettings(args);
			const letters = await withOutbox(dataDir, (outbox) => chosen(outbox, choice));
			if (letters === undefined && !choice.all) throw noSuchLetter(choice.ids.join(", "));
			const once = new Map((letters ?? []).map((letter) => [letter.id, letter]));
			const lines = [...once.values()].sort((a, b) => a.id - b.id).map(jsonLine);
			const told = count(lines.length, "dead letter");
			if (args.out === undefined) {
				for (const line of lines) process.stdout.write(line);
				process.stderr.write(`${told} exported.\n`);
				return;
			}
			const path = resolve(args.out);
			writeNew(path, lines);
			if (args.json) process.stdout.write(jsonLine({ exported: lines.length, path }));
			else process.stdout.write(`${told} exported to ${printable(path)}.\n`);
		},
	}),
	{
		when: "Before discarding them, to keep what they say or to look at it with other tools. What the redaction rules take out is not in them. A payload is the op's JSON as text, or null where it could not be read as an entity.",
		exits: {
			0: "exported, also when there are none",
			66: "no such dead letter; nothing was written",
			73: "the file is there already, or its folder cannot be written",
		},
		examples: [
			{ line: "opencode-outbox dead export --all --out letters.jsonl", does: "All of them, into a file of your own." },
			{ line: "opencode-outbox dead export 3 | jq '.payload | fromjson'", does: "What number 3 says." },
		],
		repeats: true,
	},
);

/** All of it or nothing: what was begun is removed again. A link that is there is not followed. */
function writeNew(path: string, lines: readonly string[]): void {
	const file = openNew(path);
	try {
		for (const line of lines) writeAll(file, Buffer.from(line));
		fsyncSync(file);
	} catch (error) {
		rmSync(path, { force: true });
		throw error;
	} finally {
		closeSync(file);
	}
}

function openNew(path: string): number {
	try {
		return openSync(path, "wx", 0o600);
	} catch (error) {
		if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
		throw new OutboxError("read_only", `${path} is there already.`, {
			hint: "Name another file; nothing was written.",
		});
	}
}

function writeAll(file: number, bytes: Buffer): void {
	for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
}
