import { type Clock, systemClock } from "../model/clock.ts";
import type { Watermark } from "../model/op.ts";
import type { ModelRef } from "./extras.ts";
import { type Frame, isSettled } from "./frame.ts";
import { type EventRow, FIRST_EVENT, isForeignToLog } from "./intents.ts";
import { factsIn, type ListedSession } from "./listing.ts";
import type { Ear } from "./server.ts";
import type { SessionFacts } from "./source.ts";

/** What waits to be captured, of all sessions together, in bytes; whatever is above that is had by snapshot. */
const QUEUE_BYTES_MAX = 32 * 1024 * 1024;
/** How soon a plain event must be repeated with its number, in ms; it follows in the same breath. */
const TWIN_MS = 500;
/** Sessions that are remembered: thirty times as many as were seen in one place. A stream may name ever new ones. */
const SESSIONS_MAX = 100_000;
/** At most so many plain events wait for that. */
const UNTWINNED_MAX = 1000;
/** A session that nothing happened to for this long counts as quiet, in ms: then what no event tells of it is read. */
const QUIET_MS = 1000;
/** A session that something happened to within this time before a connection was lost was active then, in ms. */
const ACTIVE_MS = 120_000;
/** Between two snapshots of a session that is being worked on: so long, or so many times what the last one took. */
const SNAPSHOT_GAP_MS = 1000;
const SNAPSHOT_GAP_TIMES = 4;

/** What is known of one session by ear and by lists. In memory only: it begins anew with each process. */
export class HeardSession {
	readonly id: string;
	facts: SessionFacts | undefined;
	/** As it was listed last; see ListedSession. */
	row: string | undefined;
	isListed = false;
	/** The last list lacks it, and nothing was heard of it since. */
	isAbsent = false;
	/** Numbered events that are not captured yet, each the successor of the one before. */
	frames: EventRow[] = [];
	/** The last one that was heard on this connection. */
	last: Watermark | null = null;
	/** How many things were heard of it, ever; and when the last one was, in epoch ms. */
	count = 0;
	heardAt = 0;
	countAtList = 0;
	/** It has changed since it was last found quiet. */
	isUnsettled = false;
	/** Everything up to `told` is captured, by a snapshot that began on this connection or from its first event on. */
	isCovered = false;
	/** It was snapshotted since the scrub that is under way began. */
	isScrubbed = false;
	/** Why it must be snapshotted, and when at the earliest, in epoch ms. */
	suspect: string | undefined;
	dueAt = 0;
	/** When what no event tells of it is to be read, in epoch ms. */
	stateAt: number | undefined;
	/** OpenCode has said that it deletes it. */
	isDeleted = false;
	/** Where the outbox stands as this process left it; undefined before that. */
	told: Watermark | null | undefined;
	snapshotAt = 0;
	tookMs = 0;
	/** Requests that failed in a row, and when the next is due, in epoch ms. */
	failures = 0;
	retryAt = 0;
	models: readonly ModelRef[] | undefined;

	constructor(id: string) {
		this.id = id;
	}

	/** True when what was heard of it is all that there ever was. */
	get isNewborn(): boolean {
		const [first] = this.frames;
		return this.told === undefined && this.suspect === undefined && first?.seq === 0 && first.type === FIRST_EVENT;
	}
}

const DELETED = "session.deleted.1";
/** Plain events that OpenCode repeats with a number, in the versions that number them. */
const DURABLE = /^(session\.(created|updated|deleted)|message\.(updated|removed)|message\.part\.(updated|removed))$/;

/**
 * What is heard on the connection of an OpenCodeServer, sorted by session and bounded, until a ServerSource captures it.
 * It outlives the sources that read from it, as the connection does.
 */
export class Heard implements Ear {
	readonly clock: Clock;
	readonly sessions = new Map<string, HeardSession>();
	/** Counts connections. */
	epoch = 0;
	isOpen = false;
	/** Where the next list is due at once. */
	isListDue = true;
	#bytes = 0;
	/** Plain events by id that were not repeated yet. */
	readonly #untwinned = new Map<string, { readonly session: HeardSession; readonly at: number }>();
	#wake: () => void = () => undefined;
	#news = this.#nextNews();

	constructor(clock: Clock = systemClock) {
		this.clock = clock;
	}

	/** Resolves as soon as something more is heard. */
	get news(): Promise<void> {
		return this.#news;
	}

	/** Above SESSIONS_MAX what is heard of new ones is not kept; a list tells those that there are. */
	session(id: string): HeardSession {
		const known = this.sessions.get(id) ?? new HeardSession(id);
		if (this.sessions.size < SESSIONS_MAX) this.sessions.set(id, known);
		return known;
	}

	opened(): void {
		const now = this.clock.now();
		this.epoch++;
		this.isOpen = true;
		this.isListDue = true;
		this.#untwinned.clear();
		for (const session of this.sessions.values()) {
			session.last = null;
			session.isCovered = false;
			session.isScrubbed = false;
			session.countAtList = session.count;
			this.take(session, session.frames.length);
			if (session.count > 0 && now - session.heardAt < ACTIVE_MS)
				this.suspect(session, "it was active before OpenCode's server was not heard for a while");
		}
		this.#tell();
	}

	closed(): void {
		this.isOpen = false;
		this.#tell();
	}

