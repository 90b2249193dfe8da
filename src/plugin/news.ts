import type { LiveText, Ring } from "../source/doorbell.ts";
import type { LiveEar } from "../source/live-ear.ts";

/** What an event of OpenCode's means to the agent. */
export type News = { readonly ring: Ring } | { readonly live: LiveText };

/** Events after which OpenCode's database, or what its API tells, holds something new. */
const RINGS =
	/^(session\.(created|updated|deleted|diff|idle|compacted)|message\.(updated|removed)|message\.part\.(updated|removed)|todo\.updated)$/;
/** A turn or an undo has ended. */
const SETTLED = /^session\.(idle|diff|compacted)$/;

/**
 * Undefined for what the agent need not hear of. Looks at a few members, whatever the event's size; never throws.
 *
 * @param directory where the OpenCode works that told it.
 * @param ear what was heard of streaming text before, in that directory.
 */
export function newsOf(event: unknown, directory: string | undefined, ear: LiveEar): News | undefined {
	const { id, type, properties } = (event ?? {}) as {
		id?: unknown;
		type?: unknown;
		properties?: Record<string, unknown>;
	};
	if (typeof type !== "string") return undefined;
	const live = ear.hear({ id, type, ...(properties ? { properties } : {}) });
	if (live !== undefined) return { live };
	if (!RINGS.test(type)) return undefined;
	const session_id = sessionOf(type, properties);
	return {
		ring: {
			settled: SETTLED.test(type),
			...(session_id === undefined ? {} : { session_id }),
			...(directory === undefined ? {} : { directory }),
		},
	};
}

/** Versions differ in where they say it. */
function sessionOf(type: string, properties: Record<string, unknown> | undefined): string | undefined {
	const info = properties?.info as Record<string, unknown> | undefined;
	const part = properties?.part as Record<string, unknown> | undefined;
	const own = type.startsWith("session.") ? info?.id : undefined;
	const id = properties?.sessionID ?? own ?? info?.sessionID ?? part?.sessionID;
	return typeof id === "string" ? id : undefined;
}
