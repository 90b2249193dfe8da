import { appendFileSync, mkdirSync, renameSync, statSync } from "node:fs";
import { dirname } from "node:path";

/** Of one file, in bytes: weeks of an agent that has trouble. There are two of them. */
const BYTES_MAX = 1024 * 1024;

/** A log that lies in a file, for an agent that has no terminal: FILE, and FILE.1 with what was before. */
export class LogFile {
	readonly #path: string;
	#bytes: number;

	constructor(path: string) {
		this.#path = path;
		this.#bytes = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
	}

	/** A disk that will not take a line gets none: the agent's work is not to log. */
	write(line: string): void {
		try {
			if (this.#bytes > BYTES_MAX) {
				renameSync(this.#path, `${this.#path}.1`);
				this.#bytes = 0;
			}
			mkdirSync(dirname(this.#path), { recursive: true, mode: 0o700 });
			appendFileSync(this.#path, line, { mode: 0o600 });
			this.#bytes += Buffer.byteLength(line);
		} catch {}
	}
}
