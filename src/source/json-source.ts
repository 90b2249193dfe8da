import { statSync } from "node:fs";
import { OutboxError } from "../model/errors.ts";
import type { ModelRef } from "./extras.ts";
import { JsonFiles, type SessionFile } from "./json-files.ts";
import { digestOfEntities, factsOf, readJson, readStored } from "./json-session.ts";
import { JsonWatch, type Standing } from "./json-watch.ts";
import { doubtOfDeletion } from "./lineage.ts";
import {
	type Captured,
	type Change,
	type Choose,
	isPoison,
	type SessionFacts,
	type SessionRead,
	type Snapshot,
	type Source,
} from "./source.ts";

export interface JsonSourceOptions {
	/** `identity` of what the captured sessions came from, as a source told it in an earlier process. */
	readonly identity?: string | undefined;
	/** Now, in epoch ms. */
	readonly now?: () => number;
}

/** A file that cannot be read for this long, while nobody writes it, is damaged. In ms; OpenCode takes well below 1 ms. */
const TORN_MS = 5000;
/** How long a session must be gone: while OpenCode moves it to another project it is for a moment in neither. In ms. */
const GONE_MS = 2000;
/** OpenCode deletes a session's messages before the session: while some are going, what remains is not told. In ms. */
const GOING_MS = 1000;
/** Messages that a turn that was under way may leave behind it when its session is deleted. */
const LEFT_BEHIND_MAX = 3;

/** Files that cannot be read, of which it is remembered since when; one that is forgotten has that time anew. */
const TORN_MAX = 10_000;

/** Looks for changes take one part of the time, and this many parts pass without. A look at 3,000 sessions takes 0.1 s. */
const LOOK_SHARE = 20;

const REASON = "OpenCode keeps it in JSON files, without a log";

/**
 * OpenCode 1.1's JSON files. Everything is a snapshot (`to` is null): a session whose files have changed is read as a whole.
 *
 * Only read, never locked: OpenCode does not lock them against others either. What was told is remembered in memory, so that
 * a session is told once after each start and then when something changed.
 */
export class JsonSource implements Source {
	readonly identity: string;
	readonly #files: JsonFiles;
	readonly #watch: JsonWatch;
	readonly #now: () => number;
	/** On the clock of `performance.now`. */
	#lookAgainAt = 0;
	/** Of what was captured from last: the caller's word, until a read has ended well. */
	#capturedFrom: string | undefined;
	/** Session id to the mark that its last read covered. */
	readonly #covered = new Map<string, string>();
	/** Session id to what was told: how many messages, and a digest of all of it. */
	readonly #told = new Map<string, { messages: number; mark: string }>();
	readonly #facts = new Map<string, { mark: string; facts: SessionFacts | undefined }>();
	readonly #seen = new Set<string>();
	readonly #vanished = new Map<string, string>();
	/** Captured sessions that are not there, and since when. */
	readonly #gone = new Map<string, number>();
	/** Files that could not be read: how they looked, and since when they look so. */
	readonly #torn = new Map<string, { looks: string; since: number }>();

	/** @param path OpenCode's `storage` folder. */
	constructor(path: string, options: JsonSourceOptions = {}) {
		this.#files = new JsonFiles(path);
		this.#now = options.now ?? Date.now;
		this.#watch = new JsonWatch(this.#files, this.#now);
		this.#capturedFrom = options.identity;
		const { identity } = this.#files;
		if (identity === undefined) throw new OutboxError("no_source", `There is no folder ${path}.`);
		this.identity = identity;
	}

	get path(): string {
		return this.#files.path;
	}

