import { ensureSecret, readSecret, type SecretKind } from "./secret-file.ts";

const SERVER_KEY: SecretKind = {
	name: "server key",
	missing: "Name the file that holds the server's key with --server-key-file.",
	wrong: "Put the server's key into it, on one line and nothing else.",
};

/** Reads a share server's key from its file (secret-file.ts). Throws OutboxError config. */
export function readServerKey(path: string): string {
	return readSecret(path, SERVER_KEY);
}

/** The embedded server's key, made on first use (secret-file.ts). Throws OutboxError config, read_only, disk_full, io. */
export function ensureServerKey(path: string): string {
	return ensureSecret(path, SERVER_KEY);
}
