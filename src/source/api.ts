import { OutboxError } from "../model/errors.ts";
import {
	type Answer,
	endpoint,
	get,
	isDenial,
	jsonOf,
	PASSWORD_HINT,
	problemOf,
	RefusedRequest,
	type ServerAddress,
} from "./http.ts";
import { ROW_BYTES_MAX } from "./intents.ts";
import { MessageSplitter, type SplitMessage } from "./split.ts";

/** One request to its last byte, in ms: a page of messages of a server that is busy. */
const CALL_MS_MAX = 60_000;
/** Messages in one answer: OpenCode builds each answer whole in its memory. */
const PAGE_MESSAGES = 100;
/** Of pages that follow each other; a server that gives ever new ones is lying. */
const PAGES_MAX = 10_000;
/** An answer that is not cut into pieces (a session, its todos, a list of sessions), in bytes. */
const ANSWER_BYTES_MAX = ROW_BYTES_MAX;
/** A page of messages, read to its end, in bytes: several times the largest rows that were reported (460 MB). */
const PAGE_BYTES_MAX = 2 * 1024 ** 3;
/** What is kept of one session's messages, in bytes: a snapshot is held whole while it is captured. */
const SESSION_BYTES_MAX = 512 * 1024 ** 2;

/** The bounds of an OpencodeApi, where a test needs smaller ones. */
export interface ApiBounds {
	readonly callMsMax?: number;
	readonly sessionBytesMax?: number;
}

/**
 * The calls of an OpenCode server (1.1 to 1.18) that a source needs; each has a deadline and bounds for what it reads.
 *
 * Each throws OutboxError no_source when the server cannot be reached, and denied when it wants other credentials.
 * Anything else that goes wrong (another status, an answer that is too large, cut off, or none) is an Error that concerns
 * this call alone. Undefined is what OpenCode does not have.
 */
export class OpencodeApi {
	readonly address: ServerAddress;
	readonly #callMsMax: number;
	readonly #sessionBytesMax: number;

	constructor(address: ServerAddress, bounds: ApiBounds = {}) {
		this.address = address;
		this.#callMsMax = bounds.callMsMax ?? CALL_MS_MAX;
		this.#sessionBytesMax = bounds.sessionBytesMax ?? SESSION_BYTES_MAX;
	}

	json(
		path: string,
		query: Readonly<Record<string, string>>,
		signal: AbortSignal,
		headers?: Readonly<Record<string, string>>,
	): Promise<unknown> {
		const url = endpoint(this.address, path, query);
		return this.#call(url, signal, (answer) => jsonOf(answer, url, ANSWER_BYTES_MAX), headers);
	}

	session(sessionId: string, signal: AbortSignal): Promise<unknown> {
		return this.json(`/session/${encodeURIComponent(sessionId)}`, {}, signal);
	}

	todos(sessionId: string, signal: AbortSignal): Promise<unknown> {
		return this.json(`/session/${encodeURIComponent(sessionId)}/todo`, {}, signal);
	}

	/** All messages of a session in their order, with their parts. */
	async messages(sessionId: string, signal: AbortSignal): Promise<readonly SplitMessage[] | undefined> {
		const pages: (readonly SplitMessage[])[] = [];
		let kept = 0;
		for (let before: string | null = null; pages.length < PAGES_MAX; ) {
			const query: Record<string, string> = { limit: `${PAGE_MESSAGES}`, ...(before === null ? {} : { before }) };
			const page = await this.#page(sessionId, query, this.#sessionBytesMax - kept, signal);
			if (page === undefined) return undefined;
			// A version that knows no pages and gave as many as were asked for: there may be more.
			if (before === null && page.next === null && page.messages.length === PAGE_MESSAGES)
				return (await this.#page(sessionId, {}, this.#sessionBytesMax, signal))?.messages;
			pages.unshift(page.messages);
			kept += page.keptBytes;
			if (page.next === null || page.messages.length === 0) return pages.flat();
			before = page.next;
		}
		throw new Error(`its messages do not end after ${PAGES_MAX} pages`);
	}

	#page(sessionId: string, query: Readonly<Record<string, string>>, bytesMax: number, signal: AbortSignal) {
		const url = endpoint(this.address, `/session/${encodeURIComponent(sessionId)}/message`, query);
		return this.#call(url, signal, async (answer) => {
			const splitter = new MessageSplitter();
			let bytes = 0;
			for await (const chunk of answer.body) {
				bytes += chunk.byteLength;
				splitter.feed(chunk);
				if (bytes > PAGE_BYTES_MAX || splitter.keptBytes > bytesMax)
					throw new Error(`its messages are above ${this.#sessionBytesMax} bytes`);
			}
			const { keptBytes } = splitter;
			return { messages: splitter.end(), keptBytes, next: answer.headers.get("x-next-cursor") };
		});
	}

	async #call<T>(
		url: URL,
		signal: AbortSignal,
		read: (answer: Answer) => Promise<T>,
		headers?: Readonly<Record<string, string>>,
	): Promise<T | undefined> {
		const deadline = AbortSignal.timeout(this.#callMsMax);
		const both = AbortSignal.any([signal, deadline]);
		const answer = await get(url, this.address, both, headers).catch((error: unknown) => this.#refused(error, both));
		return answer && read(answer);
	}

	#refused(error: unknown, signal: AbortSignal): undefined {
		if (signal.aborted) throw error;
		const { url } = this.address;
		if (!(error instanceof RefusedRequest))
			throw new OutboxError("no_source", `OpenCode's server ${url.href} cannot be reached (${problemOf(error)}).`, {
				cause: error,
				hint: "Check its address and that it runs; capture goes on by itself once it answers, OpenCode keeps everything.",
			});
		if (isDenial(error.status))
			throw new OutboxError(
				"denied",
				`OpenCode's server ${url.href} does not let us in (it answered ${error.status}).`,
				{
					hint: PASSWORD_HINT,
				},
			);
		if (error.status !== 404) throw error;
		return undefined;
	}
}
