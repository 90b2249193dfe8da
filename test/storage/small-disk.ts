import { execFileSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, rmdirSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gather } from "../evidence/folder.ts";
import { isRecording } from "../evidence/record.ts";

/** A file system of its own of a few MiB. */
export interface SmallDisk {
	readonly path: string;
	/** Fills it until not a byte more goes in. */
	fill(): void;
	/** Takes what `fill` has put there away. */
	clear(): void;
	unmount(): void;
}

/** Mounts one, or tells why that is not possible here: only root may. */
export function mountSmallDisk(bytes: number): SmallDisk | string {
	const path = mkdtempSync(join(tmpdir(), "outbox-disk-"));
	try {
		execFileSync("mount", ["-t", "tmpfs", "-o", `size=${bytes},mode=0700`, "tmpfs", path], { stdio: "pipe" });
	} catch (error) {
		rmdirSync(path);
		return `a file system cannot be mounted here: ${error instanceof Error ? error.message.split("\n")[0] : error}`;
	}
	const junk = join(path, "junk");
	return {
		path,
		fill() {
			const file = openSync(junk, "a");
			try {
				for (let chunk = 65_536; chunk >= 1; ) {
					try {
						writeSync(file, Buffer.alloc(chunk, 1));
					} catch {
						chunk = Math.floor(chunk / 16);
					}
				}
			} finally {
				closeSync(file);
			}
		},
		clear: () => rmSync(junk, { force: true }),
		unmount() {
			if (isRecording()) gather(path);
			execFileSync("umount", ["-l", path]);
			rmdirSync(path);
		},
	};
}
