import type { Watermark } from "../model/op.ts";
import type { OpencodeApi } from "./api.ts";
import { type FetchedSession, fetchState, fetchWhole } from "./fetch.ts";
import type { Heard, HeardSession } from "./heard.ts";

/** Sessions that are asked for at once: OpenCode has people to serve besides, and each answer is held whole. */
const AT_ONCE_MAX = 4;

export type JobKind = "snapshot" | "state";

/** What a server answered about a session, and what had been heard of it when it was asked. */
export interface Answer {
	readonly kind: JobKind;
	readonly session: HeardSession;
	readonly reason: string;
	/** Undefined when OpenCode does not have the session, or when the request failed. */
	readonly fetched: (Omit<FetchedSession, "models"> & Partial<FetchedSession>) | undefined;
	/** Why it failed. */
	readonly error: unknown;
	readonly epoch: number;
	/** The last frame of the session that was heard before it was asked for. */
	readonly last: Watermark | null;
	readonly count: number;
}

type Asked = Omit<Answer, "fetched" | "error">;

/** Requests under way, one of a session at a time; they outlast the read that began them. */
export class Jobs {
	readonly #api: OpencodeApi;
	readonly #heard: Heard;
	readonly #onAnswer: () => void;
	readonly #closing = new AbortController();
	readonly #running = new Map<HeardSession, { readonly asked: Asked; readonly done: Promise<void> }>();
	/** Those that were answered, until somebody has made something of them. */
	readonly answers: Answer[] = [];

	/** @param onAnswer called when there is one more in `answers`. */
	constructor(api: OpencodeApi, heard: Heard, onAnswer: () => void) {
		this.#api = api;
		this.#heard = heard;
		this.#onAnswer = onAnswer;
	}

	get isFull(): boolean {
		// What is answered and not taken is held as well.
		return this.#running.size + this.answers.length >= AT_ONCE_MAX;
	}

	get isIdle(): boolean {
		return this.#running.size === 0;
	}

	has(session: HeardSession): boolean {
		return this.#running.has(session) || this.answers.some((answer) => answer.session === session);
	}

	/** Resolves when one of those under way has been answered. */
	answered(): Promise<unknown> {
		return Promise.race([...this.#running.values()].map(({ done }) => done));
	}

	/** Asks for a session. A snapshot covers all that was heard of it so far, since it begins only now. */
	start(kind: JobKind, session: HeardSession, reason: string): void {
		const heard = this.#heard;
		const startedAt = heard.clock.now();
		const asked = { kind, session, reason, epoch: heard.epoch, last: session.last, count: session.count };
		if (kind === "snapshot") {
			heard.take(session, session.frames.length);
			session.suspect = undefined;
			session.snapshotAt = startedAt;
		}
		session.stateAt = undefined;
		const fetch = kind === "snapshot" ? fetchWhole : fetchState;
		const done = fetch(this.#api, session.id, session.facts, this.#closing.signal)
			.then(
				(fetched) => this.#answer({ ...asked, fetched, error: undefined }),
				(error: unknown) => this.#answer({ ...asked, fetched: undefined, error }),
			)
			.finally(() => {
				if (kind === "snapshot") session.tookMs = heard.clock.now() - startedAt;
			});
		this.#running.set(session, { asked, done });
	}

	/** Ends what is under way. What was not made use of is to be asked for again. */
	close(): void {
		this.#closing.abort();
		for (const { kind, session, reason } of [...this.answers.splice(0), ...this.#asked()]) {
			if (kind === "snapshot") this.#heard.suspect(session, reason);
			else session.stateAt = this.#heard.clock.now();
		}
		this.#running.clear();
	}

	#asked(): Asked[] {
		return [...this.#running.values()].map(({ asked }) => asked);
	}

	#answer(answer: Answer): void {
		if (this.#closing.signal.aborted) return;
		this.#running.delete(answer.session);
		this.answers.push(answer);
		this.#onAnswer();
	}
}
