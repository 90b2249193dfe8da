import { statSync } from "node:fs";
import type { Sqlite } from "../sqlite/driver.ts";
import { isDamage, isFull } from "../sqlite/errors.ts";

/** What the outbox's files take, in bytes. */
export interface OutboxSize {
	/** Pages in use; those that are free again are not in it. */
	readonly live: number;
	/** Pages that are free again and still part of the file. */
	readonly free: number;
	/** The write-ahead log: what a checkpoint has yet to move, and to give back. */
	readonly wal: number;
}

/** Pages given back to the disk in one step: each one may be a page to move, so this bounds what a step adds to the WAL. */
const PAGES_PER_STEP = 500;

/** The files below the outbox: how large they are, and making them smaller. */
export function storageVerbs(sqlite: Sqlite) {
	const pages = sqlite.prepare<{ page_count: number }>("PRAGMA page_count");
	const free = sqlite.prepare<{ freelist_count: number }>("PRAGMA freelist_count");
	const page = sqlite.prepare<{ page_size: number }>("PRAGMA page_size").get()?.page_size ?? 4096;
	const checkpoint = sqlite.prepare<{ busy: number }>("PRAGMA wal_checkpoint(TRUNCATE)");
	const timeout = sqlite.prepare<{ timeout: number }>("PRAGMA busy_timeout");
	const freeBytes = () => (free.get()?.freelist_count ?? 0) * page;
	return {
		size: (): OutboxSize => ({
			live: (pages.get()?.page_count ?? 0) * page - freeBytes(),
			free: freeBytes(),
			wal: statSync(`${sqlite.path}-wal`, { throwIfNoEntry: false })?.size ?? 0,
		}),
		/**
		 * Moves the WAL into the file and gives its room back; false while another process is reading, which is not waited for.
		 *
		 * Leaves no frame behind that a damaged WAL could put back over newer pages.
		 */
		checkpoint(): boolean {
			const waits = timeout.get()?.timeout ?? 0;
			sqlite.exec("PRAGMA busy_timeout = 0");
			try {
				return checkpoint.get()?.busy === 0;
			} finally {
				sqlite.exec(`PRAGMA busy_timeout = ${waits}`);
			}
		},
		/** Gives a step's worth of free pages back; `more` when some are left. Files from before 0.1 keep theirs for later use. */
		shrink(): { more: boolean } {
			const before = freeBytes();
			if (before === 0) return { more: false };
			sqlite.exec(`PRAGMA incremental_vacuum(${PAGES_PER_STEP})`);
			const after = freeBytes();
			return { more: after > 0 && after < before };
		},
	};
}

/** `full`: the disk would not take what was written. `damaged`: the file is not what was written. */
export type Trouble = "full" | "damaged";
/** `verb` names the outbox's function that failed. */
export type TroubleListener = (trouble: Trouble, error: unknown, verb: string) => void;

/** Tells what goes wrong with the files below an outbox, whichever verb meets it. */
export class TroubleBell {
	#listeners: TroubleListener[] = [];

	/** The listener is called while the verb that failed is still on the stack, and must not throw. */
	listen(listener: TroubleListener): void {
		this.#listeners.push(listener);
	}

	/** Runs the body of a verb; what it throws is told on its way out. */
	watch<T>(verb: string, body: () => T): T {
		try {
			return body();
		} catch (error) {
			const trouble = isFull(error) ? "full" : isDamage(error) ? "damaged" : undefined;
			if (trouble) for (const listener of this.#listeners) listener(trouble, error, verb);
			throw error;
		}
	}

	/** The same verbs, each with its errors told. */
	on<Verbs extends Record<string, (...args: never[]) => unknown>>(verbs: Verbs): Verbs {
		const told = Object.entries(verbs).map(([name, verb]) => [
			name,
			(...args: never[]) => this.watch(name, () => verb(...args)),
		]);
		return Object.fromEntries(told) as Verbs;
	}
}
