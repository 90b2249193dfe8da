import { digestOf } from "../model/json.ts";
import type { Checkpoint } from "../outbox/checkpoint.ts";
import type { RedeemedShare } from "../transport/transport.ts";
import { type EntityState, EVENTLESS } from "./compare.ts";

/** How a share differs from what it should be, by entity keys. */
export interface Difference {
	/** How many entities were compared. */
	readonly compared: number;
	/** In OpenCode, not on the share. */
	readonly missing: readonly string[];
	/** On both, with another content. */
	readonly different: readonly string[];
	/** On the share only. */
	readonly extra: readonly string[];
}

/**
 * What a share must hold: key to digest.
 *
 * @param truth OpenCode's entities; undefined when it has forgotten the session, then what was captured is all there is.
 * @param captured digests as last captured: the measure for what only OpenCode's API tells.
 * @param checkpoints text over what OpenCode has committed: the measure as long as OpenCode still has just that.
 */
export function expectedDigests(
	truth: readonly EntityState[] | undefined,
	captured: ReadonlyMap<string, string>,
	checkpoints: ReadonlyMap<string, Checkpoint> = new Map(),
): Map<string, string> {
	const held = (key: string, digest: string): string => {
		const text = checkpoints.get(key);
		return text?.digest === digest ? text.checkpoint : digest;
	};
	if (truth === undefined) return new Map([...captured].map(([key, digest]) => [key, held(key, digest)]));
	const expected = new Map([...captured].filter(([key]) => EVENTLESS.has(key)));
	// An empty list that was never captured says nothing, and is not sent.
	for (const { key, payload } of truth)
		if (payload !== "[]" || captured.has(key)) expected.set(key, held(key, digestOf(payload)));
	return expected;
}

export function differenceOf(expected: ReadonlyMap<string, string>, actual: ReadonlyMap<string, string>): Difference {
	const keys = [...expected.keys()];
	return {
		compared: new Set([...keys, ...actual.keys()]).size,
		missing: keys.filter((key) => !actual.has(key)),
		different: keys.filter((key) => actual.has(key) && actual.get(key) !== expected.get(key)),
		extra: [...actual.keys()].filter((key) => !expected.has(key)),
	};
}

export function isClean({ missing, different, extra }: Difference): boolean {
	return missing.length + different.length + extra.length === 0;
}

/**
 * All digests of a share, page by page: key to digest.
 *
 * @param at the cursor that all of them must be of; undefined: as they come.
 * @throws Error when the pages do not advance, or another writer has moved the share on from `at`.
 */
export async function shareDigests(share: RedeemedShare, at?: number): Promise<Map<string, string>> {
	const digests = new Map<string, string>();
	for (let after: string | undefined; ; ) {
		const page = await share.entityDigests(after);
		if (at !== undefined && page.cursor !== undefined && page.cursor !== at)
			throw new Error(`the share went on from ${at} to ${page.cursor} ops while it was looked at`);
		for (const { key, digest } of page.entities) digests.set(key, digest);
		if (page.next === null) return digests;
		if (after !== undefined && page.next <= after) throw new Error("the server's digest pages do not advance");
		after = page.next;
	}
}
