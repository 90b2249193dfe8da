import { parseArgs } from "node:util";
import type { ArgDef, ArgsDef } from "citty";
import { OutboxError } from "../model/errors.ts";
import { nearest } from "./nearest.ts";
import { printable } from "./terminal.ts";

/**
 * Refuses what citty would let pass: unknown flags, flags without their value, values for switches, wrong choices,
 * positionals that are missing or too many.
 *
 * @param name of the command, for messages.
 * @param repeats whether the last positional may be repeated.
 * @throws OutboxError usage.
 */
export function checkArguments(name: string, args: ArgsDef, rawArgs: readonly string[], repeats: boolean): void {
	const hint = `Run \`${name} --help\`.`;
	const fail = (message: string, better?: string) => new OutboxError("usage", message, { hint: better ?? hint });
	const flags = Object.entries(args).filter(([, arg]) => arg.type !== "positional");
	const byName = new Map(flags.flatMap(([flag, arg]) => [flag, ...aliases(arg)].map((alias) => [alias, arg] as const)));
	for (const token of tokens(flags, rawArgs)) {
		if (token.kind !== "option") continue;
		const { rawName, value, inlineValue } = token;
		const arg = byName.get(token.name);
		if (arg === undefined || !isWritten(rawName, token.name)) {
			const known = [...byName.keys()].map(dashed);
			const meant = nearest(rawName, [...known, "--help"]);
			throw fail(`${name} has no flag ${printable(rawName)}.`, meant && `Did you mean ${meant}? ${hint}`);
		}
		if (arg.type === "boolean") {
			if (value !== undefined) throw fail(`${rawName} takes no value.`);
			continue;
		}
		const isMissing = value === undefined || value === "" || (!inlineValue && /^-./.test(value));
		if (isMissing) throw fail(`${rawName} needs a value${arg.valueHint ? `: ${rawName} ${arg.valueHint}` : ""}.`);
		if (arg.type === "enum" && arg.options && !arg.options.includes(value))
			throw fail(`${rawName} ${printable(value)}: expected ${arg.options.join(" or ")}.`);
	}
	for (const [flag, arg] of flags) {
		const isGiven = rawArgs.some((raw) => raw === `--${flag}` || raw.startsWith(`--${flag}=`));
		if (arg.required && arg.default === undefined && !isGiven) throw fail(`${name} needs --${flag}.`);
	}
	checkPositionals(name, args, rawPositionals(flags, rawArgs), repeats, fail);
}

/**
 * The arguments with flags of lists that are repeated told once, an item per line (settings.ts): citty keeps only the last.
 *
 * @param isList whether a flag may be repeated.
 */
export function gathered(args: ArgsDef, rawArgs: readonly string[], isList: (flag: string) => boolean): string[] {
	const flags = Object.entries(args).filter(([, arg]) => arg.type !== "positional");
	const given = new Map<string, string[]>();
	const taken = new Set<number>();
	for (const token of tokens(flags, rawArgs)) {
		if (token.kind !== "option" || token.value === undefined || !isList(token.name)) continue;
		given.set(token.name, [...(given.get(token.name) ?? []), token.value]);
		taken.add(token.index);
		if (!token.inlineValue) taken.add(token.index + 1);
	}
	const lists = [...given].map(([flag, items]) => `--${flag}=${items.join("\n")}`);
	return [...lists, ...rawArgs.filter((_raw, index) => !taken.has(index))];
}

function checkPositionals(
	name: string,
	args: ArgsDef,
	given: readonly string[],
	repeats: boolean,
	fail: (message: string) => OutboxError,
): void {
	const places = Object.entries(args).filter(([, arg]) => arg.type === "positional");
	const missing = places.find(([, arg], index) => given[index] === undefined && isRequired(arg));
	if (missing) throw fail(`${name} needs ${placeName(missing)}.`);
	const stray = given[places.length];
	if (stray !== undefined && !(repeats && places.length > 0))
		throw fail(`${name} does not know what to do with "${printable(stray)}".`);
}

export function isRequired(arg: ArgDef): boolean {
	return arg.required !== false && arg.default === undefined;
}

/** How a positional is called in help and messages. */
export function placeName([name, arg]: readonly [string, ArgDef]): string {
	return arg.valueHint ?? name.toUpperCase();
}

export function aliases(arg: ArgDef): string[] {
	return "alias" in arg && arg.alias !== undefined ? [arg.alias].flat() : [];
}

function rawPositionals(flags: readonly (readonly [string, ArgDef])[], rawArgs: readonly string[]): string[] {
	return tokens(flags, rawArgs).flatMap((token) => (token.kind === "positional" ? [token.value] : []));
}

/** The same parser that citty uses, with the same understanding of which flags take a value. */
function tokens(flags: readonly (readonly [string, ArgDef])[], rawArgs: readonly string[]) {
	const options = Object.fromEntries(
		flags.map(([flag, arg]) => {
			const short = aliases(arg).find((alias) => alias.length === 1);
			const type: "boolean" | "string" = arg.type === "boolean" ? "boolean" : "string";
			return [flag, { type, ...(short === undefined ? {} : { short }) }] as const;
		}),
	);
	return parseArgs({ args: [...rawArgs], options, strict: false, allowPositionals: true, tokens: true }).tokens;
}

/** citty takes camelCase and abbreviates nothing; a flag has one spelling here. */
function isWritten(rawName: string, name: string): boolean {
	return rawName === `--${name}` || /^-[^-]$/.test(rawName);
}

function dashed(name: string): string {
	return name.length === 1 ? `-${name}` : `--${name}`;
}
