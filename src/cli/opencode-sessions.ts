import type { SessionFacts, Source } from "../source/source.ts";

/** Every session that OpenCode has, latest first. Reads none of them. */
export async function sessionsOf(source: Source): Promise<SessionFacts[]> {
	let found: readonly SessionFacts[] = [];
	const choose = (sessions: readonly SessionFacts[]) => {
		found = sessions;
		return new Set<string>();
	};
	for await (const _read of source.read(new Map(), choose, new AbortController().signal));
	return [...found].sort((a, b) => b.updated_at - a.updated_at || (a.session_id < b.session_id ? -1 : 1));
}
