import { randomBytes } from "node:crypto";
import { closeSync, fstatSync, fsyncSync, linkSync, mkdirSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { messageOf, OutboxError } from "../model/errors.ts";
import { asStorageError } from "../sqlite/errors.ts";

/** A bearer secret as the protocol takes it (protocol/schema.ts): 32 to 200 visible characters. */
const SECRET = /^[\x21-\x7e]{32,200}$/;
/** Of which nothing else can be in the file. */
const FILE_BYTES_MAX = 1024;

/** What a secret file is, for messages. */
export interface SecretKind {
	/** Completes "The … file". */
	readonly name: string;
	/** What to do when it cannot be read, and when it does not hold what it should. */
	readonly missing: string;
	readonly wrong: string;
}

/**
 * Reads a secret from its file.
 *
 * As ssh does with its keys: a file of this user that others can read is refused; one that belongs to somebody else
 * (a mounted secret) is that one's business. Windows has no modes.
 *
 * @throws OutboxError config: missing, unreadable, readable by others, empty, no key. Never with the file's content.
 */
export function readSecret(path: string, kind: SecretKind): string {
	const { text, mode, uid, isFile } = readWhole(path, kind);
	const file = `The ${kind.name} file ${path}`;
	if (!isFile) throw new OutboxError("config", `${file} is no regular file.`);
	if (process.platform !== "win32" && uid === process.getuid?.() && (mode & 0o077) !== 0) {
		const octal = (mode & 0o777).toString(8).padStart(4, "0");
		throw new OutboxError("config", `${file} can be read by others (mode ${octal}).`, {
			hint: `chmod 600 ${path}. Where it is a mount: mount it with mode 0400, or run as another user.`,
		});
	}
	const secret = text.trim();
	if (secret === "") throw new OutboxError("config", `${file} is empty.`, { hint: kind.wrong });
	if (!SECRET.test(secret))
		throw new OutboxError("config", `${file} holds no key: expected 32 to 200 visible characters.`, {
			hint: kind.wrong,
		});
	return secret;
}

/**
 * A secret of this machine, made on first use: 32 random bytes as base64url, file 0600, folder 0700.
 *
 * The file appears whole or not at all, and of several processes at once the first one's stays: all return the same key.
 *
 * @throws OutboxError as `readSecret`, and read_only, disk_full, io when it cannot be made.
 */
export function ensureSecret(path: string, kind: SecretKind): string {
	const draft = `${path}.${randomBytes(6).toString("hex")}`;
	try {
		mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
		if (exists(path)) return readSecret(path, kind);
		writeDurably(draft, `${randomBytes(32).toString("base64url")}\n`);
		// Unlike a rename, a link never replaces what another process has put there meanwhile.
		linkSync(draft, path);
	} catch (error) {
		if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw asStorageError(error, path);
	} finally {
		rmSync(draft, { force: true });
	}
	return readSecret(path, kind);
}

function readWhole(path: string, kind: SecretKind): { text: string; mode: number; uid: number; isFile: boolean } {
	let file: number | undefined;
	try {
		file = openSync(path, "r");
		const stat = fstatSync(file);
		const buffer = Buffer.alloc(FILE_BYTES_MAX);
		const length = stat.isFile() ? readSync(file, buffer) : 0;
		return { text: buffer.toString("utf8", 0, length), mode: stat.mode, uid: stat.uid, isFile: stat.isFile() };
	} catch (error) {
		throw new OutboxError("config", `The ${kind.name} file ${path} cannot be read (${messageOf(error)}).`, {
			cause: error,
			hint: kind.missing,
		});
	} finally {
		if (file !== undefined) closeSync(file);
	}
}

function writeDurably(path: string, text: string): void {
	const file = openSync(path, "wx", 0o600);
	try {
		writeSync(file, text);
		fsyncSync(file);
	} finally {
		closeSync(file);
	}
}

function exists(path: string): boolean {
	try {
		closeSync(openSync(path, "r"));
		return true;
	} catch (error) {
		return (error as NodeJS.ErrnoException).code !== "ENOENT";
	}
}
