import { sameWatermark, type Watermark } from "../model/op.ts";
import type { FoundDatabase } from "./discovery.ts";
import type { ModelRef } from "./extras.ts";
import { changeOf } from "./intents.ts";
import { doubtOfDeletion } from "./lineage.ts";
import { OpenDatabase } from "./open-database.ts";
import { readLog, readState } from "./session.ts";
import { readSnapshot, SnapshotParts } from "./snapshot.ts";
import {
	type Captured,
	type Change,
	type Choose,
	isPoison,
	type LogRead,
	type SessionRead,
	type Snapshot,
	type Source,
} from "./source.ts";
import { isCoveredBy, type SweptSession, type Tables } from "./tables.ts";

export interface DatabaseSourceOptions {
	/**
	 * `identity` of the database that the captured sessions came from, as this source told it in an earlier process. Makes
	 * deletions certain that happened while nobody looked.
	 */
	readonly identity?: string | undefined;
	/** Now, in epoch ms. */
	readonly now?: () => number;
}

/** How long a session may be without its row before its log counts as left behind, in ms. */
const ORPHAN_MS = 10_000;

/**
 * OpenCode's own database, tailed.
 *
 * Opened read-only; every read is one short deferred transaction, so OpenCode's writers never wait (WAL) and its
 * checkpoints are not held up. A lock that does not come in time means "nothing new this time"; only while the file is
 * opened it is an error. A file that was replaced under its name is opened anew at the next `read`.
 *
 * What is remembered between reads, in memory only: how each session's row looked when it was last told, so that changes
 * that no event records (todos, a project's new id) are told once. After a restart every session's state is told once.
 */
export class DatabaseSource implements Source {
	readonly #database: OpenDatabase;
	readonly #options: DatabaseSourceOptions;
	/** As of the beginning of the last read that ended well. */
	#dataVersion: number | undefined;
	/** Of the database that was captured from last: the caller's word, until a read has ended well. */
	#capturedFrom: string | undefined;
	/** Session id to the fingerprint that its last read covered. */
	readonly #told = new Map<string, string>();
	readonly #toldPoison = new Set<string>();
	readonly #seen = new Set<string>();
	readonly #vanished = new Map<string, string>();
	/** Sessions without a row but with a log, and since when, in epoch ms. */
	readonly #orphans = new Map<string, number>();

	/** @throws OutboxError no_source (with where it looked), unknown_schema, corrupt, busy, io. */
	static async open(database: FoundDatabase, options: DatabaseSourceOptions = {}): Promise<DatabaseSource> {
		return new DatabaseSource(await OpenDatabase.open(database), options);
	}

	private constructor(database: OpenDatabase, options: DatabaseSourceOptions) {
		this.#database = database;
		this.#options = options;
		this.#capturedFrom = options.identity;
	}

	get path(): string {
		return this.#database.path;
	}

	/** Names this database among others: its file, and when OpenCode made it. To be kept, and passed as an option. */
	get identity(): string {
		return this.#database.identity;
	}

