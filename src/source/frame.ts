import type { Ring } from "./doorbell.ts";
import type { EventRow } from "./intents.ts";
import type { OpencodeEvent } from "./live-ear.ts";

/** Frames above this many characters are not parsed: whatever happened, the session is looked at. */
export const FRAME_CHARS_MAX = 1024 * 1024;
/** Where the id of the session stands in a frame that is not parsed, in characters. */
const HEAD_CHARS = 4096;

/** What one frame of `/global/event` says. */
export type Frame =
	/** An event with its number in its session's log, as OpenCode (since 1.14) wrote it there. */
	| { readonly kind: "sync"; readonly row: EventRow }
	/** Something happened to a session. `sync` frames repeat it, with the same id, where it goes into the log. */
	| {
			readonly kind: "plain";
			readonly type: string;
			/** Undefined before 1.14. */
			readonly id: string | undefined;
			readonly session_id: string;
			readonly directory: string | undefined;
			readonly event: OpencodeEvent;
	  }
	/** Text that streams; no more than a LiveEar makes of it. */
	| { readonly kind: "live"; readonly event: OpencodeEvent }
	/** Too large, or no JSON; the session where that can be told. */
	| { readonly kind: "unreadable"; readonly session_id: string | undefined };

/** Live-only, and nothing that any Source could read yet. */
const SILENT = /^(server\.|session\.status$)/;
/** What a session holds; another log of the same stream is not ours to carry. */
const OF_A_SESSION = /^(session|message)\./;
const SETTLED: ReadonlySet<string> = new Set(["session.idle", "session.diff", "session.compacted"]);
const DELTA = "message.part.delta";

interface Told {
	readonly directory?: unknown;
	readonly payload?: {
		readonly type?: unknown;
		readonly id?: unknown;
		readonly properties?: Properties | null;
		readonly syncEvent?: SyncEvent | null;
	} | null;
}
interface Properties {
	readonly [name: string]: unknown;
	readonly info?: { readonly id?: unknown; readonly sessionID?: unknown } | null;
	readonly part?: { readonly sessionID?: unknown } | null;
}
interface SyncEvent {
	readonly [name: string]: unknown;
}

/** Reads one frame; undefined when nothing that a session holds has changed. Whoever sent it may have sent anything. */
export function frameOf(data: string): Frame | undefined {
	if (data.length > FRAME_CHARS_MAX) return unreadable(data);
	let told: Told | null;
	try {
		told = JSON.parse(data);
	} catch {
		return unreadable(data);
	}
	const payload = told?.payload;
	const type = payload?.type;
	if (type === "sync") return syncFrame(payload?.syncEvent ?? {});
	if (typeof type !== "string" || SILENT.test(type)) return undefined;
	const properties = payload?.properties ?? {};
	const event: OpencodeEvent = { id: payload?.id, type, properties };
	if (type === DELTA) return { kind: "live", event };
	const session_id = sessionIn(type, properties);
	if (session_id === undefined) return undefined;
	const directory = typeof told?.directory === "string" ? told.directory : undefined;
	return { kind: "plain", type, id: text(payload?.id), session_id, directory, event };
}

/** True when a turn or an undo has just ended. */
export function isSettled(frame: Frame): boolean {
	return frame.kind === "plain" && SETTLED.has(frame.type);
}

/** Whom a frame wakes. What repeats a plain frame, and what is live only, wakes nobody. */
export function ringOf(frame: Frame | undefined): Ring | undefined {
	if (frame?.kind === "unreadable") {
		const { session_id } = frame;
		return { ...(session_id === undefined ? {} : { session_id }), settled: false };
	}
	if (frame?.kind !== "plain") return undefined;
	const { session_id, directory } = frame;
	return { session_id, ...(directory === undefined ? {} : { directory }), settled: isSettled(frame) };
}

function syncFrame({ id, type, seq, aggregateID, data }: SyncEvent): Frame | undefined {
	if (typeof type !== "string" || !OF_A_SESSION.test(type) || typeof aggregateID !== "string") return undefined;
	if (typeof id !== "string" || typeof seq !== "number" || !Number.isSafeInteger(seq) || seq < 0)
		return { kind: "unreadable", session_id: aggregateID };
	const json = JSON.stringify(data ?? null);
	return {
		kind: "sync",
		row: { aggregate_id: aggregateID, seq, id, type, bytes: Buffer.byteLength(json), data: json },
	};
}

/** Up to 1.3 the id of the session stands only in what is told of it. */
function sessionIn(type: string, { sessionID, info, part }: Properties): string | undefined {
	const own = text(sessionID) ?? text(info?.sessionID) ?? text(part?.sessionID);
	return own ?? (type.startsWith("session.") ? text(info?.id) : undefined);
}

function unreadable(data: string): Frame {
	const head = data.slice(0, HEAD_CHARS);
	const session_id = /"(?:aggregateID|sessionID)":"(ses_[^"\\/]{1,100})"/.exec(head)?.[1];
	return { kind: "unreadable", session_id };
}

function text(value: unknown): string | undefined {
	return typeof value === "string" ? value : undefined;
}
