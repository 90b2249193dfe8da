import { type ArgsDef, type CommandDef, defineCommand, type Resolvable } from "citty";
import { OutboxError } from "../model/errors.ts";
import { didYouMean } from "./nearest.ts";
import { teach } from "./teach.ts";
import { printable } from "./terminal.ts";

/** citty's own type for a command of any arguments. */
// biome-ignore lint/suspicious/noExplicitAny: a command's arguments are both read and given, so no other type fits all.
type AnyCommand = CommandDef<any>;

/** What the commands are for that are loaded when they are called: a list of them needs none of them. */
const descriptions = new WeakMap<object, string>();

function listed(description: string, load: () => Promise<{ readonly command: AnyCommand }>): Resolvable<CommandDef> {
	const command = async (): Promise<CommandDef> => (await load()).command;
	descriptions.set(command, description);
	return command;
}

/** The program. Each command is loaded when it is called, so that `status` does not pay for the share server. */
const program = teach(
	defineCommand({
		meta: {
			name: "opencode-outbox",
			description:
				"Records every change of an OpenCode session durably and replays it to a share server: in order, with one effect, whatever crashes in between.",
		},
		subCommands: {
			run: listed(
				"Run the agent: record every change of every session and replay it to the share server.",
				() => import("./run.ts"),
			),
			flush: listed("Capture what is there, send it, and report.", () => import("./flush.ts")),
			status: listed("Show what is pending, who works on it, and what needs a person.", () => import("./status.ts")),
			doctor: listed(
				"Prove each link of the chain with a live probe, and say what to do where one is broken.",
				() => import("./doctor.ts"),
			),
			share: listed("Print a session's link, making its share if need be.", () => import("./share.ts")),
			unshare: listed("Revoke a session's share and delete it from the server.", () => import("./unshare.ts")),
			verify: listed(
				"Compare shares with OpenCode, entity by entity, and name every difference.",
				() => import("./verify.ts"),
			),
			sessions: listed(
				"List OpenCode's sessions, and which of them are synced by the rules.",
				() => import("./sessions.ts"),
			),
			redact: listed("See what redaction rules there are, and what they would take out.", () => import("./redact.ts")),
			restore: listed(
				"Bring a session back from its share into the OpenCode of this machine.",
				() => import("./restore.ts"),
			),
			dead: listed(
				"Look at dead letters (ops that were set aside for a person), export, revive or discard them.",
				() => import("./dead.ts"),
			),
			serve: listed("Run a share server by itself, in the foreground.", () => import("./serve.ts")),
			uninstall: listed(
				"Stop the agent and take the plugin out of OpenCode, which is as it was then.",
				() => import("./uninstall.ts"),
			),
			backup: listed(
				"Copy the share server's database into a file, while the server runs.",
				() => import("./backup.ts"),
			),
			"restore-server": listed(
				"Put a backup in the place of the share server's database.",
				() => import("./restore-server.ts"),
			),
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
		called = await describe(`${called.name} `, called.subCommands[word] ?? {}, rest);
	}
}

/** The commands of a command with their descriptions, for help. */
export async function commandList({ subCommands }: Called): Promise<[string, string][]> {
	return await Promise.all(
		Object.entries(subCommands).map(async ([name, command]): Promise<[string, string]> => {
			return [name, descriptions.get(command) ?? (await describe("", command, [])).description];
		}),
	);
}

async function describe(
	prefix: string,
	resolvable: Resolvable<CommandDef>,
	rawArgs: readonly string[],
): Promise<Called> {
	const command = await resolved(resolvable);
	const meta = await resolved(command.meta ?? {});
	return {
		name: `${prefix}${meta.name ?? ""}`,
		command,
		args: await resolved(command.args ?? {}),
		description: descriptions.get(resolvable) ?? meta.description ?? "",
		rawArgs,
		subCommands: await resolved(command.subCommands ?? {}),
	};
}

async function resolved<T>(value: Resolvable<T>): Promise<T> {
	return typeof value === "function" ? await (value as () => T | Promise<T>)() : await value;
}
