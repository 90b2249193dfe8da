import type { RpcTransport } from "capnweb";
import { MESSAGE_BYTES_MAX } from "../protocol/limits.ts";
import { refuseFlawed } from "../protocol/message.ts";

/** Messages in one POST: calls are two each, and more calls than a POST takes are still answered, with `busy`. */
const MESSAGES_MAX = 32_768;

/**
 * capnweb's side of one POST: messages separated by newlines, their answers likewise.
 *
 * Not capnweb's own, which takes any number of messages, runs them without a pause, and collects answers of any size.
 */
export class PostTransport implements RpcTransport {
	readonly #messages: readonly string[];
	readonly #answers: string[] = [];
	readonly #allReceived = Promise.withResolvers<void>();
	#next = 0;
	#chars = 0;

	/** @throws Error when there are too many messages. */
	constructor(body: string) {
		this.#messages = body === "" ? [] : body.split("\n", MESSAGES_MAX + 1);
		if (this.#messages.length > MESSAGES_MAX) throw new Error(`A POST takes ${MESSAGES_MAX} messages.`);
		// A session that ends early is seen by whoever waits for it; nobody may be waiting yet.
		this.#allReceived.promise.catch(() => undefined);
	}

	/** Resolves when capnweb has taken the last message; rejects when the session broke on the way. */
	get allReceived(): Promise<void> {
		return this.#allReceived.promise;
	}

	/** What is beyond the cap is not kept: no client of ours would read it. */
	send(message: string): void {
		this.#chars += message.length + 1;
		if (this.#chars <= MESSAGE_BYTES_MAX) this.#answers.push(message);
		else this.#answers.length = 0;
	}

	async receive(): Promise<string> {
		const message = this.#messages[this.#next++];
		if (message === undefined) {
			this.#allReceived.resolve();
			return new Promise(() => undefined);
		}
		// A turn of the event loop for each, so that a POST of many calls shares the server with others (G5).
		await new Promise((resolve) => setImmediate(resolve));
		refuseFlawed(message, "client");
		return message;
	}

	abort(reason: unknown): void {
		this.#allReceived.reject(reason);
	}

	/** @throws Error when the answers are too large. */
	answer(): string {
		if (this.#chars > MESSAGE_BYTES_MAX + 1) throw new Error(`The answers take more than ${MESSAGE_BYTES_MAX} bytes.`);
		return this.#answers.join("\n");
	}
}
