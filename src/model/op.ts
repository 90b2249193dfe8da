import { sha256 } from "./digest.ts";

/** What an op can say, and about which kind of entity. Closed: both sides refuse anything else. */
export const OP_TYPES = [
	"session",
	"message",
	"part",
	"session_diff",
	"model",
	"todo",
	"message_removed",
	"part_removed",
	"session_deleted",
] as const;
export type OpType = (typeof OP_TYPES)[number];

/** Ops that take an entity away. They are barriers: nothing collapses across them. */
export const REMOVALS: ReadonlySet<OpType> = new Set(["message_removed", "part_removed"]);

/**
 * Entity keys. A removal has the key of what it removes; a message's parts lie below `part/MESSAGE/`, so that removing
 * the message can take them along.
 */
export const keys = {
	session: "session",
	sessionDeleted: "session_deleted",
	sessionDiff: "session_diff",
	model: "model",
	todo: "todo",
	message: (messageId: string) => `message/${messageId}`,
	part: (messageId: string, partId: string) => `part/${messageId}/${partId}`,
	partsOf: (messageId: string) => `part/${messageId}/`,
} as const;

/** The keys of a message's parts: from the first to before the last. "0" is the character after "/". */
export function partsRange(messageId: string): readonly [from: string, to: string] {
	const prefix = keys.partsOf(messageId);
	return [prefix, `${prefix.slice(0, -1)}0`];
}

/** The message that an entity key belongs to; undefined for what belongs to the session itself. */
export function messageIdOf(key: string): string | undefined {
	const [kind, messageId] = key.split("/", 2);
	return kind === "message" || kind === "part" ? messageId : undefined;
}

/** The key of the message that a part belongs to; undefined for what is no part. */
export function messageKeyOf(key: string): string | undefined {
	const messageId = key.startsWith("part/") ? messageIdOf(key) : undefined;
	return messageId === undefined ? undefined : keys.message(messageId);
}

/**
 * A position in a source's log up to which everything is covered, without gaps.
 *
 * Never the number alone: a wiped log counts from 0 again, and only the event id tells the two apart.
 */
export interface Watermark {
	readonly seq: number;
	readonly event_id: string;
}

export function sameWatermark(a: Watermark | null, b: Watermark | null): boolean {
	return a === b || (a !== null && b !== null && a.seq === b.seq && a.event_id === b.event_id);
}

/** One change of one entity, before it has a position. */
export interface OpIntent {
	/** The source event's id, or a ULID for an op made by comparison. */
	readonly op_id: string;
	readonly type: OpType;
	readonly key: string;
	/** Canonical JSON text. */
	readonly payload: string;
}

/** What an op's bytes are checked against whenever they are reserved: hex sha256, 64 characters. */
export function opHash(op: OpIntent): string {
	return sha256(`${op.op_id}\n${op.type}\n${op.key}\n`, op.payload);
}
