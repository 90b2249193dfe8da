import { OutboxError } from "../model/errors.ts";
import { adopt, isWatched, leaveOut } from "./adopt.ts";
import type { OpencodeApi } from "./api.ts";
import type { ModelRef } from "./extras.ts";
import { fetchWhole } from "./fetch.ts";
import type { Heard, HeardSession } from "./heard.ts";
import { Jobs } from "./jobs.ts";
import { factsIn, listSessions } from "./listing.ts";
import { Reads } from "./reads.ts";
import type { OpencodeServer } from "./server.ts";
import type { Captured, Change, Choose, SessionFacts, SessionRead, Snapshot, Source } from "./source.ts";

/** Between two lists while everything is heard: for what other OpenCode processes do on the same data. In ms. */
const LIST_MS = 30_000;
/** Between two lists while nothing is heard, in ms. */
const DEAF_LIST_MS = 5000;
/** And at least so many times what the last list took. */
const LIST_TIMES = 50;
/** A scrub takes at most one part in so many of the server's time, and waits at least so long between two sessions. */
const SCRUB_TIMES = 4;
const SCRUB_GAP_MS = 250;
/** When a scrub begins anew while the connection lasts, in ms. */
const SCRUB_EVERY_MS = 3_600_000;
/** How long one read may go on asking, in ms: then sessions that are new are chosen, and others have their turn. */
const READ_MS_MAX = 3000;
/** How long the first read waits for the stream, in ms: what is heard from then on need not be asked for again. */
const OPEN_MS_MAX = 3000;
/** Sessions that were only heard of and are asked for in one read; one that cannot be had again after so long, in ms. */
const STRANGERS_MAX = 20;
const STRANGER_AGAIN_MS = 5000;

export interface ServerSourceOptions {
	/** `identity` of what the captured sessions came from, as a source told it in an earlier process. */
	readonly identity?: string | undefined;
	/** A read goes on until every session was looked at: for a command that ends by itself. */
	readonly isThorough?: boolean;
}

/**
 * An OpenCode server that is reached over HTTP alone: its event stream, and snapshots of what the stream did not tell.
 *
 * **Why it is exact.** The stream is subscribed to before anything is asked for. A snapshot takes several requests and is
 * of no single moment; its `to` is the last frame of the session that was heard before the first of them, so it covers
 * that frame and everything before. Frames that were heard later are applied on top, in order: each holds the whole state
 * of one entity, so the last one wins, and whatever mixture the snapshot was, the result is what the last frame says. What
 * no frame tells (the session's row, its todos) is only taken when nothing was heard of the session while it was asked for.
 *
 * Frames are captured only where they continue, number by number, what this connection's snapshot covers. So after a
 * reconnect each session is snapshotted before its frames count again; and when none was heard before the snapshot, its
 * `to` is null, nothing can continue that, and the first frame leads to one more snapshot, which knows its number. A hole
 * leads to a snapshot: several OpenCode processes on one data directory make holes all the time, since each tells only
 * what it did itself. So does a number that does not grow: 1.14 and 1.15 always say 0. Before that no events are numbered,
 * and all of them are marks that a session is to be looked at.
 *
 * What no frame tells is found by lists, at the beginning, after each reconnect and every 30 s: rows that changed unheard
 * are snapshotted. Some changes do not touch the row (a removed message or part, a new content of one; since 1.14 the
 * row's time also stands still when it is renamed or archived, which its list shows): a *scrub* snapshots every session
 * once per connection and then once an hour, slowly.
 */
export class ServerSource implements Source {
	readonly identity: string;
	readonly #api: OpencodeApi;
	readonly #heard: Heard;
	readonly #server: OpencodeServer;
	readonly #jobs: Jobs;
	readonly #isThorough: boolean;
	/** Of what was captured from last: the caller's word, until a read has ended well. */
	#capturedFrom: string | undefined;
	/** Ids that the last read knew, and those of them that it was to tell of. */
	#known: ReadonlySet<string> = new Set();
	#eligible: ReadonlySet<string> = new Set();
	#listAt = 0;
	#listMs = 0;
	#scrubAt = 0;
	#scrubbedSince = 0;
	readonly #closing = new AbortController();

	/** @param server whose `ear` is `heard`. */
	constructor(api: OpencodeApi, heard: Heard, server: OpencodeServer, options: ServerSourceOptions = {}) {
		this.identity = `server ${api.address.url.href}`;
		this.#api = api;
		this.#heard = heard;
		this.#server = server;
		this.#jobs = new Jobs(api, heard, () => server.ring());
		this.#isThorough = options.isThorough ?? false;
		this.#capturedFrom = options.identity;
	}

