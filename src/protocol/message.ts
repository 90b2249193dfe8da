import type { RpcTransport } from "capnweb";
import { MESSAGE_DEPTH_MAX, MESSAGE_VALUES_MAX } from "./limits.ts";
import { CLOSE_BRACE, CLOSE_BRACKET, COMMA, endOfString, OPEN_BRACE, OPEN_BRACKET, QUOTE } from "./nesting.ts";

/**
 * What each side of our contract sends, by how its messages begin; capnweb itself takes more.
 *
 * Left out on purpose: `pipe` and `stream`, whose chunks pile up at the receiver without any bound, and pushing plain
 * values, which stay there until they are released. A server pushes nothing, since an agent exports nothing to call.
 */
const BEGINNINGS = {
	client: /^\["(?:push",\["pipeline",|pull",|resolve",|reject",|release",|abort",)/,
	/** To an agent, which has nothing to call. */
	server: /^\["(?:resolve",|reject",|release",|abort",)/,
};
export type Sender = keyof typeof BEGINNINGS;

/**
 * Tags of capnweb that no message of ours bears. `remap` runs a list of instructions on every member of another list, on
 * the receiver: a small message that costs any amount. A call that is handed a `promise` waits until its client keeps it.
 */
const REFUSED_TAGS: ReadonlySet<unknown> = new Set(["remap", "promise"]);
/** The longest of them with every letter escaped, and its quotes. */
const TAG_CHARS_MAX = 6 * "promise".length + 2;

/**
 * What is wrong with a message of capnweb before anything parses it, or undefined. One look at each character.
 *
 * JSON.parse and capnweb bound neither time nor memory by themselves: 18 MiB of brackets take seconds, in which the event
 * loop serves nobody.
 */
export function flawOfMessage(text: unknown, sender: Sender): string | undefined {
	if (typeof text !== "string") return "it is no text";
	if (!BEGINNINGS[sender].test(text)) return "it is of no kind that is taken here";
	let depth = 0;
	let values = 0;
	for (let index = 0; index < text.length; index++) {
		const code = text.charCodeAt(index);
		if (code === QUOTE) {
			const end = endOfString(text, index);
			if (end - index < TAG_CHARS_MAX && isFirstInList(text, index)) {
				const tag = literal(text.slice(index, end + 1));
				if (REFUSED_TAGS.has(tag)) return `it has a ${tag}`;
			}
			index = end;
		} else if (code === OPEN_BRACKET || code === OPEN_BRACE) {
			if (++depth > MESSAGE_DEPTH_MAX) return `it nests deeper than ${MESSAGE_DEPTH_MAX}`;
			if (++values > MESSAGE_VALUES_MAX) return `it has more than ${MESSAGE_VALUES_MAX} values`;
		} else if (code === COMMA) {
			if (++values > MESSAGE_VALUES_MAX) return `it has more than ${MESSAGE_VALUES_MAX} values`;
		} else if (code === CLOSE_BRACKET || code === CLOSE_BRACE) depth--;
	}
	return undefined;
}

/** @throws Error for a message that has a flaw; to be thrown at capnweb, which ends the session. */
export function refuseFlawed(text: unknown, sender: Sender): void {
	const flaw = flawOfMessage(text, sender);
	if (flaw !== undefined) throw new Error(`a message was refused unread: ${flaw}`);
}

/** A transport whose messages are looked at before capnweb sees them. */
export function guarded(transport: RpcTransport, sender: Sender): RpcTransport {
	return {
		send: (message) => transport.send(message),
		async receive() {
			const message = await transport.receive();
			refuseFlawed(message, sender);
			return message;
		},
		abort: (reason) => transport.abort?.(reason),
	};
}

function isFirstInList(text: string, index: number): boolean {
	let before = index - 1;
	while (before > 0 && text.charCodeAt(before) <= 0x20) before--;
	return text.charCodeAt(before) === OPEN_BRACKET;
}

function literal(text: string): unknown {
	if (!text.includes("\\")) return text.slice(1, -1);
	try {
		return JSON.parse(text);
	} catch {
		return undefined;
	}
}
