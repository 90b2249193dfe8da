import { type ArgsDef, type CommandDef, defineCommand, type Resolvable } from "citty";
import { OutboxError } from "../model/errors.ts";
import { didYouMean } from "./nearest.ts";
import { teach } from "./teach.ts";
import { printable } from "./terminal.ts";

/** The program. Each command is loaded when it is called, so that `status` does not pay for the share server. */
const program = teach(
	defineCommand({
		meta: {
			name: "opencode-outbox",
			description:
				"Records every change of an OpenCode session durably and replays it to a share server: in order, with one effect, whatever crashes in between.",
		},
		subCommands: {
			run: () => import("./run.ts").then(command),
			flush: () => import("./flush.ts").then(command),
			status: () => import("./status.ts").then(command),
			doctor: () => import("./doctor.ts").then(command),
			share: () => import("./share.ts").then(command),
			unshare: () => import("./unshare.ts").then(command),
			verify: () => import("./verify.ts").then(command),
			sessions: () => import("./sessions.ts").then(command),
			redact: () => import("./redact.ts").then(command),
			restore: () => import("./restore.ts").then(command),
			dead: () => import("./dead.ts").then(command),
			serve: () => import("./serve.ts").then(command),
			uninstall: () => import("./uninstall.ts").then(command),
			backup: () => import("./backup.ts").then(command),
			"restore-server": () => import("./restore-server.ts").then(command),
		},
	}),
	{
		when: "`run` is all that it takes: it finds OpenCode's database, starts a share server on loopback unless another is set, and keeps the two level. COMMAND --help teaches each command, its flags and its exit codes.",
		exits: {
			0: "done",
			1: "done, and what was looked at needs a person",
			65: "a file is damaged, or none of ours",
			66: "what was named does not exist",
			69: "the share server cannot be reached, or the port is taken",
			73: "not allowed to write there",
			74: "the disk is full or fails",
			75: "not now; run it again later",
			76: "what a server answered is no whole session",
			77: "the share server refuses the key, the share was revoked, or nothing may be overwritten",
		},
		examples: [
			{ line: "opencode-outbox run", does: "Start the agent." },
			{ line: "opencode-outbox status", does: "See what it does, and what needs you." },
		],
	},
);

/** citty's own type for a command of any arguments. */
// biome-ignore lint/suspicious/noExplicitAny: a command's arguments are both read and given, so no other type fits all.
type AnyCommand = CommandDef<any>;

function command(file: { readonly command: AnyCommand }): CommandDef {
	return file.command;
}

/** A command as it was called. */
export interface Called {
	/** The words that call it. */
	readonly name: string;
	readonly command: CommandDef;
	readonly args: ArgsDef;
	readonly description: string;
	/** What follows its name. */
	readonly rawArgs: readonly string[];
	/** Its commands; empty for one that runs. */
	readonly subCommands: Readonly<Record<string, Resolvable<CommandDef>>>;
}

/**
 * Finds the command that the arguments call: the program itself, one of its commands, or one of theirs.
 *
 * @throws OutboxError usage for an unknown one, with the nearest known.
 */
export async function calledCommand(argv: readonly string[]): Promise<Called> {
	let called = await describe("", program, argv);
	for (;;) {
		const [word, ...rest] = called.rawArgs;
		const known = Object.keys(called.subCommands);
		if (known.length === 0 || word === undefined || word.startsWith("-")) return called;
		if (!known.includes(word))
			throw new OutboxError("usage", `${called.name} has no command "${printable(word)}".`, {
				hint: `${didYouMean(word, known, `Known are ${known.join(", ")}.`)} Run \`${called.name} --help\`.`,
			});
		called = await describe(`${called.name} `, await load(called.subCommands[word]), rest);
	}
}

/** The commands of a command with their descriptions, for help. */
export async function commandList({ subCommands }: Called): Promise<[string, string][]> {
	return await Promise.all(
		Object.entries(subCommands).map(async ([name, command]): Promise<[string, string]> => {
			const { description } = await describe("", await load(command), []);
			return [name, description];
		}),
	);
}

async function describe(prefix: string, command: CommandDef, rawArgs: readonly string[]): Promise<Called> {
	const meta = await resolved(command.meta ?? {});
	return {
		name: `${prefix}${meta.name ?? ""}`,
		command,
		args: await resolved(command.args ?? {}),
		description: meta.description ?? "",
		rawArgs,
		subCommands: await resolved(command.subCommands ?? {}),
	};
}

async function load(command: Resolvable<CommandDef> | undefined): Promise<CommandDef> {
	return await resolved(command ?? {});
}

async function resolved<T>(value: Resolvable<T>): Promise<T> {
	return typeof value === "function" ? await (value as () => T | Promise<T>)() : await value;
}
