import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const FILES = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard", "test"], { cwd: ROOT })
	.toString()
	.split("\n")
	.filter((path) => path.endsWith(".ts") && existsSync(join(ROOT, path)));

/** Folders that never hold a secret of ours, and why. */
const WITHOUT_SECRETS: Readonly<Record<string, string>> = {
	"test/source/opencode-database.ts": "OpenCode's own database, which knows of no share",
	"test/server/node.test.ts": "a file that is no database; the servers have folders of their own",
	"test/evidence/scan.test.ts": "secrets that are told on purpose, looked for by the test itself",
	"test/soak/stage.ts": "a script of its own, outside of any test run but its own short one",
	"test/mutants/workspace.ts": "copies of the sources",
	"test/simulation/walk.ts": "worlds without a process, a socket or an output of their own",
	"test/simulation/main.ts": "the folder of those worlds",
	"test/evidence/run.ts": "the evidence itself",
	"test/compat/binary.ts": "a package of OpenCode that is being loaded",
};

test("every folder that a fixture makes is handed to the scanner before it goes", () => {
	const makers = FILES.filter((path) => /\bmkdtemp(?:Sync)?\(/.test(readFileSync(join(ROOT, path), "utf8")));
	const forgetful = makers.filter((path) => !/\b(?:discard|gather)\(/.test(readFileSync(join(ROOT, path), "utf8")));
	expect(forgetful.filter((path) => !(path in WITHOUT_SECRETS))).toEqual([]);
	expect(Object.keys(WITHOUT_SECRETS).filter((path) => !forgetful.includes(path))).toEqual([]);
	expect(makers.length).toBeGreaterThan(8);
});
