import { createHash } from "node:crypto";
import { type Dirent, readdirSync, statSync } from "node:fs";
import { join } from "node:path";

/** One session's own file below `storage/session/PROJECT/`. */
export interface SessionFile {
	readonly id: string;
	readonly path: string;
	/** Changes with every write of the file, and with every message that comes or goes; nothing below is looked at. */
	readonly mark: string;
	/** When the file or the folder of its messages last changed, in epoch ms of the file system. */
	readonly changedAt: number;
}

/** How all files of one session looked. */
export interface Depth {
	/** Changes with every write of any of its files. */
	readonly mark: string;
	readonly changedAt: number;
	/** How many files and folders it took to look at. */
	readonly files: number;
}

/** A file that holds JSON of OpenCode's; others (a lock, a backup of an editor) are not its. */
const NAME = /^[^/.][^/]*\.json$/;

/**
 * OpenCode 1.1's folder of JSON files, looked at without reading one:
 *
 *     session/PROJECT/SESSION.json   message/SESSION/MESSAGE.json   part/MESSAGE/PART.json   todo/SESSION.json
 *
 * OpenCode rewrites a file in place, which leaves no trace in its folder; so every file has to be looked at by itself.
 * `ctime` tells, since no program can set it back.
 */
export class JsonFiles {
	readonly path: string;

	constructor(path: string) {
		this.path = path;
	}

	/** The folder itself: another value means another folder, even under the same name. Undefined when there is none. */
	get identity(): string | undefined {
		const stat = statSync(this.path, { bigint: true, throwIfNoEntry: false });
		return stat && `json:${stat.dev}:${stat.ino}`;
	}

	/** True when there is a session. */
	hasSessions(): boolean {
		return this.#projects().some((project) => names(join(this.path, "session", project)).length > 0);
	}

	/** Every session, by id. While it moves between projects it may be in two of them: the one written last counts. */
	sessions(): Map<string, SessionFile> {
		const sessions = new Map<string, SessionFile>();
		for (const project of this.#projects()) {
			const folder = join(this.path, "session", project);
			for (const name of names(folder)) {
				const id = idOf(name);
				const path = join(folder, name);
				const file = look(path);
				if (file === undefined || (sessions.get(id)?.changedAt ?? 0) > file.changedAt) continue;
				const messages = look(join(this.path, "message", id));
				const mark = `${path} ${file.mark} ${messages?.mark}`;
				sessions.set(id, { id, path, mark, changedAt: Math.max(file.changedAt, messages?.changedAt ?? 0) });
			}
		}
		return sessions;
	}

	/** Looks at every file of a session. */
	depth(session: SessionFile): Depth {
		const hash = createHash("sha1");
		let [changedAt, files] = [0, 0];
		const add = (path: string) => {
			const seen = look(path);
			files++;
			hash.update(`${path} ${seen?.mark}\n`);
			changedAt = Math.max(changedAt, seen?.changedAt ?? 0);
		};
		add(session.path);
		add(this.todoFile(session.id));
		for (const message of this.messages(session.id)) {
			add(message.path);
			for (const part of this.parts(message.id)) add(part.path);
		}
		return { mark: hash.digest("base64"), changedAt, files };
	}

	messages(sessionId: string): { id: string; path: string }[] {
		return this.#entries("message", sessionId);
	}

	parts(messageId: string): { id: string; path: string }[] {
		return this.#entries("part", messageId);
	}

	todoFile(sessionId: string): string {
		return join(this.path, "todo", `${sessionId}.json`);
	}

	#entries(...below: string[]): { id: string; path: string }[] {
		const folder = join(this.path, ...below);
		return names(folder).map((name) => ({ id: idOf(name), path: join(folder, name) }));
	}

	#projects(): string[] {
		return list(join(this.path, "session"))
			.filter((entry) => !entry.isFile())
			.map((entry) => entry.name);
	}
}

/** Undefined when there is nothing there. */
function look(path: string): { mark: string; changedAt: number } | undefined {
	const stat = statSync(path, { throwIfNoEntry: false });
	return stat && { mark: `${stat.ctimeMs}:${stat.size}`, changedAt: stat.ctimeMs };
}

function names(folder: string): string[] {
	return list(folder)
		.map((entry) => entry.name)
		.filter((name) => NAME.test(name))
		.sort();
}

function idOf(name: string): string {
	return name.slice(0, -".json".length);
}

/** What is in a folder; nothing when there is no such folder, since OpenCode makes each with its first file. */
function list(folder: string): Dirent[] {
	try {
		return readdirSync(folder, { withFileTypes: true });
	} catch (error) {
		if (["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "")) return [];
		throw error;
	}
}
