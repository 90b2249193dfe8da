import type { ArgsDef, CommandDef } from "citty";

/** What a command's `--help` says beyond its arguments. */
export interface Lesson {
	/** When one uses it: a sentence or a few. */
	readonly when: string;
	readonly examples: readonly { readonly line: string; readonly does: string }[];
	/** Exit codes of its own. 0 must be among them; 64, 70 and 78 mean the same everywhere and are added. */
	readonly exits: Readonly<Record<number, string>>;
	/** The last positional may be repeated (or be missing, when it is not required); the command reads `args._`. */
	readonly repeats?: boolean;
}

const lessons = new WeakMap<object, Lesson>();

/** Attaches to a command what its help teaches; returns the command itself. */
export function teach<Args extends ArgsDef>(command: CommandDef<Args>, lesson: Lesson): CommandDef<Args> {
	lessons.set(command, lesson);
	return command;
}

export function lessonOf(command: object): Lesson | undefined {
	return lessons.get(command);
}
