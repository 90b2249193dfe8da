import { assert } from "../model/assert.ts";
import type { Rejection } from "../protocol/codes.ts";
import { KEY_CHARS_MAX, type ShareLimits } from "../protocol/limits.ts";
import { ShareRefusal } from "../protocol/refusal.ts";
import type { AppendBatch, DurableOp, OpAck, ShareGrant } from "../protocol/schema.ts";
import type { AuditLog } from "./audit.ts";
import { newCreateKey, newOpId, type RandomBytes } from "./credential.ts";
import type { Entities } from "./entity.ts";
import type { Grants } from "./grants.ts";
import { isEarlier, type SyncItem } from "./opencode-item.ts";
import { flawOf } from "./payload.ts";
import { refuseGone } from "./refusals.ts";
import type { Registry, ShareRow } from "./registry.ts";

/**
 * Whom a share belongs to that was made without a server key: no key has this hash, so nobody lists or claims it, and no
 * `restore --all` brings what a stranger wrote.
 */
export const NOBODY = "0".repeat(64);

export interface OpencodeSharesOptions {
	/** Whether shares may be made. Those that there are can be written and deleted either way. */
	readonly isOpen: boolean;
	readonly limits: ShareLimits;
	readonly random: RandomBytes;
	readonly registry: Registry;
	readonly grants: Grants;
	readonly entities: Entities;
	readonly audit: AuditLog;
	/** Runs one call in one transaction, and records what it is refused with. */
	readonly decide: <T>(method: string, shareId: string | null, body: () => T) => T;
	readonly apply: (row: ShareRow, batch: AppendBatch) => OpAck;
	readonly remove: (row: ShareRow, method: string) => void;
}

export interface SyncAck {
	readonly share_id: string;
	readonly cursor: number;
	readonly applied: number;
	/** Items that say what is there already, or what it was before. */
	readonly unchanged: number;
	readonly rejected: readonly { key: string; code: Rejection; reason: string }[];
}

/**
 * What OpenCode's own share may do (config `enterprise.url`): make a share, say what its session is like, delete it.
 *
 * It names a share by its slug and shows the secret with every call; it has neither positions nor op ids. So the server
 * makes the ops, on top of the cursor, and from content: what is there already makes none. That gives one effect to a call
 * that is repeated, however late, unless the entity has changed and changed back meanwhile.
 */
export class OpencodeShares {
	readonly #options: OpencodeSharesOptions;

	constructor(options: OpencodeSharesOptions) {
		this.#options = options;
	}

	/**
	 * Makes a share, a new one each time: a session's id stands in every copy of it, so it must not be worth its secret.
	 * Shares that the session has already stay as they are. Code denied.
	 *
	 * @param create_key that nobody keeps.
	 */
	create(session_id: string, create_key = newCreateKey(this.#options.random)): ShareGrant {
		const { isOpen, decide, grants, audit } = this.#options;
		const method = "createForOpencode";
		return decide(method, null, () => {
			if (!isOpen) throw new ShareRefusal("denied", "This server makes no shares for OpenCode's own share.");
			const grant = grants.create(NOBODY, { session_id, create_key });
			audit.record({ event: "granted", method, share_id: grant.share_id });
			return grant;
		});
	}

	/**
	 * Brings a share to what the items say, in one transaction; items that cannot be taken are left out and told. To be
	 * called with at most `ops_per_batch` items, each key once. Codes: not_found, denied, revoked.
	 */
	sync(slug: string, secret: string, items: readonly SyncItem[]): SyncAck {
		const { decide, grants, audit, apply } = this.#options;
		const method = "syncFromOpencode";
		return decide(method, this.#named(slug), () => {
			const row = grants.proven(grants.linked(slug), secret);
			const { share_id } = row;
			refuseGone(row);
			audit.record({ event: "redeemed", method, share_id });
			const { ops, rejected } = this.#opsOf(row, items);
			const unchanged = items.length - ops.length - rejected.length;
			const [first] = ops;
			if (!first) return { share_id, cursor: row.cursor, applied: 0, unchanged, rejected };
			const ack = apply(row, { batch_id: first.batch_id, ops, source_watermark: null });
			assert(ack.applied.length === ops.length, "ops that the server made itself fit its cursor");
			return { share_id, cursor: ack.cursor, applied: ops.length, unchanged, rejected };
		});
	}

	/**
	 * Deletes the content and leaves a tombstone; once more, it does nothing: OpenCode keeps its secret until it has heard
	 * that this was done. Codes: not_found, denied, revoked.
	 *
	 * @returns the share's id.
	 */
	delete(slug: string, secret: string): string {
		const { decide, grants, remove } = this.#options;
		const method = "deleteForOpencode";
		return decide(method, this.#named(slug), () => {
			const row = grants.proven(grants.linked(slug), secret);
			if (row.deleted_at === null) remove(row, method);
			return row.share_id;
		});
	}

	/** The items that bring something new, as ops from the share's cursor on, and those that can never be applied. */
	#opsOf(row: ShareRow, items: readonly SyncItem[]): { ops: DurableOp[]; rejected: SyncAck["rejected"] } {
		const { entities, limits, random } = this.#options;
		const batch_id = newOpId(random);
		const ops: DurableOp[] = [];
		const rejected: SyncAck["rejected"][number][] = [];
		for (const { type, key, payload, session_id } of items) {
			const seq = ops.length;
			const at = { batch_id, seq, expected_cursor: row.cursor + seq, capability_epoch: row.capability_epoch };
			const op: DurableOp = { op_id: newOpId(random), ...at, type, key, payload };
			const flaw = key.length > KEY_CHARS_MAX ? LONG : (flawOf(op, limits) ?? foreign(row, session_id));
			if (flaw) {
				rejected.push({ key: key.slice(0, KEY_CHARS_MAX), ...flaw });
				continue;
			}
			const stored = entities.get(row.share_id, key)?.payload;
			if (stored !== payload && !(stored !== undefined && isEarlier(type, payload, stored))) ops.push(op);
		}
		return { ops, rejected };
	}

	/** Whom a refusal is recorded about. */
	#named(slug: string): string | null {
		return this.#options.registry.bySlug(slug)?.share_id ?? null;
	}
}

type Flaw = { readonly code: Rejection; readonly reason: string };

const LONG: Flaw = {
	code: "invalid_payload",
	reason: `An id is too long; a key has at most ${KEY_CHARS_MAX} characters.`,
};

function foreign(row: ShareRow, session_id: string | undefined): Flaw | undefined {
	if (session_id === undefined || session_id === row.session_id) return undefined;
	return { code: "invalid_payload", reason: "It is of another session than the share's." };
}
