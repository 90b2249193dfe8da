import { type CreateKey, createKeysOf } from "../model/identity.ts";
import { ensureSecret, type SecretKind } from "./secret-file.ts";

const IDENTITY: SecretKind = {
	name: "identity",
	missing: "Give this user access to it.",
	wrong: "Restore it from a backup. Or move it away: a new one is made, and shares that the outbox still knows stay.",
};

/**
 * This machine's create keys, from the identity at `path`.
 *
 * The file is made on first use and then read once, so that a full disk keeps nobody from sending what is pending: only
 * a share that has yet to be made waits for it.
 */
export function createKeysIn(path: string): CreateKey {
	let derive: CreateKey | undefined;
	return (...facts) => {
		derive ??= createKeysOf(ensureSecret(path, IDENTITY));
		return derive(...facts);
	};
}

/** Makes the identity unless there is one. Throws OutboxError config, read_only, disk_full, io. */
export function ensureIdentity(path: string): void {
	ensureSecret(path, IDENTITY);
}