	async *read(
		captured: ReadonlyMap<string, Captured>,
		choose: Choose,
		signal: AbortSignal,
	): AsyncGenerator<SessionRead, void, void> {
		this.#requireSameFolder();
		const standings = this.#look();
		const facts = [...standings.values()]
			.map((standing) => this.#factsOf(standing))
			.filter((known) => known !== undefined);
		facts.sort((a, b) => b.updated_at - a.updated_at);
		const wanted = choose(facts);
		for (const session of facts) {
			if (signal.aborted) return;
			const id = session.session_id;
			const seen = standings.get(id) as Standing;
			if (!wanted.has(id)) {
				// Its capture may be forgotten before it is wanted again.
				this.#told.delete(id);
				this.#covered.set(id, unwanted(seen));
				continue;
			}
			const entry = captured.get(id);
			const isNew = entry === undefined || entry.deleted || entry.vanished || entry.empty;
			if (this.#covered.get(id) === seen.mark && !isNew) continue;
			const standing = this.#watch.stand(seen);
			const snapshot = this.#snapshot(standing.file, session, entry);
			const told = this.#told.get(id);
			if (snapshot === undefined || this.#isGoing(standing, told, snapshot.messages)) continue;
			const { read, messages, mark } = snapshot;
			if (isNew || told?.mark !== mark) yield read;
			this.#told.set(id, { messages, mark });
			// What was written within the same tick would look the same: it is read again when that is over.
			if (standing.settled) this.#covered.set(id, standing.mark);
		}
		for (const read of this.#missing(captured, standings)) {
			if (signal.aborted) return;
			yield read;
			if (read.kind === "vanished") this.#vanished.set(read.session_id, read.reason);
		}
		this.#capturedFrom = this.identity;
	}

	/** A look that took long is not repeated before twenty times as long is over; meanwhile nothing has changed. */
	changed(): boolean {
		if (performance.now() < this.#lookAgainAt) return false;
		if (this.#files.identity !== this.identity) return true;
		// A session that is gone is looked at again until it is clear what became of it.
		if ([...this.#gone.keys()].some((id) => !this.#vanished.has(id))) return true;
		const standings = this.#look();
		for (const id of this.#covered.keys()) if (!standings.has(id)) return true;
		for (const [id, standing] of standings) {
			const covered = this.#covered.get(id);
			if (covered !== standing.mark && covered !== unwanted(standing)) return true;
		}
		return false;
	}

	async snapshot(sessionId: string): Promise<Snapshot | undefined> {
		for (const until = this.#now() + TORN_MS * 2; this.#now() < until; ) {
			const file = this.#files.sessions().get(sessionId);
			if (file === undefined) return undefined;
			const facts = this.#readFacts(file);
			const before = this.#files.depth(file).mark;
			const stored = facts && readStored(this.#files, file, this.#isDamaged);
			if (facts && stored && this.#files.depth(file).mark === before)
				return {
					kind: "snapshot",
					session: facts,
					from: null,
					to: null,
					reason: "asked for",
					entities: stored.entities,
				};
			await new Promise((resolve) => setTimeout(resolve, 20));
		}
		throw new OutboxError("busy", `The files of session ${sessionId} in ${this.path} are being written.`);
	}

	/** No file remains of what was removed. */
	async removals(): Promise<Change[]> {
		return [];
	}

	async models(sessionId: string): Promise<ModelRef[]> {
		const models = new Map<string, ModelRef>();
		for (const entity of (await this.snapshot(sessionId))?.entities ?? []) {
			if (entity.type !== "message" || isPoison(entity)) continue;
			const { role, model } = JSON.parse(entity.payload) as { role?: unknown; model?: Partial<ModelRef> | null };
			if (role !== "user" || !model?.providerID || !model.modelID) continue;
			const { providerID, modelID } = model;
			models.set(`${providerID}/${modelID}`, { providerID, modelID });
		}
		return [...models.values()];
	}

	close(): void {}

	#look(): Map<string, Standing> {
		const startedAt = performance.now();
		const standings = this.#watch.look();
		const endedAt = performance.now();
		this.#lookAgainAt = endedAt + (endedAt - startedAt) * LOOK_SHARE;
		return standings;
	}

	/** Undefined when one of its files is being written. */
	#snapshot(file: SessionFile, session: SessionFacts, entry: Captured | undefined) {
		const stored = readStored(this.#files, file, this.#isDamaged);
		if (stored === undefined) return undefined;
		const { entities, messages } = stored;
		const reason = entry?.deleted ? "it was deleted and is there again" : REASON;
		const from = entry?.watermark ?? null;
		const read: SessionRead = { kind: "snapshot", session, from, to: null, reason, entities };
		return { read, messages, mark: digestOfEntities(entities) };
	}

	/** True while messages are disappearing, as they do before a session is deleted. */
	#isGoing(standing: Standing, told: { messages: number } | undefined, messages: number): boolean {
		return told !== undefined && messages < told.messages && this.#now() - standing.since < GOING_MS;
	}

	/** Undefined when its file could not be read so far: then nobody knows whether it is wanted. */
	#factsOf({ file }: Standing): SessionFacts | undefined {
		const known = this.#facts.get(file.id);
		if (known?.mark === file.mark && known.facts !== undefined) return known.facts;
		const read = this.#readFacts(file);
		const facts = read ?? known?.facts;
		// What is being written is read again.
		this.#facts.set(file.id, { mark: read === undefined ? "" : file.mark, facts });
		return facts;
	}

	#readFacts(file: SessionFile): SessionFacts | undefined {
		const content = readJson(file.path);
		return "value" in content ? factsOf(file.id, content.value) : undefined;
	}

	/** What became of captured sessions that are not there. */
	#missing(captured: ReadonlyMap<string, Captured>, standings: ReadonlyMap<string, Standing>): SessionRead[] {
		const missing: SessionRead[] = [];
		const now = this.#now();
		for (const [id, { watermark, deleted, vanished, unwanted }] of captured) {
			const isThere = standings.has(id) && this.#facts.get(id)?.facts !== undefined;
			if (deleted || vanished || unwanted || isThere) {
				this.#gone.delete(id);
				continue;
			}
			const since = this.#gone.get(id) ?? now;
			this.#gone.set(id, since);
			const reason = this.#doubt(id, captured, standings, now - since, now);
			if (reason === "wait") continue;
			if (reason === undefined) missing.push({ kind: "deleted", session_id: id, from: watermark });
			else if (this.#vanished.get(id) !== reason) missing.push({ kind: "vanished", session_id: id, reason });
			if (reason === undefined) this.#gone.delete(id);
		}
		for (const id of this.#gone.keys()) if (!captured.has(id)) this.#gone.delete(id);
		for (const id of this.#covered.keys()) if (!standings.has(id)) this.#covered.delete(id);
		for (const id of standings.keys()) {
			this.#seen.add(id);
			this.#vanished.delete(id);
		}
		return missing;
	}

	/** Why a session that is not there may not have been deleted; undefined when it was; `wait` while it is too early to say. */
	#doubt(
		id: string,
		captured: ReadonlyMap<string, Captured>,
		standings: ReadonlyMap<string, Standing>,
		goneMs: number,
		now: number,
	): string | undefined {
		const file = standings.get(id)?.file;
		if (file !== undefined) return goneMs < TORN_MS ? "wait" : `its file ${file.path} does not hold a session any more`;
		// Before anything is told of this folder: whoever recognises it next time may believe it.
		const doubt = doubtOfDeletion(id, captured, new Map(), () => false, {
			seen: this.#seen,
			hasIdentity: this.#capturedFrom !== undefined,
			known: this.#capturedFrom === this.identity,
			createdAt: null,
			now,
		});
		if (doubt !== undefined) return doubt;
		if (goneMs < GONE_MS) return "wait";
		const left = this.#files.messages(id).length;
		return left > LEFT_BEHIND_MAX ? `its file is gone, but ${left} of its messages are not` : undefined;
	}

	readonly #isDamaged = (path: string, why: string): boolean => {
		const now = this.#now();
		const stat = statSync(path, { throwIfNoEntry: false });
		const looks = `${stat?.ctimeMs} ${stat?.size} ${why}`;
		const known = this.#torn.get(path);
		if (known?.looks === looks) return now - known.since >= TORN_MS;
		if (this.#torn.size >= TORN_MAX) this.#torn.clear();
		this.#torn.set(path, { looks, since: now });
		return false;
	};

	#requireSameFolder(): void {
		if (this.#files.identity === this.identity) return;
		throw new OutboxError("no_source", `The folder ${this.path} is gone, or another one has taken its place.`);
	}
}

/** What covers a session that nobody wants: whether it is wanted, its own file decides. */
function unwanted({ file }: Standing): string {
	return `unwanted ${file.mark}`;
}
