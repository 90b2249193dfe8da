import { execFile } from "node:child_process";
import { chmodSync, chownSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { tempFolder } from "../outbox/fixture.ts";

/** Another for each mode: what others may read on purpose is no secret of the run. */
const keyOf = (mode: number) => `a-server-key-that-kubernetes-mounted-with-${mode.toString(8)}`;
const READ = new URL("../../src/cli/server-key.ts", import.meta.url).href;
const isRoot = process.getuid?.() === 0;
if (!isRoot) console.log("skipped: only root can make the files of others");

/** A Secret as kubelet mounts it: a dated folder, a link to it, and links to its files. Returns the key's path. */
function mounted(group: number, mode: number): string {
	const volume = join(tempFolder(), "secret");
	mkdirSync(join(volume, "..2026_01_01_00_00_00.1"), { recursive: true });
	const file = join(volume, "..2026_01_01_00_00_00.1", "server-key");
	writeFileSync(file, keyOf(mode));
	chownSync(file, 0, group);
	chmodSync(file, mode);
	for (const folder of [join(volume, ".."), volume, join(volume, "..2026_01_01_00_00_00.1")]) chmodSync(folder, 0o755);
	symlinkSync("..2026_01_01_00_00_00.1", join(volume, "..data"));
	symlinkSync("..data/server-key", join(volume, "server-key"));
	return join(volume, "server-key");
}

/** What a process of that user makes of the file: "read", or the sentence that refuses it. */
async function readAs(uid: number, path: string): Promise<string> {
	// The rights go once everything is loaded: a checkout may lie where nobody else may read.
	const script = `
		const { readServerKey } = await import(process.argv[1]);
		if (${uid} !== 0) { process.setgroups([]); process.setgid(${uid}); process.setuid(${uid}); }
		try { readServerKey(process.argv[2]); console.log("read"); } catch (error) { console.log(error.message, error.hint); }`;
	return await new Promise((resolve, reject) => {
		const args = ["--input-type=module", "-e", script, READ, path];
		execFile(process.execPath, args, (error, stdout) => (error ? reject(error) : resolve(stdout.trim())));
	});
}

const CASES: [what: string, uid: number, group: number, mode: number, says: RegExp][] = [
	["of a pod with fsGroup, which turns 0400 into 0440, is read by its user", 1000, 1000, 0o440, /^read$/],
	["of a pod without fsGroup cannot be read by its user", 1000, 0, 0o400, /cannot be read \(EACCES/],
	["of mode 0644, Kubernetes' own default, is read: whoever mounted it answers for it", 1000, 0, 0o644, /^read$/],
	["of mode 0400 is read by root", 0, 0, 0o400, /^read$/],
	[
		"with fsGroup is root's own file that others can read: refused",
		0,
		1000,
		0o440,
		/mode 0440.*mount it with mode 0400/,
	],
];
for (const [what, uid, group, mode, says] of CASES)
	test.skipIf(!isRoot)(
		`a key ${what}`,
		async () => {
			const told = await readAs(uid, mounted(group, mode));
			expect(told).toMatch(says);
			expect(told).not.toContain(keyOf(mode));
		},
		60_000,
	);
