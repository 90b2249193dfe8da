import { runCommand } from "citty";
import { OutboxError } from "../model/errors.ts";
import { version } from "../model/package.ts";
import { checkArguments, gathered } from "./arguments.ts";
import { type Called, calledCommand, commandList } from "./commands.ts";
import { complain } from "./failure.ts";
import { isList } from "./settings-table.ts";
import { lessonOf } from "./teach.ts";
import { painter } from "./terminal.ts";
import { usage } from "./usage.ts";

/**
 * Runs the program for `argv` (without the runtime and the script) and ends the process.
 *
 * A command's `run` returns its exit code, or nothing for 0; whatever it throws is told by `complain`. The process ends
 * when `run` is over, whatever is still open: no forgotten handle keeps a finished command alive.
 */
export async function runProgram(argv: readonly string[]): Promise<never> {
	for (const stream of [process.stdout, process.stderr]) stream.on("error", onStreamError);
	for (const event of ["uncaughtException", "unhandledRejection"])
		process.on(event, (thrown: unknown) => process.exit(complain(thrown, argv)));
	const code = await main(argv).catch((thrown: unknown) => complain(thrown, argv));
	await new Promise<void>((resolve) => process.stdout.write("", () => resolve()));
	process.exit(code);
}

async function main(argv: readonly string[]): Promise<number> {
	const [first, ...rest] = argv;
	if (first === "--version" || first === "-v") return print(version());
	const isHelp = first === "help";
	const called = await calledCommand(isHelp ? rest : argv);
	if (isHelp || asksForHelp(called.rawArgs)) return print(await help(called, process.stdout));

	const { name, command, args, rawArgs, subCommands } = called;
	if (Object.keys(subCommands).length > 0 && rawArgs.length === 0) {
		process.stderr.write(await help(called, process.stderr));
		return new OutboxError("usage", "").exitCode;
	}
	checkArguments(name, args, rawArgs, lessonOf(command)?.repeats ?? false);
	const { result } = await runCommand(command, { rawArgs: gathered(args, rawArgs, isList) });
	return typeof result === "number" ? result : Number(process.exitCode ?? 0);
}

async function help(called: Called, stream: NodeJS.WriteStream): Promise<string> {
	return usage({ ...called, commands: await commandList(called) }, painter(stream, process.env));
}

function asksForHelp(rawArgs: readonly string[]): boolean {
	const end = rawArgs.indexOf("--");
	return (end < 0 ? rawArgs : rawArgs.slice(0, end)).some((arg) => arg === "--help" || arg === "-h");
}

function print(text: string): number {
	process.stdout.write(text.endsWith("\n") ? text : `${text}\n`);
	return 0;
}

/** A reader who has gone (`status | head`) is no trouble of ours; an agent goes on without one. */
function onStreamError(error: NodeJS.ErrnoException): void {
	if (error.code === "EPIPE" || error.code === "ERR_STREAM_DESTROYED") return;
	process.exit(new OutboxError("io", error.message).exitCode);
}
