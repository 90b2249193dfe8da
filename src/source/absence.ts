import type { Captured, SessionFacts } from "./source.ts";

const ABSENT = "OpenCode's server does not have it, and";

/**
 * Says why a session that a server's complete list lacks, and that it answers 404 for, may not have been deleted;
 * undefined when it was. For what `lineage.ts` is to a database.
 *
 * A server tells nothing of itself but its address, behind which another installation may stand by now, or an older copy
 * of the same one. So an absence is only believed where another captured session is still there, and none stands before
 * where it was captured.
 *
 * @param listed what the server has.
 * @param isKnown false when the sessions were captured from somewhere else, as far as anybody remembers.
 */
export function doubtOfAbsence(
	sessionId: string,
	captured: ReadonlyMap<string, Captured>,
	listed: ReadonlyMap<string, SessionFacts>,
	isKnown: boolean,
): string | undefined {
	let others = 0;
	for (const [id, { updated_at }] of captured) {
		const there = listed.get(id);
		if (there === undefined || id === sessionId) continue;
		if (updated_at !== undefined && there.updated_at < updated_at)
			return `${ABSENT} stands before what was captured (session ${id}): an older copy of its data`;
		others++;
	}
	if (!isKnown) return `${ABSENT} is not known to be the one that it was captured from`;
	if (others === 0)
		return `${ABSENT} has none of the other sessions that were captured, by which it could be recognised`;
	return undefined;
}
