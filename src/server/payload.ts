import { Buffer } from "node:buffer";
import type { OpType } from "../model/op.ts";
import type { Rejection } from "../protocol/codes.ts";
import type { ShareLimits } from "../protocol/limits.ts";
import { depthOf } from "../protocol/nesting.ts";
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
