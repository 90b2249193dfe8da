import { sha256 } from "./digest.ts";
import { digestOf } from "./json.ts";
import type { OpIntent } from "./op.ts";

type Head = Pick<OpIntent, "op_id" | "type" | "key">;

/**
 * What an op's bytes are checked against whenever they are reserved: the first half of a hex sha256, 32 characters.
 *
 * @param digest digestOf its payload.
 */
export function opHash({ op_id, type, key }: Head, digest: string): string {
	return sha256(`${op_id}\n${type}\n${key}\n`, digest).slice(0, 32);
}

/** Whether an op is what its hash was made of. Outboxes of before bear another one, of 64 characters, until they are drained. */
export function isAsHashed(op: OpIntent, hash: string): boolean {
	if (hash.length !== 64) return opHash(op, digestOf(op.payload)) === hash;
	return sha256(`${op.op_id}\n${op.type}\n${op.key}\n`, op.payload) === hash;
}
