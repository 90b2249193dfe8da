import { messageOf, OutboxError } from "../model/errors.ts";
import { sameWatermark, type Watermark } from "../model/op.ts";
import { doubtOfAbsence } from "./absence.ts";
import { collapse } from "./collapse.ts";
import { modelIn } from "./fetch.ts";
import type { Heard, HeardSession } from "./heard.ts";
import type { Answer, Jobs } from "./jobs.ts";
import {
	type Captured,
	type Change,
	isPoison,
	type LogRead,
	type Poison,
	type SessionFacts,
	type SessionRead,
} from "./source.ts";

/** Frames in one read, and their bytes unless a single one has more: as readLog's. */
const FRAMES_PER_READ = 1000;
const BYTES_PER_READ = 1024 * 1024;
/** A session that cannot be asked for is asked for again after so long, doubled each time, in ms. */
const RETRY_MS = 1000;
const RETRY_MS_MAX = 300_000;
/** After so many failures in a row a person is told. */
const FAILURES_TOLD = 3;
/** What no event tells is asked for again after so long when something was heard meanwhile, in ms. */
const STATE_AGAIN_MS = 1000;

/** One read to be told, and what is to be done once it was: until then nothing is taken for captured. */
export interface NextRead {
	readonly read: SessionRead;
	told(): void;
}

/** The reads of one pass: of what was heard, and of what was answered. */
export class Reads {
	readonly #heard: Heard;
	readonly #jobs: Jobs;
	readonly #captured: ReadonlyMap<string, Captured>;
	readonly #eligible: ReadonlySet<string>;
	readonly #isKnown: (sessionId: string) => boolean;
	/** Where each session's capture stands as of the last read that was told. */
	readonly #at: Map<string, Watermark | null>;

	/** @param isKnown whether the server is known to have had a session. */
	constructor(
		heard: Heard,
		jobs: Jobs,
		captured: ReadonlyMap<string, Captured>,
		eligible: ReadonlySet<string>,
		isKnown: (sessionId: string) => boolean,
	) {
		this.#heard = heard;
		this.#jobs = jobs;
		this.#captured = captured;
		this.#eligible = eligible;
		this.#isKnown = isKnown;
		this.#at = new Map([...captured].map(([id, { watermark }]) => [id, watermark]));
	}

	/**
	 * What can be told now; nothing when it must first be asked for.
	 *
	 * @throws OutboxError when an answer was that the server cannot be reached, or does not let us in.
	 */
	next(): NextRead | undefined {
		for (const session of this.#heard.sessions.values()) {
			if (session.frames.length === 0 || !this.#eligible.has(session.id)) continue;
			const next = this.#log(session);
			if (next !== undefined) return next;
		}
		for (;;) {
			const [answer] = this.#jobs.answers;
			if (answer === undefined) return undefined;
			const next = this.#eligible.has(answer.session.id) ? this.#answered(answer) : undefined;
			if (next === undefined) this.#jobs.answers.shift();
			else {
				const told = () => {
					this.#jobs.answers.shift();
					next.told();
				};
				return { read: next.read, told };
			}
		}
	}

	/** Frames that continue what is captured. */
	#log(session: HeardSession): NextRead | undefined {
		const { facts, frames, isNewborn } = session;
		const from = this.#at.get(session.id) ?? null;
		const continues = session.isCovered && session.told != null && session.told.seq + 1 === frames[0]?.seq;
		// A snapshot that is under way is older than these frames, so it must be told first.
		if (facts === undefined || session.suspect !== undefined || this.#jobs.has(session)) return undefined;
		if (!(isNewborn && from === null) && !(continues && sameWatermark(session.told ?? null, from))) {
			this.#heard.suspect(session, "what was heard does not continue what is captured");
			return undefined;
		}
		let [count, bytes] = [0, 0];
		for (const frame of frames.slice(0, FRAMES_PER_READ)) {
			bytes += frame.bytes;
			if (count > 0 && bytes > BYTES_PER_READ) break;
			count++;
		}
		const rows = frames.slice(0, count);
		const last = rows.at(-1);
		if (last === undefined) return undefined;
		const to = { seq: last.seq, event_id: last.id };
		const changes = collapse(rows);
		return {
			read: { kind: "log", session: facts, from, to, changes, state: [], isPartial: frames.length > count },
			told: () => {
				this.#heard.take(session, count);
				this.#stands(session, to);
				if (isNewborn) Object.assign(session, { isCovered: true, isScrubbed: true, models: [] });
				for (const change of changes) if (change.type === "message" && !isPoison(change)) remember(session, change);
			},
		};
	}

	#answered(answer: Answer): NextRead | undefined {
		const { session, kind, fetched, error, epoch, reason, last, count } = answer;
		if (error !== undefined) return this.#failed(answer);
		session.failures = 0;
		session.retryAt = 0;
		if (fetched === undefined) return this.#gone(session);
		const from = this.#at.get(session.id) ?? null;
		const { facts, entities } = fetched;
		if (kind === "state") {
			if (session.suspect !== undefined) return undefined;
			const isOvertaken = count !== session.count || epoch !== this.#heard.epoch;
			if (isOvertaken || !session.isCovered || !sameWatermark(session.told ?? null, from)) {
				session.stateAt ??= this.#heard.clock.now() + STATE_AGAIN_MS;
				return undefined;
			}
			return { read: stateRead(facts, from, entities), told: () => void Object.assign(session, { facts }) };
		}
		if (epoch !== this.#heard.epoch) {
			this.#heard.suspect(session, reason);
			return undefined;
		}
		return {
			read: { kind: "snapshot", session: facts, from, to: last, reason, entities },
			told: () => {
				this.#stands(session, last);
				const { models } = fetched;
				Object.assign(session, { facts, models, isCovered: true, isScrubbed: true, isDeleted: false });
				// Whatever only the list knew, the server has it.
				session.isListed = true;
				session.isAbsent = false;
			},
		};
	}

