import { copyFileSync, existsSync } from "node:fs";
import type { Sqlite, SqlValue, Statement } from "../../src/sqlite/driver.ts";

/**
 * What goes wrong with one write of a disk:
 * - `full`: it fails, nothing is written.
 * - `unsure`: it is written, and an error is told all the same.
 * - `crash_before`, `crash_after`: the machine dies around the commit.
 */
export type Mishap = "full" | "unsure" | "crash_before" | "crash_after";

/** The files of a database as a crash leaves them; `-shm` is memory. */
export function copyDatabase(from: string, to: string): void {
	for (const suffix of ["", "-wal"]) if (existsSync(from + suffix)) copyFileSync(from + suffix, to + suffix);
}

/** One machine's disk, from its start to its death. Every transaction, and every write outside of one, is a write. */
export class Disk {
	/** Every write fails while it is set. */
	full = false;
	dead = false;
	readonly #onDeath: () => void;
	#mishap: { readonly kind: Mishap; inWrites: number } | undefined;

	/** @param onDeath called in the moment of a crash, to keep what the disk holds. */
	constructor(onDeath: () => void) {
		this.#onDeath = onDeath;
	}

	/** The `inWrites`-th write from now on goes wrong, from 1. */
	arm(kind: Mishap, inWrites: number): void {
		this.#mishap = { kind, inWrites };
	}

	disarm(): void {
		this.#mishap = undefined;
		this.full = false;
	}

	/** The machine is dead from now on, whatever still runs of it. Safe to repeat. */
	crash(): void {
		if (this.dead) return;
		this.dead = true;
		this.#onDeath();
	}

	/** The same connection over this disk. */
	under(sqlite: Sqlite): Sqlite {
		let depth = 0;
		const write = <T>(body: (commit: () => void) => T): T => {
			this.#live();
			const mishap = this.#due();
			const result = body(() => {
				if (mishap === "full" || this.full) throw diskFull();
				if (mishap === "crash_before") this.#crash();
			});
			if (mishap === "crash_after") this.#crash();
			if (mishap === "unsure") throw diskFull();
			return result;
		};
		return {
			...sqlite,
			prepare: <Row>(sql: string): Statement<Row> => {
				// Compiled when it is first used: a machine starts often, and does not live long enough to use them all.
				let compiled: Statement<Row> | undefined;
				const statement = () => {
					compiled ??= sqlite.prepare<Row>(sql);
					return compiled;
				};
				const read = <T>(body: () => T): T => {
					this.#live();
					return body();
				};
				const run = (values: SqlValue[]) => statement().run(...values);
				return {
					run: (...values) =>
						depth > 0
							? read(() => run(values))
							: write((commit) => {
									commit();
									return run(values);
								}),
					get: (...values) => read(() => statement().get(...values)),
					all: (...values) => read(() => statement().all(...values)),
					iterate: (...values) => read(() => statement().iterate(...values)),
				};
			},
			transaction: (body, mode) => {
				if (depth > 0) return sqlite.transaction(body, mode);
				return write((commit) => {
					depth++;
					try {
						return sqlite.transaction(() => {
							const result = body();
							commit();
							return result;
						}, mode);
					} finally {
						depth--;
					}
				});
			},
		};
	}

	#due(): Mishap | undefined {
		if (this.#mishap === undefined || --this.#mishap.inWrites > 0) return undefined;
		const { kind } = this.#mishap;
		this.#mishap = undefined;
		return kind;
	}

	#live(): void {
		if (this.dead) throw new Error("the machine is dead");
	}

	#crash(): never {
		this.crash();
		throw new Error("the machine is dead");
	}
}

function diskFull(): Error {
	return Object.assign(new Error("database or disk is full"), { code: "SQLITE_FULL" });
}
