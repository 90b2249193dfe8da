import { existsSync, lstatSync, readdirSync, rmdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { laneAddress } from "../../source/lane-address.ts";

/** What this program writes into a data directory, and into `server/` in it: the README's table. */
const OURS = /^(outbox\.db.*|agent\.(lock|log|starting).*|identity.*|lane\.sock|\.doctor-[0-9a-f]+)$/;
const SERVERS = /^(share\.db.*|key.*)$/;

/**
 * Removes what this program has written, and the directory when nothing else is in it.
 *
 * @returns what is left there, by full path.
 */
export function purge(dataDir: string): string[] {
	const lane = laneAddress(dataDir);
	for (const path of filesOf(dataDir)) rmSync(path, { force: true });
	if (process.platform !== "win32") rmSync(lane, { force: true });
	for (const folder of [join(dataDir, "server"), dataDir])
		if (existsSync(folder) && readdirSync(folder).length === 0) rmdirSync(folder);
	return existsSync(dataDir) ? readdirSync(dataDir).map((name) => join(dataDir, name)) : [];
}

/** The files of this program in a data directory. */
export function filesOf(dataDir: string): string[] {
	const ours = (folder: string, form: RegExp) =>
		existsSync(folder) && lstatSync(folder).isDirectory()
			? readdirSync(folder)
					.filter((name) => form.test(name))
					.map((name) => join(folder, name))
			: [];
	return [...ours(dataDir, OURS), ...ours(join(dataDir, "server"), SERVERS)];
}
