import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import type { OpIntent } from "../../src/model/op.ts";
import type { Burial } from "../../src/outbox/append.ts";
import { type Outbox, openOutbox } from "../../src/outbox/outbox.ts";
import type { ReservedBatch } from "../../src/outbox/reserve.ts";
import type { SealLimits } from "../../src/outbox/seal.ts";
import { openSqlite, type SqlValue } from "../../src/sqlite/driver.ts";
import { discard } from "../evidence/folder.ts";
import { capture, S } from "./items.ts";

export * from "./items.ts";

export const WIDE: SealLimits = { ops_per_batch: 500, batch_bytes: 1 << 20, op_bytes: 8 << 20, sealed_ops: 2000 };

let cleanups: (() => void)[] = [];

/** Runs after the test, last one first, on vitest and on Bun (whose own afterEach belongs to one file). */
export function after(cleanup: () => void): void {
	if (cleanups.length === 0)
		onTestFinished(() => {
			const due = cleanups.reverse();
			cleanups = [];
			for (const one of due) one();
		});
	cleanups.push(cleanup);
}

/** A folder that goes with the test. */
export function tempFolder(): string {
	const folder = mkdtempSync(join(tmpdir(), "outbox-test-"));
	after(() => discard(folder));
	return folder;
}

export async function freshOutbox(path = join(tempFolder(), "outbox.db")): Promise<{ outbox: Outbox; path: string }> {
	const outbox = await openOutbox(path);
	after(() => outbox.close());
	return { outbox, path };
}

/** Changes rows behind the outbox's back, as damage would. */
export async function tamper(path: string, sql: string, ...values: SqlValue[]): Promise<void> {
	const sqlite = await openSqlite(path);
	try {
		sqlite.prepare(sql).run(...values);
	} finally {
		sqlite.close();
	}
}

export async function rowsOf<Row>(path: string, sql: string, ...values: SqlValue[]): Promise<Row[]> {
	const sqlite = await openSqlite(path, { readonly: true });
	try {
		return sqlite.prepare<Row>(sql).all(...values);
	} finally {
		sqlite.close();
	}
}

/** Appends items as the events that follow the session's watermark, one position each. */
export function append(outbox: Outbox, items: readonly (OpIntent | Burial)[], now = 1000, session_id = S): number {
	const from = outbox.session(session_id)?.watermark?.seq ?? null;
	const result = outbox.append(capture(from, (from ?? 0) + items.length, items, session_id), now);
	if (result.outcome !== "appended") throw new Error(result.outcome);
	return result.ops;
}

/** Seals everything there is room for and reserves all of it. */
export function sealAndReserve(outbox: Outbox, limits = WIDE, now = 2000, owner = "owner"): ReservedBatch[] {
	while (outbox.seal(S, limits, now).sealed > 0);
	return reserveAll(outbox, now, owner);
}

export function reserveAll(outbox: Outbox, now = 2000, owner = "owner", session_id = S): ReservedBatch[] {
	const batches: ReservedBatch[] = [];
	for (;;) {
		const batch = outbox.reserve(session_id, owner, 1000, now);
		if (batch === undefined) return batches;
		batches.push(batch);
	}
}

export function opIds(batches: readonly ReservedBatch[]): string[] {
	return batches.flatMap((batch) => batch.ops.map((op) => op.op_id));
}