	#stands(session: HeardSession, watermark: Watermark | null): void {
		session.told = watermark;
		this.#at.set(session.id, watermark);
	}

	/** A request that went wrong: later again. What keeps going wrong is shown to a person, once. */
	#failed({ session, error, reason, kind }: Answer): NextRead | undefined {
		const now = this.#heard.clock.now();
		session.failures++;
		session.retryAt = now + Math.min(RETRY_MS_MAX, RETRY_MS * 2 ** (session.failures - 1));
		this.#heard.suspect(session, kind === "state" ? "its state could not be read" : reason);
		if (error instanceof OutboxError) {
			this.#jobs.answers.shift();
			throw error;
		}
		const { facts, id } = session;
		if (session.failures !== FAILURES_TOLD || facts === undefined) return undefined;
		const from = this.#at.get(id) ?? null;
		const why = `OpenCode's server does not tell the session: ${messageOf(error)}; it is asked for again`;
		const poison: Poison = {
			...{ event_id: `unread/${id}`, seq: null, type: "session", key: "unknown/session" },
			...{ code: "invalid_payload", reason: why },
		};
		return { read: stateRead(facts, from, [poison]), told: () => this.#stands(session, from) };
	}

	/** OpenCode answered that it does not have the session. */
	#gone(session: HeardSession): NextRead | undefined {
		const heard = this.#heard;
		const { id } = session;
		const entry = this.#captured.get(id);
		const forget = () => void (heard.sessions.get(id) === session && heard.sessions.delete(id));
		heard.take(session, session.frames.length);
		if (entry === undefined || entry.deleted || entry.vanished) {
			forget();
			return undefined;
		}
		if (session.isListed && !session.isDeleted) {
			// It was there when the list was made: the next one decides.
			heard.isListDue = true;
			heard.suspect(session, "OpenCode lists it, and does not have it");
			session.retryAt = heard.clock.now() + RETRY_MS;
			return undefined;
		}
		const from = this.#at.get(id) ?? null;
		const doubt = session.isDeleted
			? undefined
			: doubtOfAbsence(id, this.#captured, listedOf(heard), this.#isKnown(id));
		const read: SessionRead =
			doubt === undefined
				? { kind: "deleted", session_id: id, from }
				: { kind: "vanished", session_id: id, reason: doubt };
		return { read, told: forget };
	}
}

function listedOf(heard: Heard): Map<string, SessionFacts> {
	const listed = new Map<string, SessionFacts>();
	for (const { id, facts, isListed } of heard.sessions.values()) if (isListed && facts) listed.set(id, facts);
	return listed;
}

function stateRead(session: SessionFacts, at: Watermark | null, entities: readonly (Change | Poison)[]): LogRead {
	const state = entities.filter((entity): entity is Change => !isPoison(entity));
	return { kind: "log", session, from: at, to: at, changes: entities.filter(isPoison), state };
}

/** The model of a message that was heard, behind those of the session so far. */
function remember(session: HeardSession, { payload }: Change): void {
	const model = modelIn(JSON.parse(payload));
	const known = session.models ?? [];
	if (model === undefined || session.models === undefined) return;
	if (known.some(({ providerID, modelID }) => providerID === model.providerID && modelID === model.modelID)) return;
	session.models = [...known, model];
}
