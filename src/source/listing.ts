import { hash } from "node:crypto";
import * as z from "zod";
import { OutboxError } from "../model/errors.ts";
import type { OpencodeApi } from "./api.ts";
import type { SessionFacts } from "./source.ts";

/** A session as a list tells it. */
export interface ListedSession {
	readonly facts: SessionFacts;
	/** Names what the list tells of it: another value means that its row has changed. */
	readonly row: string;
}

/** Sessions in one page of `/api/session`; some versions refuse more. */
const PAGE_SESSIONS = 200;
/** Above any number of sessions that is to be expected: the other lists lose some between two pages. */
const SESSIONS_MAX = 100_000;

const ID = z.string().regex(/^[^/]{1,200}$/);
const TIME = z.looseObject({ updated: z.number() });
const PAGED = z.looseObject({
	data: z.array(
		z.looseObject({
			id: ID,
			parentID: ID.nullish(),
			title: z.string(),
			location: z.looseObject({ directory: z.string() }),
			time: TIME,
		}),
	),
	cursor: z.looseObject({ next: z.string().nullish() }),
});
const WHOLE = z.array(
	z.looseObject({ id: ID, parentID: ID.nullish(), title: z.string(), directory: z.string(), time: TIME }),
);
const PROJECTS = z.array(z.looseObject({ worktree: z.string() }));

/**
 * Every session that a server has: of all directories, archived ones and sub-sessions among them.
 *
 * By whichever list this OpenCode answers well, the best first:
 * - `/api/session` pages by creation with an opaque cursor and loses none (1.17, 1.18). 1.15 answers 400 where a session
 *   is archived.
 * - `/experimental/session` loses those that were touched in the same millisecond between two pages, so it is asked for
 *   all at once (1.2 to 1.18).
 * - `/session` knows one project at a time; those that OpenCode has opened so far are in `/project` (1.1).
 *
 * @throws OutboxError no_source, denied.
 */
export async function listSessions(api: OpencodeApi, signal: AbortSignal): Promise<Map<string, ListedSession>> {
	const reasons: string[] = [];
	for (const list of [pagedList, wholeList, projectLists]) {
		try {
			const listed = await list(api, signal);
			return new Map(listed.map((session) => [session.facts.session_id, session]));
		} catch (error) {
			if (signal.aborted || error instanceof OutboxError) throw error;
			reasons.push(error instanceof z.ZodError ? "an answer of another form" : String(error));
		}
	}
	throw new OutboxError(
		"no_source",
		`OpenCode's server ${api.address.url.href} does not list its sessions (${reasons.join("; ")}).`,
		{ hint: "Check that it is OpenCode, 1.1 to 1.18; capture goes on by itself once it lists them." },
	);
}

async function pagedList(api: OpencodeApi, signal: AbortSignal): Promise<ListedSession[]> {
	const sessions: ListedSession[] = [];
	for (let cursor: string | undefined; sessions.length <= SESSIONS_MAX; ) {
		const query = { limit: `${PAGE_SESSIONS}`, ...(cursor === undefined ? {} : { cursor }) };
		const { data, cursor: next } = PAGED.parse(await api.json("/api/session", query, signal));
		for (const session of data) sessions.push(listed({ ...session, directory: session.location.directory }));
		if (data.length === 0 || next.next == null || next.next === cursor) return sessions;
		cursor = next.next;
	}
	throw new Error(`the list does not end after ${SESSIONS_MAX} sessions`);
}

async function wholeList(api: OpencodeApi, signal: AbortSignal): Promise<ListedSession[]> {
	const query = { archived: "true", limit: `${SESSIONS_MAX}` };
	return WHOLE.parse(await api.json("/experimental/session", query, signal)).map(listed);
}

async function projectLists(api: OpencodeApi, signal: AbortSignal): Promise<ListedSession[]> {
	const projects = PROJECTS.parse(await api.json("/project", {}, signal));
	const query = { limit: `${SESSIONS_MAX}` };
	// The directory as a header only says where to look; as a part of the query it would filter as well.
	const where = [{}, ...projects.map(({ worktree }) => ({ "x-opencode-directory": worktree }))];
	const sessions: ListedSession[] = [];
	for (const headers of where)
		sessions.push(...WHOLE.parse(await api.json("/session", query, signal, headers)).map(listed));
	return sessions;
}

type Told = z.infer<typeof WHOLE>[number];

function listed(session: Told): ListedSession {
	return { facts: factsOf(session), row: hash("sha256", JSON.stringify(session), "hex") };
}

function factsOf({ id, parentID, title, directory, time }: Told): SessionFacts {
	return { session_id: id, parent_id: parentID ?? null, title, directory, updated_at: time.updated };
}

/** The facts in a session as `/session/ID` and OpenCode's events tell it; undefined when they are not there. */
export function factsIn(session: unknown): SessionFacts | undefined {
	const told = WHOLE.element.safeParse(session);
	return told.success ? factsOf(told.data) : undefined;
}
