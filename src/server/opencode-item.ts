import * as z from "zod";
import { canonicalJson } from "../model/json.ts";
import { keys, type OpType } from "../model/op.ts";
import type { Rejection } from "../protocol/codes.ts";

/** What OpenCode's own share says of one entity. */
export interface SyncItem {
	readonly type: OpType;
	readonly key: string;
	/** Canonical JSON text. */
	readonly payload: string;
	/** The session that it says it is of; undefined for what says nothing. */
	readonly session_id: string | undefined;
}

const Id = z.string().min(1);

/** An item as OpenCode sends it: what it must have to be filed; the rest is its own. */
const Told = z.discriminatedUnion("type", [
	z.object({ type: z.literal("session"), data: z.looseObject({ id: Id }) }),
	z.object({ type: z.literal("message"), data: z.looseObject({ id: Id, sessionID: Id }) }),
	z.object({ type: z.literal("part"), data: z.looseObject({ id: Id, messageID: Id, sessionID: Id }) }),
	z.object({ type: z.literal("session_diff"), data: z.array(z.unknown()) }),
	z.object({ type: z.literal("model"), data: z.array(z.unknown()) }),
]);

const UNKNOWN = {
	code: "invalid_payload" as Rejection,
	reason: "It is no session, message, part, session_diff or model, or lacks an id.",
};
export type UnknownItem = typeof UNKNOWN;

/** One element of a sync's `data`, filed under its key; or why it cannot be. */
export function itemOf(value: unknown): SyncItem | UnknownItem {
	const parsed = Told.safeParse(value);
	if (!parsed.success) return UNKNOWN;
	const told = parsed.data;
	return { type: told.type, ...placeOf(told), payload: canonicalJson((value as { data: unknown }).data) };
}

function placeOf(told: z.infer<typeof Told>): Pick<SyncItem, "key" | "session_id"> {
	switch (told.type) {
		case "session":
			return { key: keys.session, session_id: told.data.id };
		case "message":
			return { key: keys.message(told.data.id), session_id: told.data.sessionID };
		case "part":
			return { key: keys.part(told.data.messageID, told.data.id), session_id: told.data.sessionID };
		case "session_diff":
			return { key: keys.sessionDiff, session_id: undefined };
		case "model":
			return { key: keys.model, session_id: undefined };
	}
}

interface Timed {
	readonly time?: { readonly updated?: unknown; readonly completed?: unknown; readonly end?: unknown } | null;
	readonly state?: { readonly status?: unknown } | null;
}

/**
 * True where one state of an entity is certainly from before another: OpenCode does not wait for one sync to end before it
 * sends the next, so that they may overtake each other. A session tells when it was touched, an answer and its parts
 * whether they are over. Of two states that tell neither, the one that comes later counts.
 */
export function isEarlier(type: OpType, payload: string, than: string): boolean {
	if (type !== "session" && type !== "message" && type !== "part") return false;
	const stage = STAGES[type];
	const [one, other]: unknown[] = [JSON.parse(payload), JSON.parse(than)];
	return stage((one ?? {}) as Timed) < stage((other ?? {}) as Timed);
}

const TOOL_STAGES: readonly unknown[] = ["pending", "running"];

/** What only grows as an entity goes on. */
const STAGES = {
	session: ({ time }: Timed) => (typeof time?.updated === "number" ? time.updated : 0),
	message: ({ time }: Timed) => (typeof time?.completed === "number" ? 1 : 0),
	part({ time, state }: Timed) {
		const tool = TOOL_STAGES.indexOf(state?.status);
		if (state?.status !== undefined) return tool === -1 ? TOOL_STAGES.length : tool;
		return typeof time?.end === "number" ? 1 : 0;
	},
};
