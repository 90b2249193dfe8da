import { existsSync, statSync } from "node:fs";
import { OutboxError } from "../model/errors.ts";
import { DatabaseSource } from "./database.ts";
import { type FoundDatabase, findOpencodeDatabase, noSource, opencodeStorage } from "./discovery.ts";
import type { ModelRef } from "./extras.ts";
import { JsonFiles } from "./json-files.ts";
import { JsonSource } from "./json-source.ts";
import type { Captured, Change, Choose, SessionRead, Snapshot, Source } from "./source.ts";

type Env = Readonly<Record<string, string | undefined>>;

export interface LocalSourceOptions {
	/** `identity` of what was captured from last, as a source told it in an earlier process. */
	readonly identity?: string | undefined;
	/** Now, in epoch ms. */
	readonly now?: () => number;
}

/**
 * Opens what OpenCode keeps its sessions in on this machine: its database, or the JSON files of a version before 1.2.
 *
 * What is there decides, not a version's number:
 *
 * | database | JSON files | captured from last | read |
 * | --- | --- | --- | --- |
 * | with a session | any | any | the database |
 * | without one | with a session | the JSON files | the JSON files: OpenCode is just moving them |
 * | without one | any | nothing, a database | the database |
 * | none | with a session | nothing, the JSON files | the JSON files |
 * | none | with a session | a database | nothing: the files are what an upgrade left behind |
 * | none | none | any | nothing |
 *
 * Looked for anew whenever what is open may have been left for a database.
 *
 * @param explicitDb the database that the person named; nothing else is looked at then.
 * @throws OutboxError no_source with what was looked for; unknown_schema, corrupt, busy, io.
 */
export async function openLocalSource(
	env: Env,
	explicitDb: string | undefined,
	options: LocalSourceOptions = {},
): Promise<Source> {
	const find = () => findOpencodeDatabase(env, explicitDb);
	const storage = explicitDb === undefined ? opencodeStorage(env) : undefined;
	const source = await decide(find(), storage, options);
	if (source instanceof DatabaseSource || storage === undefined) return source;
	return new UntilDatabase(source, find, () => decide(find(), storage, { ...options, identity: source.identity }));
}

async function decide(
	database: FoundDatabase,
	storage: string | undefined,
	options: LocalSourceOptions,
): Promise<DatabaseSource | JsonSource> {
	const files = storage === undefined ? undefined : new JsonFiles(storage);
	const { identity } = options;
	const isFromFiles = identity?.startsWith("json:") === true;
	if (existsSync(database.path)) {
		const isMoving = isFromFiles && files?.hasSessions() === true;
		const source = await (isMoving ? openWhenMoved(database, options) : DatabaseSource.open(database, options));
		if (source !== undefined) return source;
	}
	if (files?.hasSessions() && (identity === undefined || isFromFiles)) return new JsonSource(files.path, options);
	throw noSource(database);
}

/** Undefined while OpenCode is making its database out of the JSON files: they are the truth until it has a session. */
async function openWhenMoved(
	database: FoundDatabase,
	options: LocalSourceOptions,
): Promise<DatabaseSource | undefined> {
	let source: DatabaseSource | undefined;
	try {
		source = await DatabaseSource.open(database, options);
		if (source.hasSessions()) return source;
	} catch (error) {
		const isMoving = error instanceof OutboxError && ["no_source", "busy"].includes(error.code);
		if (!isMoving) throw error;
	}
	source?.close();
	return undefined;
}

/** The JSON files, until an upgrade of OpenCode has moved what they hold into a database. */
class UntilDatabase implements Source {
	#source: Source;
	readonly #find: () => FoundDatabase;
	readonly #decide: () => Promise<DatabaseSource | JsonSource>;
	/** How the database looked when it was last decided that it is not the truth. */
	#looked = "";
	#hasMoved = false;

	constructor(source: Source, find: () => FoundDatabase, decide: () => Promise<DatabaseSource | JsonSource>) {
		this.#source = source;
		this.#find = find;
		this.#decide = decide;
	}

	get identity(): string {
		return this.#source.identity;
	}

	get notice(): string | undefined {
		return this.#source.notice;
	}

	async *read(
		captured: ReadonlyMap<string, Captured>,
		choose: Choose,
		signal: AbortSignal,
	): AsyncGenerator<SessionRead, void, void> {
		await this.#moveAlong();
		yield* this.#source.read(captured, choose, signal);
	}

	changed(): boolean {
		return this.#isOther() || this.#source.changed();
	}

	snapshot(sessionId: string): Promise<Snapshot | undefined> {
		return this.#source.snapshot(sessionId);
	}

	removals(sessionId: string): Promise<readonly Change[]> {
		return this.#source.removals(sessionId);
	}

	models(sessionId: string): Promise<ModelRef[]> {
		return this.#source.models(sessionId);
	}

	close(): void {
		this.#source.close();
	}

	async #moveAlong(): Promise<void> {
		if (!this.#isOther()) return;
		const looks = looksOf(this.#find().path);
		const source = await this.#decide();
		this.#looked = looks;
		this.#hasMoved = source instanceof DatabaseSource;
		if (!this.#hasMoved) return source.close();
		this.#source.close();
		this.#source = source;
	}

	#isOther(): boolean {
		return !this.#hasMoved && looksOf(this.#find().path) !== this.#looked;
	}
}

/** Changes whenever something was written to a database; empty while there is none. */
function looksOf(path: string): string {
	return [path, `${path}-wal`]
		.map((file) => statSync(file, { throwIfNoEntry: false }))
		.map((stat) => (stat === undefined ? "" : `${stat.ino}:${stat.mtimeMs}:${stat.size}`))
		.join("");
}
