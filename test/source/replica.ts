import { deepStrictEqual } from "node:assert/strict";
import type { DatabaseSource } from "../../src/source/database.ts";
import { isPoison, type SessionRead } from "../../src/source/source.ts";
import { openSource, Reader } from "./opencode-database.ts";

/** What a share would hold: every change that a source tells, applied in the order it was told. */
export class Replica {
	readonly #reader: Reader;
	readonly #sessions = new Map<string, Map<string, string>>();

	static async of(path: string): Promise<Replica> {
		return new Replica(await Reader.open(path, { now: Date.now }));
	}

	private constructor(reader: Reader) {
		this.#reader = reader;
	}

	get source(): DatabaseSource {
		return this.#reader.source;
	}

	get sessions(): string[] {
		return [...this.#sessions.keys()];
	}

	close(): void {
		this.source.close();
	}

	/** The source is opened anew; what was captured stays. */
	async reopen(): Promise<void> {
		this.#reader.source = await openSource(this.source.path, { now: Date.now });
	}

	/** One read to its end. */
	async follow(): Promise<SessionRead[]> {
		const reads = await this.#reader.read();
		for (const read of reads) this.#apply(read);
		return reads;
	}

	/**
	 * Reads until nothing changed between a read and a look at the tables, since OpenCode still writes after it has
	 * answered; then both must be equal.
	 *
	 * @returns what was read of this session.
	 */
	async followed(id: string): Promise<SessionRead[]> {
		const reads: SessionRead[] = [];
		for (;;) {
			reads.push(...(await this.follow()));
			const truth = await this.tables(id);
			if (this.source.changed()) continue;
			deepStrictEqual(this.told(id), truth);
			return reads.filter((read) => "session" in read && read.session.session_id === id);
		}
	}

	/** What was told of a session, by key. */
	told(id: string): Record<string, string> {
		return Object.fromEntries(this.#sessions.get(id) ?? []);
	}

	/** The session in OpenCode's tables, as `verify` sees it. */
	async tables(id: string): Promise<Record<string, string>> {
		const entities = (await this.source.snapshot(id))?.entities ?? [];
		return Object.fromEntries(
			entities.map((entity) => [entity.key, isPoison(entity) ? entity.reason : entity.payload]),
		);
	}

	#apply(read: SessionRead): void {
		if (read.kind === "deleted") this.#sessions.delete(read.session_id);
		if (!("session" in read)) return;
		const id = read.session.session_id;
		const entities = new Map(read.kind === "log" ? this.#sessions.get(id) : []);
		this.#sessions.set(id, entities);
		for (const change of read.kind === "log" ? [...read.changes, ...read.state] : read.entities) {
			if (isPoison(change)) throw new Error(change.reason);
			if (change.type === "part_removed" || change.type === "message_removed") entities.delete(change.key);
			else entities.set(change.key, change.payload);
			if (change.type !== "message_removed") continue;
			const below = `part/${change.key.slice("message/".length)}/`;
			for (const key of entities.keys()) if (key.startsWith(below)) entities.delete(key);
		}
	}
}
