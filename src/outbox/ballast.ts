import { randomBytes } from "node:crypto";
import { closeSync, fsyncSync, openSync, renameSync, rmSync, statfsSync, statSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { asStorageError, isFull } from "../sqlite/errors.ts";

/**
 * How large the ballast is, in bytes. SQLite checkpoints a WAL of 4 MiB (1,000 pages), and moving it may lengthen the file
 * by as much before the WAL's own room is free again: so with twice that, what an ack writes always comes to rest.
 */
const BALLAST_BYTES = 8 * 1024 * 1024;
/** On a small disk it is an eighth of it; where that is less than this, in bytes, it would help nobody. */
const BALLAST_BYTES_MIN = 256 * 1024;
const CHUNK_BYTES = 256 * 1024;

/** `none`: this disk has no room for one, or takes no file; everything works without it while there is space. */
export type BallastState = "there" | "given_up" | "none";

/**
 * Room on the disk that is held for acks and checkpoints: a file that is given up when the disk is full.
 *
 * Made by the holder of the agent's lock alone.
 */
export class Ballast {
	readonly path: string;

	readonly #draft: string;

	/** @param outboxPath the outbox that it lies beside. */
	constructor(outboxPath: string) {
		this.path = ballastPath(outboxPath);
		this.#draft = `${this.path}.new`;
	}

	/**
	 * Makes it unless it is there. `given_up`: the disk has no room for it and for `spareBytes` beside it now.
	 *
	 * @throws OutboxError what the disk says otherwise: read_only, io.
	 */
	ensure(spareBytes: number): BallastState {
		rmSync(this.#draft, { force: true });
		const { size, free } = disk(dirname(this.path));
		const wanted = Math.min(BALLAST_BYTES, Math.floor(size / 8 / CHUNK_BYTES) * CHUNK_BYTES);
		if (wanted < BALLAST_BYTES_MIN) return "none";
		if (this.#isThere()) return "there";
		return free < wanted + spareBytes || !this.#make(wanted) ? "given_up" : "there";
	}

	/** Gives its room to what has to be written now; true when there was any. */
	giveUp(): boolean {
		const wasThere = this.#isThere();
		rmSync(this.path, { force: true });
		return wasThere;
	}

	#isThere(): boolean {
		return (statSync(this.path, { throwIfNoEntry: false })?.size ?? 0) > 0;
	}

	/** Written out with bytes that no file system stores for less; false when they do not fit. */
	#make(bytes: number): boolean {
		try {
			const file = openSync(this.#draft, "w", 0o600);
			try {
				for (let written = 0; written < bytes; )
					written += writeSync(file, randomBytes(Math.min(CHUNK_BYTES, bytes - written)));
				fsyncSync(file);
			} finally {
				closeSync(file);
			}
			renameSync(this.#draft, this.path);
			return true;
		} catch (error) {
			rmSync(this.#draft, { force: true });
			if (isFull(error)) return false;
			throw asStorageError(error, this.path);
		}
	}
}

export function ballastPath(outboxPath: string): string {
	return `${outboxPath}.ballast`;
}

/** The disk that holds a folder: its size, and what this user may still write, in bytes; infinite where it cannot be told. */
export function disk(folder: string): { size: number; free: number } {
	try {
		const { blocks, bavail, bsize } = statfsSync(folder);
		// Some file systems have no notion of size.
		if (blocks > 0) return { size: blocks * bsize, free: bavail * bsize };
	} catch {}
	return { size: Number.POSITIVE_INFINITY, free: Number.POSITIVE_INFINITY };
}
