import { createHash } from "node:crypto";
import { realpathSync } from "node:fs";
import { lstat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";

/**
 * What the two ends of the lane agree on. The plugin loads this file inside OpenCode, so it imports Node's own only.
 *
 * The lane is a Unix socket (a named pipe on Windows) of the agent beside its data directory; lines of JSON, each ended by
 * "\n". The agent speaks once, a hello; then only OpenCode speaks: `{"ring": …}`, `{"live": …}`, `{}` to show that it is there.
 */
export const LANE_FORM = 1;

/** Of one line, in bytes: a delta is a few words; a whole paragraph of a hasty model is some KiB. Longer is not ours. */
export const LINE_BYTES_MAX = 64 * 1024;

/** How often OpenCode's end shows that it is there, in ms; the agent lets go of an end that was silent for five times that. */
export const LANE_BEAT_MS = 60_000;

/** What `sun_path` holds on every system, in bytes: 104 on macOS and the BSDs, with a NUL; 108 on Linux. */
const PATH_BYTES_MAX = 100;

/** The name of the socket in the data directory. */
export const LANE_FILE = "lane.sock";

/** What an agent says first: who answers here. */
export interface Hello {
	readonly pid: number;
	readonly version: string;
	/** How many OpenCode processes were there before; undefined where it is not told. */
	readonly peers?: number | undefined;
}

/**
 * Where the lane of a data directory is: in it, or where that path is too long for a socket, in a folder of this user below
 * /tmp, under a name that follows from the directory. The same for both ends, whatever their environments.
 */
export function laneAddress(dataDir: string): string {
	if (process.platform === "win32") return `\\\\.\\pipe\\opencode-outbox-${nameOf(dataDir.toLowerCase())}`;
	const beside = join(resolve(dataDir), LANE_FILE);
	if (Buffer.byteLength(beside) <= PATH_BYTES_MAX) return beside;
	return join("/tmp", `opencode-outbox-${process.getuid?.() ?? 0}`, `${nameOf(dataDir)}.sock`);
}

function nameOf(dataDir: string): string {
	return createHash("sha256").update(settled(dataDir)).digest("hex").slice(0, 24);
}

/** The directory without symbolic links; one that is not there yet as it was given. */
function settled(dataDir: string): string {
	try {
		return realpathSync(dataDir);
	} catch {
		return resolve(dataDir);
	}
}

/**
 * Why the folder of a lane is not to be trusted; undefined when nobody but this user can put a socket into it.
 *
 * The other end gets to read what a person is being told, so it must not be a stranger's.
 */
export async function laneDistrust(address: string): Promise<string | undefined> {
	if (process.platform === "win32") return undefined;
	const folder = dirname(address);
	try {
		const { uid, mode } = await lstat(folder).then((stat) => (stat.isDirectory() ? stat : Promise.reject(stat)));
		if (uid !== process.getuid?.()) return `${folder} is another user's`;
		return (mode & 0o022) === 0 ? undefined : `others may write to ${folder}`;
	} catch {
		return `${folder} is no folder`;
	}
}

export function helloLine(hello: Hello): string {
	return `${JSON.stringify({ opencode_outbox: { lane: LANE_FORM, ...hello } })}\n`;
}

/** Who answers; undefined when that is no agent of ours, or one that speaks another form of the lane. */
export function helloIn(line: string): Hello | undefined {
	try {
		const { lane, pid, version, peers } = JSON.parse(line).opencode_outbox;
		if (lane !== LANE_FORM || !Number.isSafeInteger(pid) || typeof version !== "string") return undefined;
		return { pid, version, ...(Number.isSafeInteger(peers) ? { peers } : {}) };
	} catch {
		return undefined;
	}
}

/** Cuts a stream into lines, within bounds. */
export class Lines {
	#rest: Buffer = Buffer.alloc(0);

	/** The lines that `chunk` ends; undefined when one of them is over the bound, after which nothing makes sense. */
	push(chunk: Buffer): string[] | undefined {
		const lines: string[] = [];
		let from = 0;
		for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, from)) {
			const bytes = this.#rest.length + end - from;
			if (bytes > LINE_BYTES_MAX) return undefined;
			lines.push(Buffer.concat([this.#rest, chunk.subarray(from, end)]).toString("utf8"));
			this.#rest = Buffer.alloc(0);
			from = end + 1;
		}
		if (this.#rest.length + chunk.length - from > LINE_BYTES_MAX) return undefined;
		this.#rest = Buffer.concat([this.#rest, chunk.subarray(from)]);
		return lines;
	}
}
