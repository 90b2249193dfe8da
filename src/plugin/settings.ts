import { readFileSync } from "node:fs";
import { dirname } from "node:path";
import { configPath, defaultDataDir, type Env, expandPath, START_VARIABLE } from "../cli/paths.ts";

/** What the plugin goes by. */
export interface PluginSettings {
	/** Absolute: what tells one agent from another. */
	readonly dataDir: string;
	/** Whether it starts an agent where none runs. */
	readonly start: boolean;
	/** The environment of an agent that it starts. */
	readonly env: Readonly<Record<string, string>>;
}

/** Settings that hold a path: an agent runs in another folder than OpenCode. */
const PATHS = ["OPENCODE_OUTBOX_DATA_DIR", "OPENCODE_OUTBOX_OPENCODE_DB", "OPENCODE_OUTBOX_SERVER_KEY_FILE"];

/**
 * Settings from OpenCode's config (`["opencode-outbox", {"start": false, "server": "https://…"}]`), beside those that the
 * commands know: the environment wins, `config.json` comes last. A wrong one is the agent's to complain about, in agent.log.
 *
 * @param options a plugin's second argument: whatever a person wrote there. Never throws.
 */
export function pluginSettings(options: unknown, env: Env, cwd: string): PluginSettings {
	const { start, ...settings } = isRecord(options) ? options : {};
	const all: Record<string, string> = {};
	for (const [name, value] of Object.entries(env)) if (value !== undefined) all[name] = value;
	for (const [name, value] of Object.entries(settings)) {
		const variable = `OPENCODE_OUTBOX_${name.toUpperCase().replaceAll("-", "_")}`;
		if ((typeof value === "string" || typeof value === "number") && !all[variable]) all[variable] = String(value);
	}
	for (const name of PATHS) if (all[name]) all[name] = expandPath(all[name], cwd, env);
	const dataDir = all.OPENCODE_OUTBOX_DATA_DIR || configured("data-dir", env) || defaultDataDir(env);
	all.OPENCODE_OUTBOX_DATA_DIR = dataDir;
	const said = env[START_VARIABLE] || start;
	return { dataDir, start: said !== false && said !== "false" && said !== "0", env: all };
}

/** A path in `config.json`; undefined where it says nothing, or nothing that can be read. */
function configured(name: string, env: Env): string | undefined {
	try {
		const path = configPath(env);
		const value: unknown = JSON.parse(readFileSync(path, "utf8").replace(/^\uFEFF/, ""))[name];
		return typeof value === "string" && value !== "" ? expandPath(value, dirname(path), env) : undefined;
	} catch {
		return undefined;
	}
}

function isRecord(value: unknown): value is Record<string, unknown> {
	return typeof value === "object" && value !== null && !Array.isArray(value);
}
