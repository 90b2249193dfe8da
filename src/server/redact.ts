import { messageOf } from "../model/errors.ts";
import type { Logger } from "../model/logger.ts";
import { ShareRefusal } from "../protocol/refusal.ts";
import type { RandomBytes } from "./credential.ts";

/** Characters of a client's message that the log keeps. */
const REASON_CHARS_MAX = 300;

/**
 * What a client may see of an error: a refusal's own words, or a reference under which the log has the rest. Never a
 * stack, a cause, or anything else that an error carries.
 */
export class Redactor {
	readonly #logger: Logger;
	readonly #random: RandomBytes;
	readonly #redacted = new WeakSet<Error>();

	constructor(logger: Logger, random: RandomBytes) {
		this.#logger = logger;
		this.#random = random;
	}

	/** For what one of our own calls threw: unless it is a refusal, it is our defect. */
	ours(error: unknown): Error {
		if (error instanceof ShareRefusal) {
			const { code, details, retry_after_ms } = error;
			return this.#bare(error.message, { code, details, ...(retry_after_ms === undefined ? {} : { retry_after_ms }) });
		}
		const reference = this.#reference();
		this.#logger.error({ reference, err: error }, "A call failed; its caller was told the reference.");
		return this.#bare(`internal error, reference ${reference}`, {});
	}

	/** For whatever else capnweb is about to send, of the kind of a call to no method: it is most likely the client's. */
	readonly sent = (error: Error): Error => {
		if (this.#redacted.has(error)) return error;
		const reference = this.#reference();
		// capnweb quotes what it was sent, at any length.
		this.#logger.info(
			{ reference, reason: messageOf(error).slice(0, REASON_CHARS_MAX) },
			"A client's message could not be answered.",
		);
		return this.#bare(`internal error, reference ${reference}`, {});
	};

	#reference(): string {
		return Buffer.from(this.#random(6)).toString("hex");
	}

	/** capnweb sends the stack of an error that it is handed here, unless that is empty. */
	#bare(message: string, properties: object): Error {
		const error = Object.assign(new Error(message), { stack: "" }, properties);
		this.#redacted.add(error);
		return error;
	}
}