	get notice(): string | undefined {
		if (this.#database.isV2) return `${this.path} is OpenCode 2's: it is read, but was never tried with OpenCode 2`;
		const left = this.#database.attempt((tables) => tables.leftOut()) ?? 0;
		if (left === 0) return undefined;
		return `OpenCode 2 has ${left} sessions in ${this.path} that are newer there or only there; they are not read`;
	}

	/** @throws OutboxError busy, corrupt, io. */
	hasSessions(): boolean {
		return this.#database.now((tables) => tables.hasSessions());
	}

	async *read(
		captured: ReadonlyMap<string, Captured>,
		choose: Choose,
		signal: AbortSignal,
	): AsyncGenerator<SessionRead, void, void> {
		await this.#reopenWhenReplaced();
		this.#dataVersion = undefined;
		// What was told keeps its place: a fingerprint over other columns differs, and is told anew.
		this.#database.followLayout();
		const version = this.#database.attempt((tables) => tables.dataVersion());
		// Locked: nothing new this time, and `changed` stays true.
		if (version === undefined) return;
		const swept = this.#database.attempt((tables) => this.#sweep(tables, captured, choose));
		if (swept === undefined) return;
		for (const session of swept.sessions) {
			if (signal.aborted) return;
			if (!swept.wanted.has(session.id)) {
				// Its capture may be forgotten before it is wanted again.
				this.#told.delete(session.id);
				continue;
			}
			const entry = captured.get(session.id);
			if (entry && this.#isUpToDate(session, entry)) continue;
			let parts: SnapshotParts | undefined;
			for (let from = entry?.watermark ?? null, done = false; !done; ) {
				if (signal.aborted) return;
				const next = this.#database.attempt((tables) => {
					const reason = parts ? undefined : this.#next(tables, session, entry, from);
					if (reason !== undefined && typeof reason !== "string") return reason;
					if (reason !== undefined) parts = new SnapshotParts(session.id, from, reason);
					const read = parts?.next(tables);
					return { read, done: read?.isPartial !== true };
				});
				if (next === undefined) return;
				if (next.read === undefined) break;
				yield this.#withoutRepetition(next.read);
				done = next.done;
				from = next.read.kind === "log" ? next.read.to : from;
			}
			this.#told.set(session.id, session.fingerprint);
		}
		for (const read of swept.missing) {
			if (signal.aborted) return;
			yield read;
			if (read.kind === "vanished") this.#vanished.set(read.session_id, read.reason);
		}
		this.#capturedFrom = this.identity;
		// A session that is just being deleted is looked at again soon, whatever else changes.
		const isSettled = [...this.#orphans.keys()].every((id) => this.#vanished.has(id));
		this.#dataVersion = isSettled ? version : undefined;
	}

	/** Also true while a read is under way, after one that did not end well, and when the file was replaced. */
	changed(): boolean {
		if (this.#dataVersion === undefined || this.#database.isReplaced) return true;
		return this.#database.attempt((tables) => tables.dataVersion()) !== this.#dataVersion;
	}

	/**
	 * Of the file that the last `read` looked into.
	 *
	 * @throws OutboxError busy when OpenCode's lock does not come in time; unknown_schema, corrupt, io.
	 */
	async snapshot(sessionId: string): Promise<Snapshot | undefined> {
		return this.#database.now((tables) => readSnapshot(tables, sessionId));
	}

	async removals(sessionId: string): Promise<Change[]> {
		const changes = this.#database.now((tables) => tables.removals.all(sessionId).map((row) => changeOf(row)));
		return changes.filter((change): change is Change => change !== undefined && !isPoison(change));
	}

	/** The models that the session's user messages were sent to, in order of first use: what to ask a server's extras for. */
	async models(sessionId: string): Promise<ModelRef[]> {
		return this.#database.now((tables) => tables.models(sessionId));
	}

	close(): void {
		this.#database.close();
	}

	/** Judged by the sweep alone, which sees both the log's head and the row: most sessions, most of the time. */
	#isUpToDate(session: SweptSession, entry: Captured): boolean {
		return !entry.deleted && sameWatermark(session.head, entry.watermark) && this.#isTold(session, entry);
	}

	/** True when the state that was told last is the present one, and the caller still has what was told. */
	#isTold({ id, fingerprint }: SweptSession, entry: Captured | undefined): boolean {
		if (entry === undefined || entry.vanished || entry.empty) return false;
		return isCoveredBy(this.#told.get(id), fingerprint);
	}

	/**
	 * What to read next of a session, or nothing when its capture stands at its head and its state was told. Or why it must
	 * be read from the tables.
	 */
	#next(
		tables: Tables,
		session: SweptSession,
		entry: Captured | undefined,
		from: Watermark | null,
	): { read: LogRead | undefined; done: boolean } | string {
		const told = this.#isTold(session, entry);
		if (entry?.deleted) return "it was deleted and is there again";
		const head = tables.head(session.id);
		if (head === null) {
			if (from !== null) return "its log is gone";
			if (told) return { read: undefined, done: true };
			return "OpenCode keeps no log of it (imported, wiped, or an older version)";
		}
		if (from === null && entry !== undefined) return "it was not captured from its log so far";
		if (from !== null && tables.eventId(session.id, from.seq)?.id !== from.event_id)
			return `its log does not hold event ${from.event_id} as number ${from.seq} any more`;
		if (from !== null && head.seq === from.seq)
			return { read: told ? undefined : readState(tables, session.id, from), done: true };
		const log = readLog(tables, session.id, from, head);
		return "unusable" in log ? log.unusable : log;
	}

