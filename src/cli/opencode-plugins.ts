import { existsSync, lstatSync, readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, isAbsolute, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { type Env, home } from "./paths.ts";

/** The package's name, by which OpenCode knows the plugin. */
const NAME = "opencode-outbox";

/**
 * The folders in which OpenCode 1.18 looks for its configuration, as far as one user and one working directory have them:
 * its own, `~/.opencode`, the one that OPENCODE_CONFIG_DIR names, and those of the project, up to its repository.
 */
export function configFolders(env: Env, cwd: string): string[] {
	const global = [join(xdgHome(env.XDG_CONFIG_HOME, env, ".config"), "opencode"), join(home(env), ".opencode")];
	const named = env.OPENCODE_CONFIG_DIR ? [resolve(cwd, env.OPENCODE_CONFIG_DIR)] : [];
	const project = upwards(cwd).flatMap((folder) => [folder, join(folder, ".opencode")]);
	return [...new Set([...global, ...named, ...project])];
}

/** Configuration files that are there. */
export function configFiles(env: Env, cwd: string): string[] {
	const names = ["config.json", "opencode.json", "opencode.jsonc"];
	const inFolders = configFolders(env, cwd).flatMap((folder) => names.map((name) => join(folder, name)));
	const named = env.OPENCODE_CONFIG ? [resolve(cwd, env.OPENCODE_CONFIG)] : [];
	return [...new Set([...named, ...inFolders])].filter((path) => existsSync(path));
}

/** Files and links of the plugin's name in the folders from which OpenCode loads every file. */
export function pluginFiles(env: Env, cwd: string): string[] {
	const folders = configFolders(env, cwd).flatMap((folder) => ["plugin", "plugins"].map((name) => join(folder, name)));
	return folders.flatMap((folder) => {
		if (!existsSync(folder) || !lstatSync(folder).isDirectory()) return [];
		const names = readdirSync(folder).filter((name) => /opencode-outbox.*\.[jt]s$/.test(name));
		return names.map((name) => join(folder, name));
	});
}

/** Copies of this package that OpenCode has fetched for itself: a folder per name and version. */
export function cachedPackages(env: Env): string[] {
	const folder = join(xdgHome(env.XDG_CACHE_HOME, env, ".cache"), "opencode", "packages");
	if (!existsSync(folder)) return [];
	return readdirSync(folder)
		.filter((name) => name === NAME || name.startsWith(`${NAME}@`))
		.map((name) => join(folder, name));
}

/**
 * Whether what OpenCode's configuration names is this plugin: by the package's name, or by a path into a package of that name.
 *
 * @param from the folder that relative paths begin at: the configuration's own.
 */
export function isOurPlugin(spec: string, from: string): boolean {
	if (spec === NAME || spec.startsWith(`${NAME}@`)) return true;
	const path = pluginPath(spec, from);
	if (path === undefined) return /[:/]opencode-outbox(\.git)?(#.*)?$/.test(spec);
	const manifest = upwards(path)
		.map((folder) => join(folder, "package.json"))
		.find((file) => existsSync(file));
	// What is gone can only be told by its name.
	return existsSync(path)
		? manifest !== undefined && manifestIn(manifest).name === NAME
		: path.split("/").includes(NAME);
}

/** The path that a plugin is named by; undefined where it is named as a package. */
export function pluginPath(spec: string, from: string): string | undefined {
	try {
		if (spec.startsWith("file:")) return fileURLToPath(spec);
	} catch {
		return undefined;
	}
	return isAbsolute(spec) || spec.startsWith(".") ? resolve(from, spec) : undefined;
}

/** Why OpenCode cannot load what its configuration names as this plugin; undefined where it can, as far as files tell. */
export function unloadable(spec: string, from: string): string | undefined {
	const path = pluginPath(spec, from);
	if (path === undefined) return undefined;
	if (!existsSync(path)) return `${path} is not there`;
	if (!statSync(path).isDirectory()) return undefined;
	const { exports } = manifestIn(join(path, "package.json")) as { exports?: Record<string, { default?: unknown }> };
	const file = exports?.["./server"]?.default;
	if (typeof file !== "string") return `${path} is no package with a plugin in it`;
	return existsSync(join(path, file)) ? undefined : `${join(path, file)} is not there; \`npm run build\` makes it`;
}

function manifestIn(path: string): Record<string, unknown> {
	try {
		return Object(JSON.parse(readFileSync(path, "utf8")));
	} catch {
		return {};
	}
}

/** A folder and those above it, up to a repository's; without one up to the root. */
function upwards(folder: string): string[] {
	const all: string[] = [];
	for (let at = folder; ; at = dirname(at)) {
		all.push(at);
		if (existsSync(join(at, ".git")) || dirname(at) === at) return all;
	}
}

function xdgHome(value: string | undefined, env: Env, fallback: string): string {
	return value && isAbsolute(value) ? value : join(home(env), fallback);
}
