import { sha256 } from "./digest.ts";
import type { OpIntent } from "./op.ts";

/** What an op's bytes are checked against whenever they are reserved: hex sha256, 64 characters. */
export function opHash(op: OpIntent): string {
	return sha256(`${op.op_id}\n${op.type}\n${op.key}\n`, op.payload);
}
