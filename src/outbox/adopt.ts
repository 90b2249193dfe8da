import type { ShareGrant } from "../protocol/schema.ts";
import type { Sqlite } from "../sqlite/driver.ts";
import { DIGEST } from "./known.ts";

/** A share that another machine made and that is to be this one's. */
export interface Adoption {
	readonly session_id: string;
	/** As `share.server_url`. */
	readonly server_url: string;
	readonly share_id: string;
	readonly slug: string;
	readonly url: string;
	/** What this machine will hold it by; stored before the server hears of it. */
	readonly create_key: string;
	readonly secret: string;
	/** The create key's (model/identity.ts). */
	readonly generation: number;
}

/** What a session is parked with between the two halves of an adoption. */
export const RESTORING = "restoring";

/**
 * Takes a share over in two halves, so that a kill in between leaves neither a second share nor a session that is taken
 * for deleted because it is not here yet:
 *
 *     adopt (stored, nothing is captured or sent) -> the server is asked -> the session is brought here -> adopted
 *
 * Each is safe to repeat.
 */
export function adoptVerbs(sqlite: Sqlite) {
	const hold = sqlite.prepare(`
		INSERT INTO session (session_id, wanted, parked_code, last_error, generation) VALUES (?, 'never', '${RESTORING}', ?, ?)
		ON CONFLICT (session_id) DO UPDATE SET wanted = 'never', parked_code = '${RESTORING}',
			last_error = excluded.last_error, generation = excluded.generation`);
	const put = sqlite.prepare(`
		INSERT INTO share (session_id, server_url, create_key, share_id, slug, url, secret, capability_epoch, created_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (session_id) DO UPDATE SET server_url = excluded.server_url, create_key = excluded.create_key,
			share_id = excluded.share_id, slug = excluded.slug, url = excluded.url, secret = excluded.secret,
			capability_epoch = excluded.capability_epoch`);
	const epoch = sqlite.prepare("UPDATE share SET capability_epoch = ? WHERE session_id = ?");
	const release = sqlite.prepare(`
		UPDATE session SET wanted = 'share', parked_code = NULL, last_error = NULL, attempts = 0, next_retry_at = 0,
			compare_reason = ? WHERE session_id = ?`);
	const acknowledged = sqlite.prepare<{ key: string; digest: string }>(`
		SELECT key, ${DIGEST} AS digest FROM entity JOIN session USING (session_id) WHERE session_id = ? AND last_op <= acked_id`);
	return {
		/** Stores what this machine will hold the share by, and keeps everybody's hands off the session. */
		adopt(adoption: Adoption, now: number): void {
			const { session_id, server_url, create_key, share_id, slug, url, secret, generation } = adoption;
			sqlite.transaction(() => {
				hold.run(session_id, "its restore has not ended", generation);
				put.run(session_id, server_url, create_key, share_id, slug, url, secret, 0, now);
			});
		},
		/** The share is this machine's and the session is here: from now on it is synced, once it was compared. */
		adopted(sessionId: string, { capability_epoch }: ShareGrant): void {
			sqlite.transaction(() => {
				epoch.run(capability_epoch, sessionId);
				release.run("its share was taken over from another machine", sessionId);
			});
		},
		/** What the share is known to hold of what is captured: key to digest. */
		acknowledgedDigests: (sessionId: string): Map<string, string> =>
			new Map(acknowledged.all(sessionId).map(({ key, digest }) => [key, digest])),
	};
}
