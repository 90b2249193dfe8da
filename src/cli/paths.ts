import { homedir } from "node:os";
import { isAbsolute, join, resolve } from "node:path";

export type Env = Readonly<Record<string, string | undefined>>;

/** Whether the plugin starts an agent where none runs: `false` or `0` says no. No setting of the commands. */
export const START_VARIABLE = "OPENCODE_OUTBOX_START";

/** Where everything of one outbox lies. Folders are made with mode 0700, files with 0600, by whoever writes them first. */
export interface Paths {
	readonly outbox: string;
	/** Held by the agent; see sqlite/lock.ts. */
	readonly lock: string;
	/** What this machine's create keys follow from (model/identity.ts). Secret. */
	readonly identity: string;
	/** What an agent says that the plugin started. */
	readonly log: string;
	/** The embedded share server's database. */
	readonly serverDatabase: string;
	/** The embedded share server's key. Secret. */
	readonly serverKey: string;
}

export function pathsIn(dataDir: string): Paths {
	return {
		outbox: join(dataDir, "outbox.db"),
		lock: join(dataDir, "agent.lock"),
		identity: join(dataDir, "identity"),
		log: join(dataDir, "agent.log"),
		serverDatabase: join(dataDir, "server", "share.db"),
		serverKey: join(dataDir, "server", "key"),
	};
}

/** `$XDG_DATA_HOME/opencode-outbox`, or `~/.local/share/opencode-outbox`. */
export function defaultDataDir(env: Env): string {
	return join(xdg(env.XDG_DATA_HOME) ?? join(home(env), ".local", "share"), "opencode-outbox");
}

/** `$XDG_CONFIG_HOME/opencode-outbox/config.json`, or the same in `~/.config`. */
export function configPath(env: Env): string {
	return join(xdg(env.XDG_CONFIG_HOME) ?? join(home(env), ".config"), "opencode-outbox", "config.json");
}

/** A path as a person wrote it: `~/` is the home folder, anything else relative is below `base`. */
export function expandPath(path: string, base: string, env: Env): string {
	if (path === "~" || path.startsWith("~/")) return join(home(env), path.slice(1));
	return resolve(base, path);
}

/** The XDG base directory specification: an empty or relative value counts as unset. */
function xdg(value: string | undefined): string | undefined {
	return value && isAbsolute(value) ? value : undefined;
}

export function home(env: Env): string {
	return env.HOME || homedir();
}
