import { OutboxError } from "../model/errors.ts";
import { endpoint, type ServerAddress } from "./http.ts";

/** What an OpenCode server shows of itself. */
export interface OpencodeVitals {
	/** As it says; null where it does not. */
	readonly version: string | null;
	/** From the question to the answer, in ms. */
	readonly latencyMs: number;
}

const ANSWER_CHARS_MAX = 10_000;

/**
 * Proves that an OpenCode server answers, takes the password, and streams events: its first frame is waited for.
 *
 * @throws OutboxError config when it wants another password; Error naming what did not work.
 */
export async function opencodeVitals(address: ServerAddress, signal: AbortSignal): Promise<OpencodeVitals> {
	const startedAt = performance.now();
	const health = await fetch(endpoint(address, "/global/health"), { headers: address.headers, signal });
	const latencyMs = performance.now() - startedAt;
	const text = (await health.text()).slice(0, ANSWER_CHARS_MAX);
	if (health.status === 401) {
		const given = address.headers.authorization === undefined ? "wants a password" : "does not accept the password";
		throw new OutboxError("config", `OpenCode's server at ${address.url.href} ${given}.`, {
			hint: "Set OPENCODE_SERVER_PASSWORD (and OPENCODE_SERVER_USERNAME, if it has one) as OpenCode has it.",
		});
	}
	const stream = await fetch(endpoint(address, "/global/event"), {
		headers: { ...address.headers, accept: "text/event-stream" },
		signal,
	});
	const reader = stream.body?.getReader();
	const first = stream.ok ? await reader?.read() : undefined;
	await reader?.cancel();
	const frame = Buffer.from(first?.value ?? []).toString("utf8");
	if (!frame.includes("data:")) throw new Error(`it streams no events: GET /global/event answers ${stream.status}`);
	return { version: versionIn(text), latencyMs };
}

function versionIn(text: string): string | null {
	try {
		const { version } = JSON.parse(text) as { version?: unknown };
		return typeof version === "string" ? version : null;
	} catch {
		return null;
	}
}
