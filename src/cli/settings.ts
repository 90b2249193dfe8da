import { dirname } from "node:path";
import type { StringArgDef } from "citty";
import { OutboxError } from "../model/errors.ts";
import { readConfig } from "./config-file.ts";
import { nearest } from "./nearest.ts";
import { configPath, type Env, START_VARIABLE } from "./paths.ts";
import { SETTING_NAMES, SETTINGS, type SettingName, type Settings, variableOf } from "./settings-table.ts";
import { printable } from "./terminal.ts";

export type { LogLevel, SettingName, Settings } from "./settings-table.ts";

const PREFIX = "OPENCODE_OUTBOX_";

/** A value as it was found, and whom to tell about when it is wrong. */
interface Found {
	/** One, or those of a list. */
	readonly texts: readonly string[];
	readonly base: string;
	/** That one of them is not what was expected. */
	readonly wrong: (text: string, expected: string) => OutboxError;
}

/**
 * Resolves every setting: flags over `OPENCODE_OUTBOX_*` over the config file over defaults.
 *
 * The value that wins is validated, once; names are all checked. An empty variable counts as unset. Relative paths are
 * below the working directory, in the config file below its folder.
 *
 * @param flags citty's `args`; only settings are looked at.
 * @param defaults where a command's differ from the table's.
 * @throws OutboxError usage for a wrong flag; config for a wrong value, an unknown variable or key, a file that is no JSON.
 */
export function resolveSettings(
	flags: Readonly<Record<string, unknown>>,
	env: Env = process.env,
	defaults: Partial<Settings> = {},
): Settings {
	refuseUnknownVariables(env);
	const file = readConfig(configPath(env));
	const resolved: Partial<Record<keyof Settings, unknown>> = {};
	for (const name of SETTING_NAMES) {
		const setting = SETTINGS[name];
		const found = fromFlag(name, flags[name]) ?? fromVariable(name, env) ?? fromFile(name, file);
		if (found === undefined) {
			resolved[setting.field] = defaults[setting.field] ?? setting.fallback(env);
			continue;
		}
		const values = found.texts.map((text) => {
			const parsed = setting.parse(text, { base: found.base, env });
			if (parsed === undefined) throw found.wrong(text, setting.expected);
			return parsed.value;
		});
		resolved[setting.field] = setting.list ? values : values[0];
	}
	return resolved as Settings;
}

/** Settings of a command that ends by itself: it logs warnings only, unless told otherwise. */
export function resolveQuietly(flags: Readonly<Record<string, unknown>>): Settings {
	return resolveSettings(flags, process.env, { logLevel: "warn" });
}

/** The share server that was set, or undefined for the embedded one. Throws OutboxError config without its key file. */
export function remoteServer(settings: Settings): { url: string; keyFile: string } | undefined {
	const { server, serverKeyFile } = settings;
	if (server === undefined) return undefined;
	if (serverKeyFile === undefined)
		throw new OutboxError("config", `server is ${server}, and server-key-file is not set.`, {
			hint: "Put the key that the server's owner gave you into a file of mode 0600 and name it with --server-key-file.",
		});
	return { url: server, keyFile: serverKeyFile };
}

/** citty args for the settings that a command takes as flags. */
export function settingsArgs<const Names extends readonly SettingName[]>(...names: Names) {
	const args = names.map((name) => {
		const { hint, doc, list } = SETTINGS[name];
		const description = list ? `${doc} May be repeated.` : doc;
		return [name, { type: "string", valueHint: hint, description } satisfies StringArgDef] as const;
	});
	return Object.fromEntries(args) as {
		[Name in Names[number]]: { type: "string"; valueHint: string; description: string };
	};
}

function fromFlag(name: SettingName, value: unknown): Found | undefined {
	if (typeof value !== "string") return undefined;
	const wrong = (text: string, expected: string) =>
		new OutboxError("usage", `--${name} ${shown(text)}: expected ${expected}.`);
	return { texts: textsOf(name, value), base: process.cwd(), wrong };
}

function fromVariable(name: SettingName, env: Env): Found | undefined {
	const variable = variableOf(name);
	const value = env[variable];
	if (!value) return undefined;
	const wrong = (text: string, expected: string) =>
		new OutboxError("config", `${variable}=${shown(text)}: expected ${expected} (from the environment).`);
	return { texts: textsOf(name, value), base: process.cwd(), wrong };
}

function fromFile(name: SettingName, file: ReturnType<typeof readConfig>): Found | undefined {
	const value = file.values[name];
	if (value === undefined) return undefined;
	const wrong = (item: unknown, expected: string) =>
		new OutboxError("config", `${name}: expected ${expected}, not ${shown(JSON.stringify(item))} (from ${file.path}).`);
	const items: unknown[] = SETTINGS[name].list && Array.isArray(value) ? value : [value];
	const texts = items.map((item) => {
		if (typeof item !== "string" && typeof item !== "number") throw wrong(item, SETTINGS[name].expected);
		return String(item);
	});
	return { texts, base: dirname(file.path), wrong };
}

/** A list stands in one text an item per line: neither a glob nor a regular expression has a line break in it. */
function textsOf(name: SettingName, text: string): string[] {
	return SETTINGS[name].list ? text.split("\n").filter((item) => item !== "") : [text];
}

function refuseUnknownVariables(env: Env): void {
	const known = [...SETTING_NAMES.map(variableOf), START_VARIABLE];
	for (const variable of Object.keys(env)) {
		if (!variable.startsWith(PREFIX) || known.includes(variable)) continue;
		// Without the prefix, which alone would make any two look alike.
		const bare = known.map((name) => name.slice(PREFIX.length));
		const meant = nearest(variable.slice(PREFIX.length), bare);
		const hint = meant === undefined ? `Unset it. Known are ${known.join(", ")}.` : `Did you mean ${PREFIX}${meant}?`;
		throw new OutboxError("config", `${printable(variable)} is no setting of opencode-outbox (from the environment).`, {
			hint,
		});
	}
}

/** A wrong value, short and without what looks like a password in an address. */
function shown(value: string): string {
	const bare = printable(value).replace(/\/\/[^/?#]*@/, "//…@");
	return bare.length > 100 ? `${bare.slice(0, 100)}…` : bare;
}