	heard(frame: Frame): void {
		if (frame.kind === "sync") this.#sync(frame.row);
		else if (frame.kind === "plain") this.#plain(frame);
		else if (frame.kind === "unreadable") {
			const whose = frame.session_id === undefined ? [...this.sessions.values()] : [this.session(frame.session_id)];
			for (const session of whose) this.suspect(this.#note(session), "an event of it could not be read");
		}
		this.#tell();
	}

	/** Marks a session to be snapshotted; what waits of it is covered by that. */
	suspect(session: HeardSession, reason: string): void {
		this.take(session, session.frames.length);
		session.suspect ??= reason;
		const gapMs = Math.max(SNAPSHOT_GAP_MS, SNAPSHOT_GAP_TIMES * session.tookMs);
		session.dueAt = session.snapshotAt === 0 ? 0 : session.snapshotAt + gapMs;
	}

	/** Lets go of the first `count` frames of a session. */
	take(session: HeardSession, count: number): void {
		for (const { bytes } of session.frames.splice(0, count)) this.#bytes -= bytes;
	}

	/** Takes a complete list in: what changed without having been heard is suspect, and what has become quiet once more. */
	listed(list: ReadonlyMap<string, ListedSession>): void {
		this.isListDue = false;
		for (const session of this.sessions.values()) {
			session.isListed = list.has(session.id);
			session.isAbsent = !session.isListed;
		}
		for (const [id, { facts, row }] of list) {
			const session = this.session(id);
			const hasChanged = session.row !== undefined && session.row !== row;
			const wasHeard = session.count !== session.countAtList;
			if (hasChanged && !wasHeard) this.suspect(session, "its row has changed, and nothing was heard of it");
			else if (session.isUnsettled && !wasHeard) this.suspect(session, "it has become quiet");
			session.isUnsettled = hasChanged || wasHeard;
			Object.assign(session, { facts, row, isListed: true, countAtList: session.count });
		}
	}

	/** Plain events whose numbered repetition did not come: these versions number none. */
	missTwins(): void {
		const before = this.clock.now() - TWIN_MS;
		for (const [id, { session, at }] of this.#untwinned) {
			if (at > before && this.#untwinned.size <= UNTWINNED_MAX) return;
			this.#untwinned.delete(id);
			this.suspect(session, "an event of it came without a number");
		}
	}

	/** When `missTwins` has something to do. */
	get hasUntwinned(): boolean {
		for (const { at } of this.#untwinned.values()) return at <= this.clock.now() - TWIN_MS;
		return false;
	}

	#sync(row: EventRow): void {
		this.#untwinned.delete(row.id);
		const session = this.#note(this.session(row.aggregate_id));
		const { last } = session;
		if (last?.seq === row.seq && last.event_id === row.id) return;
		session.last = { seq: row.seq, event_id: row.id };
		const why = row.type === DELETED ? undefined : this.#unusable(row, last);
		if (row.type === DELETED) this.#deleted(session);
		else if (why !== undefined) this.suspect(session, why);
		else {
			if (row.type.startsWith("session.")) session.facts = factsOf(row) ?? session.facts;
			session.frames.push(row);
			this.#bytes += row.bytes;
			session.stateAt = this.clock.now() + QUIET_MS;
		}
	}

	/** Why a frame cannot be captured as it is. */
	#unusable(row: EventRow, last: Watermark | null): string | undefined {
		if (last !== null && row.seq > last.seq + 1) return `number ${last.seq + 1} of its events was not heard`;
		if (last !== null && row.seq <= last.seq)
			return `its events are not numbered, or anew: ${row.seq} came after ${last.seq}`;
		if (isForeignToLog(row.type)) return `it holds ${row.type}, which this version does not know`;
		return this.#bytes + row.bytes > QUEUE_BYTES_MAX ? "more of it was heard than is kept" : undefined;
	}

	#plain(frame: Extract<Frame, { kind: "plain" }>): void {
		const session = this.#note(this.session(frame.session_id));
		const now = this.clock.now();
		if (isSettled(frame) || frame.type === "todo.updated") session.stateAt = now;
		if (DURABLE.test(frame.type)) {
			if (frame.id !== undefined) this.#untwinned.set(frame.id, { session, at: now });
			else if (frame.type === "session.deleted") this.#deleted(session);
			else this.suspect(session, "an event of it came without a number");
			if (this.#untwinned.size > UNTWINNED_MAX) this.missTwins();
		}
		// A turn is over: nothing more is to be waited for.
		if (isSettled(frame)) session.dueAt = 0;
	}

	#deleted(session: HeardSession): void {
		session.isDeleted = true;
		this.suspect(session, "OpenCode says that it is deleted");
		session.dueAt = 0;
	}

	#note(session: HeardSession): HeardSession {
		session.count++;
		session.isAbsent = false;
		session.heardAt = this.clock.now();
		return session;
	}

	#tell(): void {
		this.#wake();
		this.#news = this.#nextNews();
	}

	#nextNews(): Promise<void> {
		return new Promise((resolve) => {
			this.#wake = resolve;
		});
	}
}

function factsOf(row: EventRow): SessionFacts | undefined {
	const facts = factsIn((JSON.parse(row.data ?? "null") as { info?: unknown } | null)?.info);
	return facts?.session_id === row.aggregate_id ? facts : undefined;
}
