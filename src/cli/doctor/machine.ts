import { randomBytes } from "node:crypto";
import {
	accessSync,
	closeSync,
	constants,
	existsSync,
	fsyncSync,
	openSync,
	rmSync,
	statfsSync,
	statSync,
	writeSync,
} from "node:fs";
import { dirname, join, relative } from "node:path";
import { OutboxError } from "../../model/errors.ts";
import { version } from "../../model/package.ts";
import { openSqlite } from "../../sqlite/driver.ts";
import { remoteServer, resolveSettings, type Settings } from "../settings.ts";
import { freeBytesAt } from "../status-look.ts";
import { bytes } from "../terminal.ts";
import { filesOf } from "../uninstall/purge.ts";
import type { Finding } from "./examination.ts";

/** The runtime is one that the program works on, and its SQLite driver loads: an image of the wrong libc has none. */
export async function checkRuntime(): Promise<Finding> {
	const sqlite = await openSqlite(":memory:");
	const row = sqlite.prepare<{ version: string }>("SELECT sqlite_version() AS version").get();
	sqlite.close();
	const { bun, node } = process.versions;
	const runtime = bun === undefined ? `Node ${node}` : `Bun ${bun}`;
	const facts = { version: version(), runtime, platform: process.platform, arch: process.arch, sqlite: row?.version };
	const found = `opencode-outbox ${facts.version} on ${runtime}, ${facts.platform} ${facts.arch}, SQLite ${facts.sqlite}.`;
	return { verdict: "ok", found, facts };
}

export function checkSettings(flags: Readonly<Record<string, unknown>>): Finding<Settings> {
	const settings = resolveSettings(flags);
	const remote = remoteServer(settings);
	const server = remote?.url ?? "the agent's own, on loopback";
	const facts = { data_dir: settings.dataDir, server: remote?.url ?? null, share: settings.share };
	const found = `Data in ${settings.dataDir}; server: ${server}; share: ${settings.share}.`;
	return { verdict: "ok", found, facts, value: settings };
}

/** File systems of other machines, by statfs's type (linux/magic.h): NFS, SMB, SMB2, 9p. */
const REMOTE: Readonly<Record<number, string>> = {
	26985: "NFS",
	20859: "SMB",
	4283649346: "SMB",
	4266872130: "SMB",
	16914839: "9p",
};
/** Below this an append may not fit, and below that it is time to look, in bytes. */
const FULL_BELOW = 1024 * 1024;
const LOW_BELOW = 100 * 1024 * 1024;
/** What is written to prove that it can be, in bytes: more than a small file that would fit into an inode. */
const PROBE_BYTES = 64 * 1024;

/**
 * The data directory takes what is written, on a disk with room, and lets nobody else read.
 *
 * @param writes whether to prove it by writing a file, which is removed again; otherwise permissions are asked.
 */
export function checkDataDir(dataDir: string, writes: boolean): Finding {
	const stat = statSync(dataDir, { throwIfNoEntry: false });
	if (stat === undefined) {
		const parent = nearestFolder(dataDir);
		accessSync(parent, constants.W_OK | constants.X_OK);
		return {
			verdict: "ok",
			found: `${dataDir} is not there yet; the agent makes it in ${parent}.`,
			facts: { exists: false },
		};
	}
	if (!stat.isDirectory())
		throw new OutboxError("config", `${dataDir} is no directory.`, { hint: "Name another one with --data-dir." });
	const free = freeBytesAt(dataDir);
	const mode = stat.mode & 0o777;
	const facts = { exists: true, mode: mode.toString(8).padStart(4, "0"), free_bytes: free ?? null };
	if (free !== undefined && free < FULL_BELOW)
		throw new OutboxError("disk_full", `The disk that holds ${dataDir} is full: ${bytes(free)} free.`);
	if (writes) writeProbe(dataDir);
	else accessSync(dataDir, constants.R_OK | constants.W_OK | constants.X_OK);
	const room = free === undefined ? "" : `, ${bytes(free)} free`;
	const found = `${dataDir}: mode ${facts.mode}${room}${writes ? ", written to" : ""}.`;
	const remote = REMOTE[statfsSync(dataDir).type];
	if (remote !== undefined) {
		const next = "Put it on a local disk (--data-dir): SQLite's locks and write-ahead log do not work over a network.";
		return { verdict: "fail", found: `${found} It is on ${remote}.`, next, facts };
	}
	if (process.platform !== "win32" && stat.uid === process.getuid?.() && (mode & 0o077) !== 0)
		return { verdict: "warn", found: `${found} Others can look into it.`, next: `chmod 700 ${dataDir}`, facts };
	const open = openFiles(dataDir);
	if (open.length > 0) {
		const names = open.map((path) => relative(dataDir, path)).join(", ");
		const next = `chmod 600 ${open.join(" ")}`;
		return { verdict: "warn", found: `${found} Not for its owner alone, as they were made: ${names}.`, next, facts };
	}
	if (free !== undefined && free < LOW_BELOW)
		return { verdict: "warn", found, next: "Free some space before the disk is full; capture would wait then.", facts };
	return { verdict: "ok", found, facts };
}

/** This program's files there that a mode lets others read or write; they are made with 0600. */
function openFiles(dataDir: string): string[] {
	if (process.platform === "win32") return [];
	return filesOf(dataDir).filter((path) => {
		const stat = statSync(path, { throwIfNoEntry: false });
		return stat !== undefined && stat.uid === process.getuid?.() && (stat.mode & 0o077) !== 0;
	});
}

/** Throws what the disk says. Leaves nothing behind. */
function writeProbe(dataDir: string): void {
	const path = join(dataDir, `.doctor-${randomBytes(6).toString("hex")}`);
	try {
		const file = openSync(path, "wx", 0o600);
		try {
			writeSync(file, randomBytes(PROBE_BYTES));
			fsyncSync(file);
		} finally {
			closeSync(file);
		}
	} finally {
		rmSync(path, { force: true });
	}
}

function nearestFolder(path: string): string {
	let folder = dirname(path);
	while (!existsSync(folder)) folder = dirname(folder);
	return folder;
}
