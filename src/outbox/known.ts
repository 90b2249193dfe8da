import { messageIdOf, messageKeyOf, type OpType, partsRange } from "../model/op.ts";
import type { Sqlite } from "../sqlite/driver.ts";

/** An entity's digest as everybody else has it: hex, 64 characters; none where it was never known. In its row it is a blob. */
export const DIGEST = "lower(hex(entity.digest))";

/** Tells whether there is something captured for a removal to remove: its entity, or for a message any part of it. */
export function isRemovable(sqlite: Sqlite) {
	const entity = sqlite.prepare("SELECT 1 FROM entity WHERE session_id = ? AND key = ?");
	const anyPart = sqlite.prepare("SELECT 1 FROM entity WHERE session_id = ? AND key >= ? AND key < ? LIMIT 1");
	return (sessionId: string, { type, key }: { type: OpType; key: string }): boolean => {
		if (entity.get(sessionId, key)) return true;
		const messageId = messageIdOf(key);
		if (type !== "message_removed" || messageId === undefined) return false;
		return anyPart.get(sessionId, ...partsRange(messageId)) !== undefined;
	};
}

/**
 * What an entity's op depends on: the op that creates the message which a part belongs to, while the server does not have it.
 *
 * @param firstOp of a key, `entity.first_op`; undefined where nothing of it is captured.
 * @returns as `op.depends_id`.
 */
export function dependencyOf(
	key: string,
	ackedId: number,
	firstOp: (key: string) => number | undefined,
): number | null {
	const message = messageKeyOf(key);
	const first = message === undefined ? undefined : firstOp(message);
	return first !== undefined && first > ackedId ? first : null;
}
