import { keys, type OpIntent, type Watermark } from "../src/model/op.ts";
import type { Capture } from "../src/outbox/append.ts";

/** Bytes of an op's payload, unless a figure says otherwise. */
export const PAYLOAD_BYTES = 1024;

/** An id as OpenCode makes them: 26 characters behind its kind, ascending. */
function ascending(kind: string, n: number): string {
	return `${kind}_${n.toString(16).padStart(12, "0")}${"A".repeat(14)}`;
}

/** The n-th op of a session: a part that is changed once, of `bytes` bytes of JSON. */
export function op(session: string, n: number, bytes = PAYLOAD_BYTES): OpIntent {
	const [message, part] = [ascending("msg", Math.floor(n / 20)), ascending("prt", n)];
	const head = `{"id":"${part}","messageID":"${message}","sessionID":"${session}","text":"`;
	return {
		op_id: `evt_${session}_${n}`,
		type: "part",
		key: keys.part(message, part),
		payload: `${head}${"x".repeat(Math.max(0, bytes - head.length - 2))}"}`,
	};
}

/** Ops `from` to before `to` as one capture; the watermark is the number of the last. */
export function capture(session: string, from: number, to: number, bytes = PAYLOAD_BYTES): Capture {
	return {
		session_id: session,
		facts: from === 0 ? { parent_id: null, title: session, directory: "/bench" } : null,
		...{ from: watermark(session, from), to: watermark(session, to) },
		items: Array.from({ length: to - from }, (_, n) => op(session, from + n, bytes)),
	};
}

/** A session from its begin, as so many captures of so many ops each. */
export function capturesOf(group: number, groups: number): Capture[] {
	return Array.from({ length: groups }, (_, n) => capture("ses_1", n * group, (n + 1) * group));
}

function watermark(session: string, n: number): Watermark | null {
	return n === 0 ? null : { seq: n - 1, event_id: `evt_${session}_${n - 1}` };
}
