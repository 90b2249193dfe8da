import type { LiveText, Ring } from "../source/doorbell.ts";

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
 */
export function newsOf(event: unknown, directory: string | undefined): News | undefined {
	const { type, properties } = (event ?? {}) as { type?: unknown; properties?: Record<string, unknown> };
	if (typeof type !== "string") return undefined;
	if (type === "message.part.delta") return liveOf(properties);
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

function liveOf(properties: Record<string, unknown> | undefined): News | undefined {
	const { sessionID, messageID, partID, field, delta } = properties ?? {};
	for (const value of [sessionID, messageID, partID, field, delta]) if (typeof value !== "string") return undefined;
	const live = { session_id: sessionID, message_id: messageID, part_id: partID, field, delta } as LiveText;
	return { live };
}

/** Versions differ in where they say it. */
function sessionOf(type: string, properties: Record<string, unknown> | undefined): string | undefined {
	const info = properties?.info as Record<string, unknown> | undefined;
	const part = properties?.part as Record<string, unknown> | undefined;
	const own = type.startsWith("session.") ? info?.id : undefined;
	const id = properties?.sessionID ?? own ?? info?.sessionID ?? part?.sessionID;
	return typeof id === "string" ? id : undefined;
}
