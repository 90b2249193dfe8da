import type { JsonFiles, SessionFile } from "./json-files.ts";

/** Sessions that changed within this time are looked at in full at every look, in ms. */
const HOT_MS = 60_000;
/** How many files of the others a look takes in, in turn: some 5 ms. */
const TURN_FILES = 500;
/**
 * Two writes within one tick of the file system's clock look alike, and a tick is 2 s at the longest (FAT; NFS has 1 s): a
 * state that has not stood that long may change without a sign. In ms.
 */
const TICK_MS = 2000;

/** How a session's files stand. */
export interface Standing {
	readonly file: SessionFile;
	/** Changes with every change that was seen. */
	readonly mark: string;
	/** Since when it was seen to stand so, by our own clock, in epoch ms. */
	readonly since: number;
	/** True when another change could not look the same. */
	readonly settled: boolean;
}

interface Watched {
	file: SessionFile;
	/** Undefined until it was looked at in full for the first time. */
	depth: string | undefined;
	since: number;
}

/**
 * Finds out which sessions' files have changed, at a bounded cost.
 *
 * OpenCode rewrites parts in place, and to see that each file must be looked at: 180,000 of them for 3,000 sessions. So each
 * look takes in every session's own file and message folder, all files of sessions that changed lately, and of the others
 * as many as a turn allows; all of them within (files / TURN_FILES) looks.
 */
export class JsonWatch {
	readonly #files: JsonFiles;
	readonly #now: () => number;
	readonly #watched = new Map<string, Watched>();
	/** Sessions whose turn it is to be looked at in full. */
	#turn: string[] = [];

	constructor(files: JsonFiles, now: () => number) {
		this.#files = files;
		this.#now = now;
	}

	/** Every session that is there now, in full only where that is due. */
	look(): Map<string, Standing> {
		const now = this.#now();
		const sessions = this.#files.sessions();
		for (const id of this.#watched.keys()) if (!sessions.has(id)) this.#watched.delete(id);
		const due = new Set(this.#nextTurn());
		const standings = new Map<string, Standing>();
		for (const [id, file] of sessions) {
			const watched = this.#watched.get(id) ?? { file, depth: undefined, since: Math.min(file.changedAt, now) };
			this.#watched.set(id, watched);
			const isHot = watched.depth !== undefined && now - watched.since < HOT_MS;
			if (watched.file.mark !== file.mark || isHot || due.has(id)) this.#deepen(watched, file);
			standings.set(id, this.#standing(watched));
		}
		return standings;
	}

	/** The same of one session, in full. */
	stand({ file }: Standing): Standing {
		const watched = this.#watched.get(file.id) ?? { file, depth: undefined, since: this.#now() };
		this.#watched.set(file.id, watched);
		this.#deepen(watched, file);
		return this.#standing(watched);
	}

	#deepen(watched: Watched, file: SessionFile): void {
		const { mark } = this.#files.depth(file);
		const isOther = watched.file.mark !== file.mark || (watched.depth !== undefined && watched.depth !== mark);
		if (isOther) watched.since = this.#now();
		watched.file = file;
		watched.depth = mark;
	}

	#standing({ file, depth, since }: Watched): Standing {
		return { file, mark: `${file.mark} ${depth}`, since, settled: this.#now() - since >= TICK_MS };
	}

	/** Takes the next sessions of the round, until their files are as many as a turn allows. */
	#nextTurn(): string[] {
		if (this.#turn.length === 0) this.#turn = [...this.#watched.keys()];
		const taken: string[] = [];
		for (let files = 0; files < TURN_FILES; ) {
			const id = this.#turn.pop();
			if (id === undefined) return taken;
			if (this.#watched.get(id)?.depth === undefined) continue;
			taken.push(id);
			files += 1 + this.#files.messages(id).length * 4;
		}
		return taken;
	}
}
