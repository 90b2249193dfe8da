import type { ShareGrant } from "../protocol/schema.ts";
import type { Sqlite } from "../sqlite/driver.ts";

/** A share that was asked for; the fields of the grant are null while the answer is unknown. */
export interface ShareRow {
	readonly session_id: string;
	readonly server_url: string;
	readonly create_key: string;
	readonly share_id: string | null;
	readonly slug: string | null;
	readonly url: string | null;
	readonly secret: string | null;
	readonly capability_epoch: number | null;
}

/** A share that the server has made. */
export type GrantedShare = ShareRow & { readonly share_id: string; readonly secret: string };

export function isGranted(share: ShareRow): share is GrantedShare {
	return share.share_id !== null && share.secret !== null;
}

/** Shares as this outbox holds them: asked for, granted, given up. */
export function grantVerbs(sqlite: Sqlite) {
	const one = sqlite.prepare<ShareRow>("SELECT * FROM share WHERE session_id = ?");
	const shared = sqlite.prepare<{ session_id: string }>(
		"SELECT session_id FROM share WHERE share_id IS NOT NULL ORDER BY session_id",
	);
	const ask = sqlite.prepare(
		"INSERT INTO share (session_id, server_url, create_key, created_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
	);
	const put = sqlite.prepare(
		"UPDATE share SET share_id = ?, slug = ?, url = ?, secret = ?, capability_epoch = ? WHERE session_id = ?",
	);
	const generation = sqlite.prepare<{ generation: number }>("SELECT generation FROM session WHERE session_id = ?");
	const epoch = sqlite.prepare("UPDATE share SET capability_epoch = ? WHERE session_id = ?");
	const giveUp = sqlite.prepare(`
		UPDATE share SET share_id = NULL, slug = NULL, url = NULL, secret = NULL, capability_epoch = NULL
		WHERE session_id = ?`);
	const parkForeign = sqlite.prepare(`
		UPDATE session SET parked_code = 'other_server', last_error = 'its share is on another server'
		WHERE parked_code IS NULL AND wanted <> 'never'
			AND session_id IN (SELECT session_id FROM share WHERE server_url <> ?)`);
	return {
		/** Sessions that have a share, by id. */
		shared: (): string[] => shared.all().map((row) => row.session_id),
		share: (sessionId: string): ShareRow | undefined => one.get(sessionId),
		/**
		 * Stores the intent to make a share, before the server hears of it; returns the one that was stored first.
		 *
		 * @param createKey 256 bits as base64url (model/identity.ts).
		 */
		ask(sessionId: string, serverUrl: string, createKey: string, now: number): ShareRow {
			ask.run(sessionId, serverUrl, createKey, now);
			return one.get(sessionId) as ShareRow;
		},
		/** Parks sessions whose share is on another server: nothing of theirs is shown to this one. */
		parkForeign: (serverUrl: string) => void parkForeign.run(serverUrl),
		granted: (sessionId: string, grant: ShareGrant) =>
			void put.run(grant.share_id, grant.slug, grant.url, grant.secret, grant.capability_epoch, sessionId),
		epoch: (sessionId: string, capabilityEpoch: number) => void epoch.run(capabilityEpoch, sessionId),
		/** How many shares of the session a person has taken back. */
		generation: (sessionId: string): number => generation.get(sessionId)?.generation ?? 0,
		/**
		 * The server has told that there is no such share, so it is asked for again, with the same key: if only our note
		 * of its id was damaged, or once the server's own backup is back, that is the same share again.
		 */
		giveUp: (sessionId: string) => void giveUp.run(sessionId),
	};
}
