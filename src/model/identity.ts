import { createHmac } from "node:crypto";

/**
 * The create key of a session's share on one server: 256 bits as base64url.
 *
 * @param generation how many shares the session had before that a person took back.
 */
export type CreateKey = (serverId: string, sessionId: string, generation: number) => string;

/**
 * Create keys that follow from this machine's identity, 32 random bytes that lie beside the outbox and not in it.
 *
 * So a share that was made survives the loss of the outbox: asked for again with the same key, the server answers with
 * the same share, slug and secret. It is as safe as a random key per share: HMAC-SHA256 under a secret key is a
 * pseudo-random function (RFC 2104), so keys of other sessions, all of which a server may know, tell nothing about this
 * one. The server is part of what is hashed, so that no server learns a key that is good at another one. The generation
 * is, so that a share that was taken back stays what it is: its key answers `revoked` for good.
 */
export function createKeysOf(identity: string): CreateKey {
	return (serverId, sessionId, generation) =>
		createHmac("sha256", identity)
			.update(JSON.stringify(["create key", serverId, sessionId, generation]))
			.digest("base64url");
}

/**
 * The secret of a share that was made or claimed with a create key: base64url, 43 characters.
 *
 * Derived, so that `createShare` can answer a repeated call with the same grant while the server keeps no secret: only
 * who has the create key can derive it, and the server has that just for the length of the call.
 */
export function firstSecret(createKey: string, shareId: string): string {
	return createHmac("sha256", createKey).update(`${shareId} share secret`).digest("base64url");
}
