import { readFileSync } from "node:fs";
import { messageOf, OutboxError } from "../model/errors.ts";
import { jsonFault } from "./json-fault.ts";
import { didYouMean } from "./nearest.ts";
import { SETTING_NAMES, type SettingName } from "./settings-table.ts";
import { printable } from "./terminal.ts";

export interface ConfigFile {
	readonly path: string;
	readonly values: Readonly<Partial<Record<SettingName, unknown>>>;
}

/**
 * Reads the config file: a JSON object whose keys are names of settings. A missing one says nothing. `$schema` may stand
 * in it, for editors.
 *
 * @throws OutboxError config: unreadable, no JSON (with the place), no object, an unknown key.
 */
export function readConfig(path: string): ConfigFile {
	const text = readText(path);
	if (text === undefined) return { path, values: {} };
	const values = parse(text, path);
	for (const key of Object.keys(values)) {
		if (key === "$schema" || SETTING_NAMES.includes(key as SettingName)) continue;
		const hint = didYouMean(key, SETTING_NAMES, `Known are ${SETTING_NAMES.join(", ")}.`);
		throw new OutboxError("config", `"${printable(key)}" is no setting of opencode-outbox (from ${path}).`, { hint });
	}
	return { path, values };
}

function readText(path: string): string | undefined {
	try {
		return readFileSync(path, "utf8").replace(/^\uFEFF/, "");
	} catch (error) {
		const { code } = error as NodeJS.ErrnoException;
		if (code === "ENOENT" || code === "ENOTDIR") return undefined;
		throw new OutboxError("config", `${path} cannot be read (${messageOf(error)}).`, { cause: error });
	}
}

function parse(text: string, path: string): Record<string, unknown> {
	let value: unknown;
	try {
		value = JSON.parse(text);
	} catch (error) {
		// What the runtimes say differs, may lack the place, and may quote the file.
		const { line, column, expected } = jsonFault(text);
		throw new OutboxError("config", `${path}:${line}:${column} is not JSON: expected ${expected}.`, { cause: error });
	}
	if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
	throw new OutboxError("config", `${path} holds no JSON object.`);
}
