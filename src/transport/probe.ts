import type { Fetch } from "./http-batch.ts";

/** What a share server says of itself to anybody who asks. */
export interface ServerVitals {
	readonly version: string;
	/** From the question to the answer, in ms. */
	readonly latencyMs: number;
	/** How far its clock is ahead of this one, in ms, to within a second; null where it tells no time. */
	readonly skewMs: number | null;
}

/** Of an answer that is no more than a status and a version. */
const ANSWER_CHARS_MAX = 10_000;

/**
 * Asks a share server for its health, over plain HTTP: reachable at all, how soon, and whose clock is right.
 *
 * @param url its base url.
 * @throws Error saying what answered instead.
 */
export async function serverVitals(
	url: string,
	signal: AbortSignal,
	fetch: Fetch = globalThis.fetch,
): Promise<ServerVitals> {
	const [askedAt, startedAt] = [Date.now(), performance.now()];
	const response = await fetch(`${url}/health`, { signal, redirect: "manual" });
	const latencyMs = performance.now() - startedAt;
	const text = (await response.text()).slice(0, ANSWER_CHARS_MAX);
	if (response.status !== 200) throw new Error(`what answers at ${url}/health answers HTTP ${response.status}`);
	const version = versionIn(text);
	if (version === undefined) throw new Error(`what answers at ${url}/health is not a share server`);
	const date = Date.parse(response.headers.get("date") ?? "");
	// The header has whole seconds, so that on average it is half a second old.
	const skewMs = Number.isNaN(date) ? null : Math.round(date + 500 - (askedAt + latencyMs / 2));
	return { version, latencyMs, skewMs };
}

function versionIn(text: string): string | undefined {
	try {
		const { status, version } = JSON.parse(text) as { status?: unknown; version?: unknown };
		return status === "ok" && typeof version === "string" ? version : undefined;
	} catch {
		return undefined;
	}
}
