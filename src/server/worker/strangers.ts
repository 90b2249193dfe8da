import type { Refusal } from "../../protocol/codes.ts";
import type { Env } from "./env.ts";

/** What is told in one row, in ms, and at most how many of such are counted in one isolate. */
const GATHER_MS = 60_000;
const GATHERED_MAX = 1000;

/**
 * Puts refusals that are about no share on record, each kind once a minute and isolate, so that whoever tries keys or ids
 * costs one row a minute. Those in between are not counted: an isolate ends without a word.
 */
export class Strangers {
	readonly #told = new Map<string, number>();

	/** Resolves when it is on record, or is known to be; never rejects, since the refusal itself matters more. */
	async refused(env: Env, method: string, code: Refusal): Promise<void> {
		const name = `${method} ${code}`;
		const now = Date.now();
		if (now - (this.#told.get(name) ?? 0) < GATHER_MS) return;
		if (this.#told.size >= GATHERED_MAX) this.#told.clear();
		this.#told.set(name, now);
		await env.DIRECTORY.getByName("strangers")
			.record({ event: "refused", method, share_id: null, code })
			.catch(() => this.#told.delete(name));
	}
}
