import { keys, type OpIntent, type Watermark } from "../../src/model/op.ts";
import type { Burial, Capture } from "../../src/outbox/append.ts";

// Without vitest: child processes use it too, and Bun's transpiler cache mixes up what runs inside and outside of its tests.

export const S = "ses_1";

export function watermark(seq: number): Watermark {
	return { seq, event_id: `evt_${seq}` };
}

export function message(op_id: string, id: string, text = op_id): OpIntent {
	return { op_id, type: "message", key: keys.message(id), payload: JSON.stringify({ text }) };
}

export function part(op_id: string, messageId: string, id: string, text = op_id): OpIntent {
	return { op_id, type: "part", key: keys.part(messageId, id), payload: JSON.stringify({ text }) };
}

export function messageRemoved(op_id: string, id: string): OpIntent {
	return { op_id, type: "message_removed", key: keys.message(id), payload: JSON.stringify({ messageID: id }) };
}

export function partRemoved(op_id: string, messageId: string, id: string): OpIntent {
	return { op_id, type: "part_removed", key: keys.part(messageId, id), payload: JSON.stringify({ partID: id }) };
}

export function capture(
	from: number | null,
	to: number | null,
	items: readonly (OpIntent | Burial)[],
	session_id = S,
): Capture {
	const facts = { parent_id: null, title: `title of ${session_id}`, directory: "/work" };
	const [before, upTo] = [from, to].map((seq) => (seq === null ? null : watermark(seq)));
	return { session_id, facts, from: before ?? null, to: upTo ?? null, items };
}
