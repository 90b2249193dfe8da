import type { DurableObjectState } from "@cloudflare/workers-types";
import { assert } from "../../model/assert.ts";
import { LIMITS, type ShareLimits } from "../../protocol/limits.ts";
import type { QuotaLimits } from "../quota.ts";
import type { DirectoryObject } from "./directory-object.ts";
import type { ShareObject } from "./share-object.ts";
import type { WatchObject } from "./watch-object.ts";

/** The bindings of the Worker (deploy/cloudflare/wrangler.jsonc). */
export interface Env {
	/** One object per share, named by its id. */
	readonly SHARE: Namespace<ShareObject>;
	/** One per owner, named by `owner/` and the owner's hash; and `strangers`, which records refusals about no share. */
	readonly DIRECTORY: Namespace<DirectoryObject>;
	/** One per share that is watched, named by its id. */
	readonly WATCH: Namespace<WatchObject>;
	/** Who may make shares: secrets, one a line. */
	readonly SERVER_KEYS: string;
	/** Who may restore shares; a secret, of 32 characters at least. Without it nobody may. */
	readonly OPERATOR_KEY?: string;
	/** Where people reach the server, without a trailing slash: the origin of the links it gives out. */
	readonly PUBLIC_URL?: string;
	/** "true": OpenCode's own share, which shows no key, may make shares here. */
	readonly OPENCODE_SHARE?: string;
	/** Bytes of payloads that one share may hold. */
	readonly SHARE_BYTES?: string;
	/** How long one WebSocket may last, in seconds, and how many calls it may make. */
	readonly SESSION_SECONDS?: string;
	readonly SESSION_CALLS?: string;
	/** This package's version. */
	readonly VERSION?: string;
}

/** What can be called of an object. Answers are plain data. */
export type Stub<T> = {
	readonly [Name in keyof T as T[Name] extends (...args: never) => unknown ? Name : never]: T[Name] extends (
		...args: infer Args
	) => infer Answer
		? (...args: Args) => Promise<Awaited<Answer>>
		: never;
};

export interface Namespace<T> {
	getByName(name: string): Stub<T>;
}

/**
 * What a share server takes on this host. A row of an object's SQLite has at most 2 MB, payload, key and all, which no
 * local runtime enforces; a share that was written with larger ops elsewhere is not brought here.
 */
export const WORKER_LIMITS: ShareLimits = { ...LIMITS, op_bytes: 1_900_000 };

/** Short of the 10 GB that the platform lets an object have, so that a full share is told as such. */
const SHARE_BYTES_MAX = 8_000_000_000;

export function quotasOf({ SHARE_BYTES }: Env): QuotaLimits {
	return { shareBytes: Math.min(Number(SHARE_BYTES) || SHARE_BYTES_MAX, SHARE_BYTES_MAX) };
}

export function serverKeysOf({ SERVER_KEYS }: Pick<Env, "SERVER_KEYS">): string[] {
	return (SERVER_KEYS ?? "")
		.split("\n")
		.map((key) => key.trim())
		.filter((key) => key !== "");
}

export function isOpencodeShareOpen({ OPENCODE_SHARE }: Env): boolean {
	return OPENCODE_SHARE === "true";
}

export function ownerDirectory({ DIRECTORY }: Env, owner: string): Stub<DirectoryObject> {
	return DIRECTORY.getByName(`owner/${owner}`);
}

/** The name that an object was reached by; every object here has one. */
export function nameOf({ id }: DurableObjectState): string {
	assert(id.name !== undefined, "objects are reached by their names");
	return id.name;
}
