import type { Entity } from "./entity.ts";
import type { Rules } from "./rules.ts";
import type { Holder } from "./share.ts";

/** Keys asked for at once: removed ones cost nothing but their place. */
const KEYS_AT_ONCE = 500;

/**
 * A share as OpenCode's `import` reads it: a JSON array of `{type, data}`, first the session, then its messages, then
 * their parts.
 *
 * Holds a few entities at a time. What is removed meanwhile is left out; when the share itself goes, the stream breaks off,
 * so that nobody takes half of it for the whole.
 *
 * @param redact what it breaks off with: a host may show that error to the client.
 */
export async function exportStream(
	rules: Rules,
	holder: Holder,
	redact: (error: unknown) => Error,
): Promise<ReadableStream<Uint8Array>> {
	const keys = await rules.exportKeys(holder);
	const encoder = new TextEncoder();
	let next = 0;
	let separator = "[";
	const nextChunk = async () => {
		let chunk = "";
		const found = await rules.entities(holder, keys.slice(next, next + KEYS_AT_ONCE));
		next += found.length;
		for (const entity of found) {
			if (!entity) continue;
			chunk += `${separator}{"type":"${entity.type}","data":${dataOf(entity)}}`;
			separator = ",\n";
		}
		if (next < keys.length) return chunk;
		return `${chunk}${separator === "[" ? "[]" : "]"}`;
	};
	return new ReadableStream(
		{
			async pull(controller) {
				try {
					controller.enqueue(encoder.encode(await nextChunk()));
					if (next === keys.length) controller.close();
				} catch (error) {
					controller.error(redact(error));
				}
			},
		},
		{ highWaterMark: 0 },
	);
}

/** The payload is JSON already. OpenCode keeps a session's models as a list. */
function dataOf({ type, payload }: Entity): string {
	return type === "model" && !payload.trimStart().startsWith("[") ? `[${payload}]` : payload;
}
