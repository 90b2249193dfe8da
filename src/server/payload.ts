import { Buffer } from "node:buffer";
import type { OpType } from "../model/op.ts";
import type { Rejection } from "../protocol/codes.ts";
import type { ShareLimits } from "../protocol/limits.ts";
import type { DurableOp } from "../protocol/schema.ts";

const MESSAGE_KEY = /^message\/[^/]+$/;
const PART_KEY = /^part\/[^/]+\/[^/]+$/;

/** What the key of each type of op looks like. A misfit would be materialised where no removal finds it. */
const KEYS: Record<OpType, RegExp> = {
	session: /^session$/,
	message: MESSAGE_KEY,
	part: PART_KEY,
	session_diff: /^session_diff$/,
	model: /^model$/,
	todo: /^todo$/,
	message_removed: MESSAGE_KEY,
	part_removed: PART_KEY,
	session_deleted: /^session_deleted$/,
};

/** Why an op can never be applied, or undefined when it can. The reason has the facts and nothing of the payload. */
export function flawOf(op: DurableOp, limits: ShareLimits): { code: Rejection; reason: string } | undefined {
	const bytes = Buffer.byteLength(op.payload);
	if (bytes > limits.op_bytes)
		return { code: "too_large", reason: `The payload has ${bytes} bytes; at most ${limits.op_bytes} are taken.` };
	if (!KEYS[op.type].test(op.key))
		return { code: "invalid_payload", reason: `The key does not fit the type ${op.type}.` };
	const depth = depthOf(op.payload);
	if (depth > limits.payload_depth)
		return {
			code: "invalid_payload",
			reason: `The payload nests ${depth} deep; at most ${limits.payload_depth} are taken.`,
		};
	if (!isJson(op.payload)) return { code: "invalid_payload", reason: "The payload is not JSON." };
	return undefined;
}

function isJson(text: string): boolean {
	try {
		JSON.parse(text);
		return true;
	} catch {
		return false;
	}
}

/** The deepest nesting in JSON text, found without recursion and before anything is parsed. */
function depthOf(text: string): number {
	let depth = 0;
	let deepest = 0;
	for (let index = 0; index < text.length; index++) {
		const code = text.charCodeAt(index);
		if (code === QUOTE) index = endOfString(text, index);
		else if (code === OPEN_BRACKET || code === OPEN_BRACE) deepest = Math.max(deepest, ++depth);
		else if (code === CLOSE_BRACKET || code === CLOSE_BRACE) depth--;
	}
	return deepest;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/** Index of the quote that closes the string opened at `start`, or the text's length when none does. */
function endOfString(text: string, start: number): number {
	for (let index = start + 1; index < text.length; index++) {
		const code = text.charCodeAt(index);
		if (code === BACKSLASH) index++;
		else if (code === QUOTE) return index;
	}
	return text.length;
}
