import type { OpType, Watermark } from "../model/op.ts";

/** One change of one entity as OpenCode recorded it. */
export interface Change {
	/** The source event's id; null for a state that bears none (a row of a table, an answer of the API). */
	readonly event_id: string | null;
	/** The source event's number in its session's log; null with `event_id`. */
	readonly seq: number | null;
	readonly type: OpType;
	readonly key: string;
	/** Canonical JSON text. */
	readonly payload: string;
}

/** What OpenCode recorded but no op can carry: set aside for a person, visibly, while the session goes on. */
export interface Poison {
	readonly event_id: string | null;
	readonly seq: number | null;
	readonly type: OpType;
	readonly key: string;
	readonly code: "invalid_payload" | "too_large";
	/** For a person: what is wrong, with the facts. */
	readonly reason: string;
}

export interface SessionFacts {
	readonly session_id: string;
	readonly parent_id: string | null;
	readonly title: string;
	readonly directory: string;
	/** When OpenCode last touched the session itself, in epoch ms. */
	readonly updated_at: number;
}

/**
 * What a source has to say about one session since a watermark.
 *
 * - `log`: the events after `from`, in order, up to `to`. `state` is what the log does not carry (the session row, todos),
 *   as it stood exactly at `to`; it is only told when `to` is the log's head.
 * - `snapshot`: the whole session as it stood at `to`; `reason` says why the log could not be used. Captured entities that
 *   it lacks were removed.
 * - `deleted`: OpenCode has deleted the session: gone from its tables and from its log.
 * - `vanished`: the session's row is gone but its log is not, or the database is not the one it was captured from. Nothing
 *   is deleted on such evidence; a person must look.
 */
export type SessionRead =
	| {
			readonly kind: "log";
			readonly session: SessionFacts;
			readonly from: Watermark | null;
			/** Null only where `from` is and nothing but `state` is told: of a session without numbered events. */
			readonly to: Watermark | null;
			readonly changes: readonly (Change | Poison)[];
			readonly state: readonly Change[];
			/** More of its log follows at once. */
			readonly isPartial?: boolean;
	  }
	| {
			readonly kind: "snapshot";
			readonly session: SessionFacts;
			readonly from: Watermark | null;
			readonly to: Watermark | null;
			readonly reason: string;
			readonly entities: readonly (Change | Poison)[];
			/** A long one comes in parts. In all but the last: more follows, `to` is `from`, and nothing is lacking yet. */
			readonly isPartial?: boolean;
			/** In the last of several parts: the keys that the earlier ones told. */
			readonly told?: ReadonlySet<string>;
	  }
	| {
			readonly kind: "deleted";
			readonly session_id: string;
			readonly from: Watermark | null;
			/** True when it follows from circumstances alone: good enough for a mark, not for destroying anything. */
			readonly presumed?: boolean;
	  }
	| { readonly kind: "vanished"; readonly session_id: string; readonly reason: string };

export type LogRead = Extract<SessionRead, { kind: "log" }>;
export type Snapshot = Extract<SessionRead, { kind: "snapshot" }>;

/** Where a captured session stands in its source's log; null when it was never captured from one. */
export interface Captured {
	readonly watermark: Watermark | null;
	/** True when the session is captured as deleted. */
	readonly deleted: boolean;
	/** True when it was told as vanished: its absence is never taken for a deletion, nor told again; its return is told. */
	readonly vanished?: boolean;
	/** True when nothing of it is captured, nor set aside: never was, or it was forgotten. Then its whole state is told. */
	readonly empty?: boolean;
	/** True when nobody wants it now: what has become of it is not told. */
	readonly unwanted?: boolean;
	/** What its facts said when it was captured last; undefined when that is not known. */
	readonly updated_at?: number | undefined;
}

/**
 * The ids of the sessions that are wanted, of all that OpenCode has. Called once in a read with all of them, since a
 * session may be wanted for its parent's sake.
 */
export type Choose = (sessions: readonly SessionFacts[]) => ReadonlySet<string>;

/**
 * A way into OpenCode that can be trusted. What only wakes us up is a Doorbell.
 *
 * Reads are short, bounded in memory, and never write to OpenCode.
 */
export interface Source {
	/**
	 * Everything that is new since `captured`, one read of one session at a time, each session in log order.
	 *
	 * A long log comes in several reads; the caller appends each before it asks for the next. Sessions that `choose`
	 * leaves out are not read.
	 *
	 * @throws OutboxError no_source (no database yet), unknown_schema, corrupt, busy, io.
	 */
	read(captured: ReadonlyMap<string, Captured>, choose: Choose, signal: AbortSignal): AsyncIterable<SessionRead>;
	/** True when something may have changed since the last `read` began; costs about one PRAGMA. */
	changed(): boolean;
	/** The whole session as it stands now, or undefined when OpenCode does not have it. What `verify` and *compare* use. */
	snapshot(sessionId: string): Promise<Snapshot | undefined>;
	/** The removals of messages and parts that the session's log still tells: what *compare* may take off a share. */
	removals(sessionId: string): Promise<readonly Change[]>;
	/** The models that the session's user messages were sent to, in order of first use. */
	models(sessionId: string): Promise<{ providerID: string; modelID: string }[]>;
	/** Names this database among others; told back to a later source, it makes deletions certain that nobody saw. */
	readonly identity: string;
	/** For a person: what this source leaves out or was never tried with; undefined when there is nothing to say. */
	readonly notice?: string | undefined;
	close(): void;
}

export function isPoison(change: Change | Poison): change is Poison {
	return "code" in change;
}
