import type { ArgDef, ArgsDef, CommandDef } from "citty";
import { aliases, isRequired, placeName } from "./arguments.ts";
import { configPath } from "./paths.ts";
import { SETTINGS, type SettingName, variableOf } from "./settings-table.ts";
import { lessonOf } from "./teach.ts";
import { type Paint, table } from "./terminal.ts";

/** Columns of a help text; a terminal is at least this wide. */
const WIDTH = 100;

const COMMON_EXITS: Readonly<Record<number, string>> = {
	64: "a wrong command, flag or value",
	70: "a defect of this program",
	73: "not allowed to write there",
	74: "the disk is full or fails",
	78: "a wrong setting, or a file of a newer version",
};

export interface Page {
	/** The words that call it: "opencode-outbox dead list". */
	readonly name: string;
	readonly command: CommandDef;
	readonly args: ArgsDef;
	readonly description: string;
	/** Its commands with their descriptions. */
	readonly commands: readonly (readonly [name: string, description: string])[];
}

/** The text of `--help`: what it does, when one uses it, its arguments with defaults and units, exit codes, examples. */
export function usage({ name, command, args, description, commands }: Page, paint: Paint): string {
	const lesson = lessonOf(command);
	const entries = Object.entries(args);
	const places = entries.filter(([, arg]) => arg.type === "positional");
	const flags = entries.filter(([, arg]) => arg.type !== "positional");
	const synopsis = [
		name,
		...(commands.length > 0 ? ["COMMAND"] : []),
		...(flags.length > 0 ? ["[FLAGS]"] : []),
		...places.map((place, index) => placeForm(place, lesson?.repeats === true && index === places.length - 1)),
	];
	const versionRow: [string, string][] = name.includes(" ") ? [] : [["-v, --version", "Print the version."]];
	const settings = flags.filter(([flag]) => Object.hasOwn(SETTINGS, flag));
	const exits = Object.entries({ ...COMMON_EXITS, ...lesson?.exits });
	const sections: [title: string, text: string][] = [
		["", wrap(description, "")],
		["", lesson ? wrap(lesson.when, "") : ""],
		["Usage", `  ${synopsis.join(" ")}`],
		["Commands", columns(commands)],
		["Arguments", columns(places.map((place) => [placeName(place), place[1].description ?? ""]))],
		["Flags", columns([...flags.map(flagRow), ...versionRow, ["-h, --help", "Print this."]])],
		["Settings", settings.length > 0 ? settingsText() : ""],
		["Exit codes", lesson ? columns(exits.sort(([a], [b]) => Number(a) - Number(b))) : ""],
		["Examples", lesson?.examples.map(({ line, does }) => `  ${line}\n${wrap(does, "      ")}`).join("\n") ?? ""],
	];
	return sections
		.filter(([, text]) => text !== "")
		.map(([title, text]) => (title === "" ? `${text}\n` : `${paint("bold", title)}\n${text}\n`))
		.join("\n");
}

function placeForm(place: readonly [string, ArgDef], repeats: boolean): string {
	const name = `${placeName(place)}${repeats ? "..." : ""}`;
	return isRequired(place[1]) ? name : `[${name}]`;
}

function flagRow([flag, arg]: readonly [string, ArgDef]): [string, string] {
	const value =
		arg.type === "boolean"
			? ""
			: ` ${arg.valueHint ?? (arg.type === "enum" ? arg.options?.join("|") : undefined) ?? "VALUE"}`;
	const short = aliases(arg).filter((alias) => alias.length === 1);
	const label = `${[...short.map((alias) => `-${alias}`), `--${flag}`].join(", ")}${value}`;
	const isSetting = Object.hasOwn(SETTINGS, flag);
	const known = isSetting
		? `(default: ${SETTINGS[flag as SettingName].fallbackText}; ${variableOf(flag as SettingName)})`
		: arg.default !== undefined && arg.default !== false
			? `(default: ${arg.default})`
			: arg.required === true
				? "(required)"
				: "";
	return [label, [arg.description, known].filter(Boolean).join(" ")];
}

function settingsText(): string {
	const path = configPath({ HOME: "~", XDG_CONFIG_HOME: process.env.XDG_CONFIG_HOME });
	const text = `A flag wins over its OPENCODE_OUTBOX_ variable, which wins over the key of the flag's name in ${path}, which wins over the default. Paths may begin with ~/; durations need a unit: ms, s, m, h or d. A list is an array in the file and has an item per line in its variable; the place that wins gives all of it.`;
	return wrap(text, "  ");
}

/** Two columns, the second one wrapped. */
function columns(rows: readonly (readonly [string, string])[]): string {
	const first = Math.min(28, Math.max(0, ...rows.map(([label]) => label.length)));
	const lines = rows.flatMap(([label, text]) => {
		const [head = "", ...rest] = wrapped(text, WIDTH - first - 4);
		const tail = rest.map((line) => ["", line]);
		return label.length > first ? [[label], ["", head], ...tail] : [[label, head], ...tail];
	});
	return lines
		.map((cells) =>
			cells.length === 1 ? `  ${cells[0]}` : table([[(cells[0] ?? "").padEnd(first), cells[1] ?? ""]], "  "),
		)
		.join("\n");
}

function wrap(text: string, indent: string): string {
	return wrapped(text, WIDTH - indent.length)
		.map((line) => indent + line)
		.join("\n");
}

function wrapped(text: string, width: number): string[] {
	const lines: string[] = [];
	for (const word of text.split(/\s+/)) {
		const last = lines.at(-1);
		if (last !== undefined && last.length + 1 + word.length <= width) lines[lines.length - 1] = `${last} ${word}`;
		else lines.push(word);
	}
	return lines;
}
