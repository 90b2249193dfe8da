import { existsSync } from "node:fs";
import { OutboxError } from "../model/errors.ts";
import type { Sqlite } from "../sqlite/driver.ts";
import { asStorageError, isBusy } from "../sqlite/errors.ts";
import { type FoundDatabase, noSource } from "./discovery.ts";
import { fileIdentity, openForTailing, sidesIdentity, sourceError } from "./file.ts";
import { openTables, type Tables } from "./tables.ts";

/** How long a lock may keep every read out before it is an error, in ms. OpenCode's own take milliseconds. */
const LOCKED_MS = 5000;

interface Opened {
	/** `fileIdentity` when it was opened. */
	readonly file: string | undefined;
	readonly sqlite: Sqlite;
	readonly tables: Tables;
}

/** The files of OpenCode's database as they are open now. */
export class OpenDatabase {
	readonly #database: FoundDatabase;
	#opened: Opened;
	/** Of the -wal and -shm that were there when it was read first: who has others sees nothing of what is written. */
	#sides: string | undefined;
	/** Since when every read was locked out, on performance's clock. */
	#lockedSince: number | undefined;

	/** @throws OutboxError no_source (with where it looked), unknown_schema, corrupt, busy, io. */
	static async open(database: FoundDatabase): Promise<OpenDatabase> {
		return new OpenDatabase(database, await openFiles(database));
	}

	private constructor(database: FoundDatabase, opened: Opened) {
		this.#database = database;
		this.#opened = opened;
	}

	get path(): string {
		return this.#database.path;
	}

	/** Names this database among others: its file, and when OpenCode made it. */
	get identity(): string {
		const { file, tables } = this.#opened;
		return `${file}:${tables.createdAt()}${tables.isV2 ? ":2" : ""}`;
	}

	/** True when it is laid out as OpenCode 2's. */
	get isV2(): boolean {
		return this.#opened.tables.isV2;
	}

	/** True when other files lie under its name by now. */
	get isReplaced(): boolean {
		if (fileIdentity(this.path) !== this.#opened.file) return true;
		return this.#sides !== undefined && sidesIdentity(this.path) !== this.#sides;
	}

	/** Opens what lies there now; what was open stays so when that fails. Throws as `open` does. */
	async reopen(): Promise<void> {
		const opened = await openFiles(this.#database);
		this.close();
		this.#opened = opened;
		this.#sides = undefined;
	}

	/** Prepares the reads anew when OpenCode has changed its tables. Throws as `open` does. */
	followLayout(): void {
		const { file, sqlite } = this.#opened;
		if (this.attempt((tables) => tables.isOutdated())) this.#opened = { file, sqlite, tables: tablesOf(sqlite) };
	}

	/**
	 * Runs one short read transaction; undefined when a lock kept it out: another time.
	 *
	 * @throws OutboxError busy once that has lasted for seconds; corrupt, io, unknown_schema.
	 */
	attempt<T>(body: (tables: Tables) => T): T | undefined {
		try {
			const answer = this.#opened.sqlite.transaction(() => body(this.#opened.tables), "deferred");
			this.#lockedSince = undefined;
			this.#sides ??= sidesIdentity(this.path);
			return answer;
		} catch (error) {
			if (!isBusy(error)) throw sourceError(error, this.path);
			const now = performance.now();
			this.#lockedSince ??= now;
			if (now - this.#lockedSince >= LOCKED_MS) throw asStorageError(error, this.path);
			return undefined;
		}
	}

	/** The same for those who cannot come again by themselves. */
	now<T>(body: (tables: Tables) => T): T {
		const answer = this.attempt((tables) => ({ value: body(tables) }));
		if (answer === undefined) throw new OutboxError("busy", `${this.path} is locked by another program.`);
		return answer.value;
	}

	close(): void {
		this.#opened.sqlite.close();
	}
}

async function openFiles(database: FoundDatabase): Promise<Opened> {
	if (!existsSync(database.path)) throw noSource(database);
	const file = fileIdentity(database.path);
	const sqlite = await openForTailing(database.path);
	try {
		return { file, sqlite, tables: tablesOf(sqlite) };
	} catch (error) {
		sqlite.close();
		throw error;
	}
}

function tablesOf(sqlite: Sqlite): Tables {
	try {
		return openTables(sqlite);
	} catch (error) {
		throw sourceError(error, sqlite.path);
	}
}
