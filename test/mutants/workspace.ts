import { execFileSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Mutant } from "./mutant.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
/** What the tests and the simulation need. */
const COPIED = ["deploy", "src", "test", "migration", "package.json", "tsconfig.json", "vitest.config.ts"];

/** A source with a mutant's fault put in. Throws when what it replaces is not there exactly once. */
export function mutated(source: string, { name, find, replace }: Mutant): string {
	const parts = source.split(find);
	if (parts.length !== 2)
		throw new Error(`${name}: what it replaces occurs ${parts.length - 1} times; mend the list (test/mutants/list)`);
	if (find === replace) throw new Error(`${name}: it changes nothing`);
	return parts.join(replace);
}

/** A copy of the project in a folder of its own, with one fault or with none. */
export class Workspace {
	readonly folder: string;

	constructor(mutant?: Mutant) {
		this.folder = mkdtempSync(join(tmpdir(), "outbox-mutant-"));
		for (const name of COPIED) cpSync(join(ROOT, name), join(this.folder, name), { recursive: true });
		symlinkSync(join(ROOT, "node_modules"), join(this.folder, "node_modules"));
		if (mutant !== undefined) {
			const file = join(this.folder, "src", mutant.file);
			writeFileSync(file, mutated(readFileSync(file, "utf8"), mutant));
		}
		// The tests of the commands run the program as it is built.
		execFileSync("npm", ["run", "--silent", "bundle"], { cwd: this.folder });
	}

	remove(): void {
		rmSync(this.folder, { recursive: true, force: true });
	}
}
