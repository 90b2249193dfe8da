import { randomBytes } from "node:crypto";
import { digestOf } from "../model/json.ts";
import { keys } from "../model/op.ts";
import type { ShareGrant } from "../protocol/schema.ts";
import type { Connection, RedeemedShare } from "../transport/transport.ts";

/** What a throw-away share is filed under; no session of OpenCode's has such an id. */
const SESSION_ID = "ses_doctor";

/**
 * A share that is made to prove that a server does its work, and deleted again. It holds one op of a few bytes; what
 * stays on the server is a tombstone.
 */
export class ThrowAwayShare {
	readonly grant: ShareGrant;
	readonly #connection: Connection;
	#handle: RedeemedShare | undefined;
	#deleted = false;

	/** Proves that the server lets this key in. Throws ShareRefusal `denied` where it does not. */
	static async make(connection: Connection, serverKey: string): Promise<ThrowAwayShare> {
		const request = { session_id: SESSION_ID, create_key: randomBytes(32).toString("base64url") };
		return new ThrowAwayShare(connection, await connection.createShare(serverKey, request));
	}

	private constructor(connection: Connection, grant: ShareGrant) {
		this.#connection = connection;
		this.grant = grant;
	}

	/** Redeems the share, appends one op, and proves by its digest that the server has it. Throws what is not so. */
	async write(): Promise<void> {
		const { share_id, secret, capability_epoch } = this.grant;
		this.#handle = await this.#connection.redeem(share_id, secret);
		const payload = JSON.stringify({ id: SESSION_ID, title: "A share that opencode-outbox doctor has made" });
		const [op_id, batch_id, expected_cursor] = [`op_${share_id}`, `batch_${share_id}`, this.#handle.redemption.cursor];
		const op = {
			op_id,
			batch_id,
			seq: 0,
			expected_cursor,
			capability_epoch,
			type: "session",
			key: keys.session,
		} as const;
		const ack = await this.#handle.appendOps({ batch_id, ops: [{ ...op, payload }], source_watermark: null });
		if (ack.applied[0] !== op_id)
			throw new Error(`the server did not apply an op: ${ack.rejected[0]?.reason ?? "no reason"}`);
		const { entities } = await this.#handle.entityDigests();
		const held = entities.find(({ key }) => key === keys.session)?.digest;
		if (held !== digestOf(payload)) throw new Error("the server holds something else than it was sent");
	}

	/** Deletes the share; safe to repeat. */
	async delete(): Promise<void> {
		if (this.#deleted) return;
		const { share_id, secret } = this.grant;
		this.#handle ??= await this.#connection.redeem(share_id, secret);
		await this.#handle.deleteShare();
		this.#deleted = true;
	}
}
