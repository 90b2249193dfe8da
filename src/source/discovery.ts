import { existsSync, readdirSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, isAbsolute, join, resolve } from "node:path";
import { OutboxError } from "../model/errors.ts";

export interface FoundDatabase {
	/** The database that OpenCode uses, whether it exists or not. */
	readonly path: string;
	/** Every path that was looked at, in the order of preference. */
	readonly looked: readonly string[];
}

/** OpenCode keeps `opencode.db` for its release channels and `opencode-CHANNEL.db` for builds of its own. */
const DATABASE_NAME = "opencode.db";
const CHANNEL_NAME = /^opencode-[a-zA-Z0-9._-]+\.db$/;

/**
 * Finds OpenCode's database as OpenCode does: `OPENCODE_DB` (absolute, or relative to its data folder), else `opencode.db`
 * in `$XDG_DATA_HOME/opencode` or `~/.local/share/opencode`.
 *
 * OpenCode knows the channel it was built for and we do not; so where `opencode.db` is missing, the only
 * `opencode-CHANNEL.db` there is taken, unless `OPENCODE_DISABLE_CHANNEL_DB` says that OpenCode has none. Several of them:
 * none is guessed. Source: the JavaScript in the 1.18.33 binary.
 *
 * @param explicitPath what the person named; nothing else is looked at then. Relative to the working directory.
 * @throws OutboxError no_source when OpenCode is told to keep its database in memory.
 */
export function findOpencodeDatabase(
	env: Readonly<Record<string, string | undefined>>,
	explicitPath?: string,
): FoundDatabase {
	if (explicitPath !== undefined) return found([resolve(explicitPath)]);
	const directory = dataDirectory(env);
	if (env.OPENCODE_DB === ":memory:")
		throw new OutboxError("no_source", "OpenCode keeps its database in memory (OPENCODE_DB=:memory:).", {
			hint: "Unset OPENCODE_DB, or name a file in it.",
		});
	if (env.OPENCODE_DB) return found([isAbsolute(env.OPENCODE_DB) ? env.OPENCODE_DB : join(directory, env.OPENCODE_DB)]);
	const channels = /^(1|true)$/.test(env.OPENCODE_DISABLE_CHANNEL_DB ?? "") ? [] : channelDatabases(directory);
	const own = join(directory, DATABASE_NAME);
	return found(channels.length === 1 ? [own, ...channels] : [own]);
}

/** The folder that OpenCode up to 1.1 keeps its JSON files in, whether it exists or not. */
export function opencodeStorage(env: Readonly<Record<string, string | undefined>>): string {
	return join(dataDirectory(env), "storage");
}

/** What to tell a person when there is no database yet. */
export function noSource(database: FoundDatabase): OutboxError {
	const others = channelDatabases(dirname(database.path)).filter((path) => !database.looked.includes(path));
	return new OutboxError(
		"no_source",
		`There is no OpenCode database yet. Looked for ${database.looked.join(", then ")}.${
			others.length === 0 ? "" : ` Not guessed between ${others.join(" and ")}.`
		}`,
	);
}

function dataDirectory(env: Readonly<Record<string, string | undefined>>): string {
	return join(env.XDG_DATA_HOME || join(env.HOME || homedir(), ".local", "share"), "opencode");
}

function found(looked: readonly [string, ...string[]]): FoundDatabase {
	return { path: looked.find((candidate) => existsSync(candidate)) ?? looked[0], looked };
}

function channelDatabases(directory: string): string[] {
	try {
		return readdirSync(directory)
			.filter((name) => CHANNEL_NAME.test(name))
			.sort()
			.map((name) => join(directory, name));
	} catch {
		return [];
	}
}
