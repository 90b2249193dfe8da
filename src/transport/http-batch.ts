import { RpcSession, type RpcTransport } from "capnweb";
import type { Clock } from "../model/clock.ts";
import { MESSAGE_BYTES_MAX } from "../protocol/limits.ts";
import { refuseFlawed } from "../protocol/message.ts";
import type { ShareRpc } from "../protocol/rpc.ts";
import { Calls } from "./calls.ts";
import { type Api, type HeldShare, SESSION_LIMITS, type Wire } from "./connection.ts";
import { describe } from "./reply.ts";
import type { Timing } from "./timing.ts";

/** Messages in an answer that are looked at. A batch of ours pulls one result, which is one message. */
const ANSWER_MESSAGES_MAX = 16;

export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

/**
 * One POST per call, whatever it pipelines; capnweb's batch protocol, messages separated by newlines.
 *
 * Not capnweb's own batch session, because that reads answers of any size, follows redirects with the secret in its
 * body, and takes no fetch.
 */
export class HttpBatchWire implements Wire {
	readonly kind = "http-batch";
	readonly #url: string;
	readonly #fetch: Fetch;
	readonly #clock: Clock;
	readonly #calls: Calls;

	constructor(url: string, fetch: Fetch, clock: Clock, timing: Timing) {
		this.#url = url;
		this.#fetch = fetch;
		this.#clock = clock;
		this.#calls = new Calls(clock, timing.callMs);
	}

	get closed(): AbortSignal {
		return this.#calls.closed;
	}

	/** Proves that a server answers: an empty batch has an empty answer, which no error page and no portal has. */
	async probe(deadlineMs: number, signal: AbortSignal): Promise<void> {
		const calls = new Calls(this.#clock, deadlineMs);
		const abandon = () => calls.end(new Error("it was abandoned"));
		signal.addEventListener("abort", abandon, { once: true });
		try {
			const answer = await calls.run("the first request", 0, (settled) => this.#post("", settled));
			if (answer !== "") throw new Error("what answers is not a share server");
		} finally {
			signal.removeEventListener("abort", abandon);
		}
	}

	call(method: string, bytes: number, make: (api: Api) => PromiseLike<unknown>): Promise<unknown> {
		return this.#calls.run(method, bytes, async (settled) => {
			const batch = new Batch((body) => this.#post(body, settled));
			const api = new RpcSession<ShareRpc>(batch, undefined, { limits: SESSION_LIMITS }).getRemoteMain();
			try {
				return await new Promise((resolve, reject) => {
					// Runs before capnweb rejects the call, so that a failed POST is taken for nobody's answer.
					api.onRpcBroken((error) => reject(new Error(describe(error))));
					make(api).then(resolve, reject);
				});
			} finally {
				api[Symbol.dispose]();
			}
		});
	}

	/** What has become of a request is told by its answer alone. */
	async written(): Promise<void> {}

	redeem(shareId: string, secret: string): HeldShare {
		return { capability: (api) => api.redeemShare(shareId, secret), keep: () => {}, release: () => {} };
	}

	close(): void {
		this.#calls.end(new Error("the connection was closed on this side"));
	}

	async #post(body: string, signal: AbortSignal): Promise<string> {
		const response = await this.#fetch(this.#url, { method: "POST", body, signal, redirect: "manual" });
		if (response.status === 200) return readText(response, MESSAGE_BYTES_MAX);
		await response.body?.cancel();
		throw new Error(`the server answered HTTP ${response.status}`);
	}
}

/** capnweb's side of one POST: collects what a turn of the event loop sends, then hands out what the answer holds. */
class Batch implements RpcTransport {
	readonly #sent: string[] = [];
	readonly #received: Promise<string[]>;

	constructor(post: (body: string) => Promise<string>) {
		this.#received = nextTurn()
			.then(() => post(this.#sent.join("\n")))
			.then((answer) => answer.split("\n", ANSWER_MESSAGES_MAX));
	}

	/** What comes after the POST (releases) has nobody to go to. */
	async send(message: string): Promise<void> {
		this.#sent.push(message);
	}

	async receive(): Promise<string> {
		const messages = await this.#received;
		const message = messages.shift();
		if (message) {
			refuseFlawed(message, "server");
			return message;
		}
		// The end breaks the session; whoever waits for the last message is to have it first.
		await nextTurn();
		throw new Error("the server's answer ended early");
	}
}

function nextTurn(): Promise<void> {
	return new Promise((resolve) => setImmediate(resolve));
}

/** The body as text; gives up, and stops the download, beyond `bytesMax`. */
async function readText(response: Response, bytesMax: number): Promise<string> {
	const decoder = new TextDecoder();
	let text = "";
	let bytes = 0;
	for await (const chunk of response.body ?? []) {
		bytes += chunk.byteLength;
		// Leaving the loop cancels the body.
		if (bytes > bytesMax) throw new Error(`the server's answer is larger than ${bytesMax} bytes`);
		text += decoder.decode(chunk, { stream: true });
	}
	return text + decoder.decode();
}
