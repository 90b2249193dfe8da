import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { systemClock } from "../src/model/clock.ts";
import type { AppendBatch } from "../src/protocol/schema.ts";
import { SHARE_DATABASE } from "../src/server/node.ts";
import { ShareRules } from "../src/server/share.ts";
import { openDatabase } from "../src/sqlite/database.ts";
import type { Sqlite } from "../src/sqlite/driver.ts";
import type { Context } from "./figure.ts";
import { seconds } from "./measure.ts";
import { op } from "./ops.ts";

const KEY = "server-key-of-the-bench-0123456789abcdef";

/** The ops from `from` to before `to` of a session as the client seals them. */
export function batchOf(from: number, to: number, capability_epoch: number): AppendBatch {
	const name = (n: number) => `batch_${String(n).padStart(20, "0")}`;
	const ops = Array.from({ length: to - from }, (_, seq) => ({
		...op("ses_1", from + seq),
		...{ batch_id: name(from), seq, expected_cursor: from + seq, capability_epoch },
	}));
	return { batch_id: name(from), ops, source_watermark: { seq: to - 1, event_id: `evt_ses_1_${to - 1}` } };
}

export function batchesOf(ops: number, perBatch: number, capability_epoch: number): AppendBatch[] {
	const starts = Array.from({ length: Math.ceil(ops / perBatch) }, (_, n) => n * perBatch);
	return starts.map((from) => batchOf(from, Math.min(ops, from + perBatch), capability_epoch));
}

/** The server's rules on a database of their own, without a server, and a share to append to. */
export async function openRules({ folder }: Context) {
	const database = await openDatabase(join(folder, `share-${randomBytes(4).toString("hex")}.db`), SHARE_DATABASE);
	database.exec("PRAGMA secure_delete = ON");
	const url = (slug: string) => `http://127.0.0.1/share/${slug}`;
	const rules = new ShareRules(await database.orm(), {
		clock: systemClock,
		random: randomBytes,
		serverKeys: [KEY],
		url,
	});
	const grant = rules.createShare(KEY, { session_id: "ses_1", create_key: "c".repeat(43) });
	return { database, rules, holder: rules.redeemShare(grant.share_id, grant.secret) };
}

/** Ops per second of the rules, called in this process. */
export async function ruled(context: Context, ops: number, perBatch: number): Promise<number> {
	const { database, rules, holder } = await openRules(context);
	const batches = batchesOf(ops, perBatch, holder.capability_epoch);
	const took = await seconds(() => {
		for (const batch of batches) rules.appendOps(holder, batch);
	});
	database.close();
	return ops / took;
}

/**
 * Ops per second of one statement per table and batch, on the same tables: what the same rows cost without a verdict, a
 * check of the payload, a digest.
 */
export async function handWritten(context: Context, ops: number, perBatch: number): Promise<number> {
	const { database, holder } = await openRules(context);
	const batches = batchesOf(ops, perBatch, holder.capability_epoch);
	const write = writer(database, holder.share_id);
	const took = await seconds(() => batches.forEach(write));
	database.close();
	return ops / took;
}

function writer(database: Sqlite, share_id: string): (batch: AppendBatch) => void {
	const entities = database.prepare(`
		INSERT INTO entity (share_id, key, type, payload, digest, bytes, position)
		SELECT ?, value ->> 'key', value ->> 'type', value ->> 'payload', '', 0, value ->> 'expected_cursor'
		FROM json_each(?) WHERE true ON CONFLICT (share_id, key) DO UPDATE SET type = excluded.type,
			payload = excluded.payload, digest = excluded.digest, bytes = excluded.bytes, position = excluded.position`);
	const ledger = database.prepare(`
		INSERT INTO ledger (share_id, position, op_id)
		SELECT ?, value ->> 'expected_cursor', value ->> 'op_id' FROM json_each(?)`);
	const advance = database.prepare("UPDATE share SET cursor = cursor + ? WHERE share_id = ?");
	return ({ ops }) => {
		const text = JSON.stringify(ops);
		database.transaction(() => {
			entities.run(share_id, text);
			ledger.run(share_id, text);
			advance.run(ops.length, share_id);
		});
	};
}
