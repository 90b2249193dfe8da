import { keys, messageIdOf, type OpType } from "../model/op.ts";
import type { Sqlite } from "../sqlite/driver.ts";

/** The keys of a message's parts: from the first to before the last. "0" is the character after "/". */
export function partsRange(messageId: string): readonly [from: string, to: string] {
	const prefix = keys.partsOf(messageId);
	return [prefix, `${prefix.slice(0, -1)}0`];
}

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
