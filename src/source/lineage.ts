import type { Watermark } from "../model/op.ts";
import type { Captured } from "./source.ts";

/** What is known about a database file beside its content, to tell a deleted session from another database. */
export interface Lineage {
	/** Sessions that this process has seen in this very file. */
	readonly seen: ReadonlySet<string>;
	/** True when the last database that was captured from is known, whether it is this one or not. */
	readonly hasIdentity: boolean;
	/** True when it is this one. */
	readonly known: boolean;
	/** When the database was made, in epoch ms; null when it does not say. */
	readonly createdAt: number | null;
	/** Now, in epoch ms. */
	readonly now: number;
}

/**
 * Says why a session that is gone from the tables and from the log may not have been deleted; undefined when it was.
 *
 * OpenCode leaves no tombstone, so a deletion is only believed when the database is the one that had the session: this
 * process saw it there, or the caller recognises the file. Where no database was ever known, also when another captured
 * session still stands there with its anchor, or the database is older than the session's last captured event; where
 * another one is known, both hold for any second database as well. And never when another session stands before where it
 * was captured: then an older copy was put back, and what it lacks is only younger than the copy.
 */
export function doubtOfDeletion(
	sessionId: string,
	captured: ReadonlyMap<string, Captured>,
	heads: ReadonlyMap<string, Watermark | null>,
	anchored: (sessionId: string, watermark: Watermark) => boolean,
	lineage: Lineage,
): string | undefined {
	for (const [id, { watermark }] of captured) {
		const head = heads.get(id);
		if (watermark && head && head.seq < watermark.seq)
			return `OpenCode's database does not have it, and stands before what was captured (session ${id}): an older copy of the database, or a wiped log`;
	}
	if (lineage.known || lineage.seen.has(sessionId)) return undefined;
	const doubt = "OpenCode's database does not have it, and is not known to be the one that it was captured from";
	if (lineage.hasIdentity) return doubt;
	const watermark = captured.get(sessionId)?.watermark ?? null;
	if (watermark !== null && lineage.createdAt !== null) {
		const at = timeOf(watermark.event_id, lineage.now);
		if (at !== undefined && lineage.createdAt < at) return undefined;
	}
	for (const [id, other] of captured) {
		if (id === sessionId || other.watermark === null || !heads.get(id)) continue;
		if (anchored(id, other.watermark)) return undefined;
	}
	return doubt;
}

/** OpenCode's ids begin with 48 bits of (epoch ms * 4096 + counter), so they tell the time within 2.2 years. */
const ID_MS_SPAN = 2 ** 36;

/** When an event was written, in epoch ms, taking it for no older than 2.2 years; undefined for ids of another form. */
function timeOf(eventId: string, now: number): number | undefined {
	const hex = /^evt_([0-9a-f]{12})/.exec(eventId)?.[1];
	if (hex === undefined) return undefined;
	const ms = Math.floor(Number.parseInt(hex, 16) / 4096);
	const age = (((now - ms) % ID_MS_SPAN) + ID_MS_SPAN) % ID_MS_SPAN;
	return now - age;
}