	/** A session's row that cannot be read stands in every read at the head; it is told once. */
	#withoutRepetition(read: SessionRead): SessionRead {
		if (read.kind !== "log") return read;
		const changes = read.changes.filter((change) => {
			if (!isPoison(change) || change.event_id !== null) return true;
			const name = `${read.session.session_id}: ${change.reason}`;
			return !this.#toldPoison.has(name) && this.#toldPoison.add(name);
		});
		return { ...read, changes };
	}

	/** Sessions that are there, and what became of captured ones that are not; in one transaction, so that both agree. */
	#sweep(
		tables: Tables,
		captured: ReadonlyMap<string, Captured>,
		choose: Choose,
	): { sessions: SweptSession[]; wanted: ReadonlySet<string>; missing: SessionRead[] } {
		const sessions = tables.sweep();
		const wanted = choose(sessions.map((session) => session.facts));
		const heads = new Map(sessions.map((session) => [session.id, session.head]));
		const missing: SessionRead[] = [];
		const known = this.#capturedFrom === this.identity;
		for (const [id, { watermark, deleted, vanished, unwanted }] of captured) {
			if (deleted || vanished || unwanted || heads.has(id)) continue;
			const hasLog = tables.hasLog(id);
			if (hasLog && this.#isBeingDeleted(id)) continue;
			const doubt = hasLog
				? "its row is gone from OpenCode's database, but its log is not"
				: (this.#vanished.get(id) ??
					doubtOfDeletion(
						id,
						captured,
						heads,
						(other, anchor) => tables.eventId(other, anchor.seq)?.id === anchor.event_id,
						{
							seen: this.#seen,
							hasIdentity: this.#capturedFrom !== undefined,
							known,
							createdAt: tables.createdAt(),
							now: (this.#options.now ?? Date.now)(),
						},
					));
			const presumed = !known && !this.#seen.has(id);
			if (doubt === undefined)
				missing.push({ kind: "deleted", session_id: id, from: watermark, ...(presumed ? { presumed } : {}) });
			else if (this.#vanished.get(id) !== doubt) missing.push({ kind: "vanished", session_id: id, reason: doubt });
		}
		for (const id of this.#orphans.keys()) if (heads.has(id) || !tables.hasLog(id)) this.#orphans.delete(id);
		for (const id of heads.keys()) {
			this.#seen.add(id);
			this.#vanished.delete(id);
		}
		return { sessions, wanted, missing };
	}

	/** OpenCode deletes a session's row first and its log in a later transaction: what lies between is no evidence yet. */
	#isBeingDeleted(sessionId: string): boolean {
		const now = (this.#options.now ?? Date.now)();
		const since = this.#orphans.get(sessionId) ?? now;
		this.#orphans.set(sessionId, since);
		return now - since < ORPHAN_MS;
	}

	async #reopenWhenReplaced(): Promise<void> {
		if (!this.#database.isReplaced) return;
		await this.#database.reopen();
		this.#told.clear();
		this.#toldPoison.clear();
		this.#seen.clear();
		this.#vanished.clear();
		this.#orphans.clear();
	}
}