	/** @throws OutboxError no_source when the server cannot be reached, denied when it wants other credentials. */
	async *read(
		captured: ReadonlyMap<string, Captured>,
		choose: Choose,
		signal: AbortSignal,
	): AsyncGenerator<SessionRead, void, void> {
		const until = AbortSignal.any([signal, this.#closing.signal]);
		await this.#opened(until);
		if (this.#isListDue) await this.#list(until);
		await this.#meetStrangers(until);
		if (until.aborted) return;
		const reads = this.#begin(captured, choose);
		const endsAt = this.#isPatient ? Number.POSITIVE_INFINITY : this.#now + READ_MS_MAX;
		while (!until.aborted) {
			const next = reads.next();
			if (next !== undefined) {
				yield next.read;
				next.told();
				continue;
			}
			this.#ask();
			const isOver = this.#now >= endsAt || (!this.#isPatient && this.#hasStrangers);
			if (this.#jobs.isIdle || isOver) break;
			await this.#within(endsAt - this.#now, until, this.#jobs.answered());
		}
		this.#capturedFrom = this.identity;
	}

	changed(): boolean {
		const { sessions, hasUntwinned } = this.#heard;
		if (this.#isListDue || hasUntwinned || this.#jobs.answers.length > 0 || this.#hasStrangers) return true;
		for (const session of sessions.values()) if (this.#isDue(session) || this.#waits(session)) return true;
		return this.#toScrub() !== undefined;
	}

	/** Throws as `read` does, and an Error when the server does not tell this session. */
	async snapshot(sessionId: string): Promise<Snapshot | undefined> {
		const to = this.#heard.sessions.get(sessionId)?.last ?? null;
		const fetched = await fetchWhole(this.#api, sessionId, undefined, this.#closing.signal);
		if (fetched === undefined) return undefined;
		const { facts, entities } = fetched;
		return { kind: "snapshot", session: facts, from: null, to, reason: "asked for", entities };
	}

	/** None: a server tells no log. */
	async removals(): Promise<Change[]> {
		return [];
	}

	async models(sessionId: string): Promise<ModelRef[]> {
		const known = this.#heard.sessions.get(sessionId)?.models;
		if (known !== undefined) return [...known];
		return [...((await fetchWhole(this.#api, sessionId, undefined, this.#closing.signal))?.models ?? [])];
	}

	close(): void {
		this.#closing.abort();
		this.#jobs.close();
	}

	get #now(): number {
		return this.#heard.clock.now();
	}

	/** Nobody comes again soon, so a read ends only when all is told that can be told now. */
	get #isPatient(): boolean {
		return this.#isThorough || !this.#server.listening;
	}

	get #isListDue(): boolean {
		const everyMs = Math.max(this.#heard.isOpen ? LIST_MS : DEAF_LIST_MS, LIST_TIMES * this.#listMs);
		return this.#heard.isListDue || this.#now - this.#listAt >= everyMs;
	}

	get #hasStrangers(): boolean {
		return this.#heard.sessions.size > this.#known.size || [...this.#heard.sessions.keys()].some(this.#isStranger);
	}

	readonly #isStranger = (id: string): boolean => !this.#known.has(id);

	/** Waits until something is heard, or `also`; for `ms` at most. */
	async #within(ms: number, signal: AbortSignal, also?: Promise<unknown>): Promise<void> {
		const over = new AbortController();
		const late = this.#heard.clock.sleep(Math.max(0, ms), AbortSignal.any([signal, over.signal]));
		await Promise.race([late, this.#heard.news, ...(also ? [also] : [])]);
		over.abort();
	}

	/** Waits a moment for the stream that is being opened. */
	async #opened(signal: AbortSignal): Promise<void> {
		const endsAt = this.#now + OPEN_MS_MAX;
		const isOpening = () => this.#server.listening && !this.#heard.isOpen && this.#server.problem === undefined;
		while (isOpening() && this.#now < endsAt && !signal.aborted) await this.#within(50, signal);
	}

	async #list(signal: AbortSignal): Promise<void> {
		const startedAt = this.#now;
		const { epoch } = this.#heard;
		const list = await listSessions(this.#api, signal);
		// The stream was opened meanwhile: what happened before that may be in no list.
		if (epoch !== this.#heard.epoch) return this.#list(signal);
		this.#listAt = this.#now;
		this.#listMs = this.#now - startedAt;
		this.#heard.listed(list);
	}

	/** Sessions that were heard of before any list told them, as those are that have just been made. */
	async #meetStrangers(signal: AbortSignal): Promise<void> {
		const strangers = [...this.#heard.sessions.values()].filter(
			({ facts, isDeleted, retryAt }) => facts === undefined && !isDeleted && retryAt <= this.#now,
		);
		for (const session of strangers.slice(0, STRANGERS_MAX)) {
			try {
				const facts = factsIn(await this.#api.session(session.id, signal));
				if (facts?.session_id === session.id) session.facts = facts;
				else session.isAbsent = true;
			} catch (error) {
				if (error instanceof OutboxError) throw error;
				session.retryAt = this.#now + STRANGER_AGAIN_MS;
			}
		}
	}

	/** Looks at what was captured beside what is known, and has those chosen that are told of. */
	#begin(captured: ReadonlyMap<string, Captured>, choose: Choose): Reads {
		const heard = this.#heard;
		heard.missTwins();
		for (const [id, entry] of captured)
			if (isWatched(entry) && !heard.sessions.has(id)) heard.session(id).isAbsent = true;
		const facts: SessionFacts[] = [];
		for (const { id, facts: known, isAbsent, isDeleted } of heard.sessions.values()) {
			const entry = captured.get(id);
			if ((isAbsent || isDeleted) && (entry === undefined || !isWatched(entry))) heard.sessions.delete(id);
			else if (known && !isAbsent && !isDeleted) facts.push(known);
		}
		const eligible = new Set(choose(facts));
		for (const session of heard.sessions.values()) {
			const entry = captured.get(session.id);
			// What has become of a session is told though nobody could choose it.
			if ((session.isAbsent || session.isDeleted) && entry && isWatched(entry)) eligible.add(session.id);
			if (eligible.has(session.id)) adopt(heard, this.#jobs, session, entry);
			else leaveOut(heard, session);
		}
		this.#eligible = eligible;
		this.#known = new Set(heard.sessions.keys());
		return new Reads(heard, this.#jobs, captured, eligible, (id) => this.#isKnown(id));
	}

	#isKnown(sessionId: string): boolean {
		const wasListed = this.#heard.sessions.get(sessionId)?.row !== undefined;
		return wasListed || this.#capturedFrom === undefined || this.#capturedFrom === this.identity;
	}

	#isDue(session: HeardSession): boolean {
		if (!this.#eligible.has(session.id) || this.#jobs.has(session) || session.retryAt > this.#now) return false;
		if (session.suspect !== undefined) return session.dueAt <= this.#now;
		return session.stateAt !== undefined && session.stateAt <= this.#now && session.frames.length === 0;
	}

	/** True when there are frames that could be told. */
	#waits(session: HeardSession): boolean {
		const isFree = session.suspect === undefined && !this.#jobs.has(session);
		return session.frames.length > 0 && isFree && this.#eligible.has(session.id);
	}

	/** Asks for what is due, the sessions first that people work on. */
	#ask(): void {
		while (!this.#jobs.isFull) {
			let first: HeardSession | undefined;
			for (const session of this.#heard.sessions.values())
				if (this.#isDue(session) && (first === undefined || comesBefore(session, first))) first = session;
			if (first === undefined) break;
			if (first.suspect === undefined && first.isCovered) this.#jobs.start("state", first, "");
			else this.#jobs.start("snapshot", first, first.suspect ?? "something happened to it");
		}
		const scrubbed = this.#isThorough || this.#jobs.isIdle ? this.#toScrub() : undefined;
		if (scrubbed === undefined || this.#jobs.isFull) return;
		this.#scrubAt = this.#now + Math.max(SCRUB_GAP_MS, SCRUB_TIMES * scrubbed.tookMs);
		this.#jobs.start("snapshot", scrubbed, "it was not looked at since OpenCode's server was heard again");
		if (this.#isThorough) this.#ask();
	}

	#toScrub(): HeardSession | undefined {
		if (!this.#isThorough && (this.#now < this.#scrubAt || !this.#server.listening)) return undefined;
		const mine = [...this.#heard.sessions.values()].filter(({ id }) => this.#eligible.has(id));
		const next = mine.find(
			(session) => !session.isScrubbed && session.retryAt <= this.#now && !this.#jobs.has(session),
		);
		if (next !== undefined || mine.some((session) => !session.isScrubbed)) return next;
		if (this.#scrubbedSince === 0) this.#scrubbedSince = this.#now;
		if (this.#now - this.#scrubbedSince < SCRUB_EVERY_MS) return undefined;
		this.#scrubbedSince = 0;
		for (const session of mine) session.isScrubbed = false;
		return mine[0];
	}
}

/** Those that are being worked on come before those that only changed once. */
function comesBefore(a: HeardSession, b: HeardSession): boolean {
	if (a.heardAt !== b.heardAt) return a.heardAt > b.heardAt;
	return (a.facts?.updated_at ?? 0) > (b.facts?.updated_at ?? 0);
}
