import { lstatSync, readFileSync, realpathSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { OutboxError } from "../../model/errors.ts";
import { cachedPackages, configFiles, isOurPlugin, pluginFiles } from "../opencode-plugins.ts";
import type { Env } from "../paths.ts";
import { withoutPlugin } from "./config-entry.ts";

/** A configuration file that names the plugin. */
export interface Named {
	readonly path: string;
	readonly entries: readonly string[];
	readonly before: string;
	readonly after: string;
}

/** What of the plugin is in OpenCode. */
export interface Traces {
	readonly configs: readonly Named[];
	readonly links: readonly string[];
	/** Copies that OpenCode has fetched for itself. */
	readonly cached: readonly string[];
	/** What only a person can decide on, with what to do. */
	readonly left: readonly { readonly path: string; readonly next: string }[];
}

/** Looks for the plugin in the configuration of OpenCode, as it is seen from `cwd`. Changes nothing. */
export function tracesIn(env: Env, cwd: string): Traces {
	const configs: Named[] = [];
	const left: { path: string; next: string }[] = [];
	for (const path of configFiles(env, cwd)) {
		const before = readFileSync(path, "utf8");
		if (!before.includes("plugin")) continue;
		const removed = withoutPlugin(before, (spec) => isOurPlugin(spec, dirname(path)));
		if (removed === undefined && before.includes("opencode-outbox"))
			left.push({ path, next: "It is no configuration that could be read: take opencode-outbox out by hand." });
		if (removed && removed.entries.length > 0)
			configs.push({ path, entries: removed.entries, before, after: removed.text });
	}
	const links: string[] = [];
	for (const path of pluginFiles(env, cwd)) {
		if (lstatSync(path).isSymbolicLink()) links.push(path);
		else left.push({ path, next: "It is a file, not a link to this package: remove it if it is not yours." });
	}
	return { configs, links, cached: cachedPackages(env), left };
}

/** Takes the plugin out. Each file is replaced whole; one that was changed meanwhile is left. */
export function removeTraces({ configs, links, cached }: Traces): void {
	for (const config of configs) rewrite(config);
	for (const link of links) rmSync(link, { force: true });
	for (const folder of cached) rmSync(folder, { recursive: true, force: true });
}

function rewrite({ path, before, after }: Named): void {
	// A configuration is often a link into somebody's dotfiles.
	const file = realpathSync(path);
	const draft = `${file}.${process.pid}`;
	try {
		writeFileSync(draft, after, { mode: statSync(file).mode & 0o777, flag: "wx" });
		if (readFileSync(file, "utf8") !== before)
			throw new OutboxError("busy", `${path} was changed while it was being read.`, {
				hint: "Run this again.",
			});
		renameSync(draft, file);
	} finally {
		rmSync(draft, { force: true });
	}
}
