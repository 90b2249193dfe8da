import { messageOf, OutboxError } from "../model/errors.ts";

/** Where an OpenCode server is, and how it knows us. The secret lives in `headers` alone, never in `url`. */
export interface ServerAddress {
	/** Without credentials, fit to be shown. */
	readonly url: URL;
	readonly headers: Readonly<Record<string, string>>;
}

/**
 * Reads an address as a person gives it. Credentials come from the address itself, else from
 * OPENCODE_SERVER_USERNAME (default "opencode") and OPENCODE_SERVER_PASSWORD, as OpenCode takes them. Those in the address
 * are for users of the library only: the command refuses such an address, since others can read its arguments.
 *
 * @throws OutboxError config.
 */
export function serverAddress(given: string, env: Readonly<Record<string, string | undefined>>): ServerAddress {
	const url = URL.parse(given);
	if (url === null || !/^https?:$/.test(url.protocol))
		throw new OutboxError("config", "The address of OpenCode's server is not an http:// or https:// address.");
	const user = decodeURIComponent(url.username) || env.OPENCODE_SERVER_USERNAME || "opencode";
	const password = decodeURIComponent(url.password) || env.OPENCODE_SERVER_PASSWORD;
	url.username = "";
	url.password = "";
	url.search = "";
	url.hash = "";
	const basic = Buffer.from(`${user}:${password}`).toString("base64");
	return { url, headers: password ? { authorization: `Basic ${basic}` } : {} };
}

/** The url of a path below the server's, with a query. */
export function endpoint(address: ServerAddress, path: string, query: Readonly<Record<string, string>> = {}): URL {
	const url = new URL(address.url.href.replace(/\/$/, "") + path);
	for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
	return url;
}

/** OpenCode answered, but not with success. */
export class RefusedRequest extends Error {
	readonly status: number;
	constructor(status: number, url: URL) {
		super(`OpenCode answered ${status} to GET ${url.pathname}`);
		this.status = status;
	}
}

/** OpenCode's answer is larger than what is read; the rest of it was given up. */
export class TooLargeAnswer extends Error {
	readonly bytesMax: number;
	constructor(bytesMax: number, url: URL) {
		super(`OpenCode's answer to GET ${url.pathname} is above ${bytesMax} bytes`);
		this.bytesMax = bytesMax;
	}
}

/**
 * What a person does about a server that does not let us in. The password is read from the environment at the start, so
 * it takes a restart.
 */
export const PASSWORD_HINT =
	"Set OPENCODE_SERVER_PASSWORD (and OPENCODE_SERVER_USERNAME, unless it is opencode) to what `opencode serve` was started with, and start opencode-outbox again.";

/** True for the answers of a server that wants other credentials. */
export function isDenial(status: number): boolean {
	return status === 401 || status === 403;
}

/** What a failed `fetch` says, with its cause: the message alone is "fetch failed". */
export function problemOf(error: unknown): string {
	const cause = error instanceof Error && error.cause instanceof Error ? `: ${error.cause.message}` : "";
	return `${messageOf(error)}${cause}`;
}

/** An answer as it begins; its body is the caller's to read or to cancel. */
export interface Answer {
	readonly headers: Headers;
	readonly body: ReadableStream<Uint8Array>;
}

/**
 * GETs and gives the answer as it begins.
 *
 * @throws RefusedRequest, what `fetch` throws; whatever the deadline in `signal` aborts with.
 */
export async function get(
	url: URL,
	address: ServerAddress,
	signal: AbortSignal,
	headers: Readonly<Record<string, string>> = {},
): Promise<Answer> {
	const response = await fetch(url, {
		headers: { ...address.headers, accept: "application/json", ...headers },
		signal,
	});
	const { body } = response;
	if (response.ok && body !== null) return { body, headers: response.headers };
	await body?.cancel();
	throw new RefusedRequest(response.status, url);
}

/**
 * Reads an answer's JSON.
 *
 * @param bytesMax an answer above this is given up before it is read to its end.
 * @throws TooLargeAnswer, SyntaxError; whatever ends the body.
 */
export async function jsonOf(response: Answer, url: URL, bytesMax: number): Promise<unknown> {
	const chunks: Uint8Array[] = [];
	let bytes = 0;
	for await (const chunk of response.body) {
		bytes += chunk.byteLength;
		if (bytes > bytesMax) throw new TooLargeAnswer(bytesMax, url);
		chunks.push(chunk);
	}
	return JSON.parse(Buffer.concat(chunks).toString("utf8"));
}

/** Both in one: GETs JSON. */
export async function getJson(
	url: URL,
	address: ServerAddress,
	bytesMax: number,
	signal: AbortSignal,
): Promise<unknown> {
	return jsonOf(await get(url, address, signal), url, bytesMax);
}
