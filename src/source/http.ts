import { OutboxError } from "../model/errors.ts";

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

/**
 * GETs JSON.
 *
 * @param bytesMax an answer above this is given up before it is read to its end.
 * @throws Error naming the path and what was wrong; whatever the deadline in `signal` aborts with.
 */
export async function getJson(
	url: URL,
	address: ServerAddress,
	bytesMax: number,
	signal: AbortSignal,
): Promise<unknown> {
	const response = await fetch(url, { headers: { ...address.headers, accept: "application/json" }, signal });
	if (!response.ok || response.body === null) {
		await response.body?.cancel();
		throw new Error(`OpenCode answered ${response.status} to GET ${url.pathname}`);
	}
	const chunks: Uint8Array[] = [];
	let bytes = 0;
	for await (const chunk of response.body) {
		bytes += chunk.byteLength;
		if (bytes > bytesMax) throw new Error(`OpenCode's answer to GET ${url.pathname} is above ${bytesMax} bytes`);
		chunks.push(chunk);
	}
	return JSON.parse(Buffer.concat(chunks).toString("utf8"));
}
