import { systemClock } from "../../src/model/clock.ts";
import { silent } from "../../src/model/logger.ts";
import { openKeptOutbox } from "../../src/outbox/keeper.ts";
import type { Outbox } from "../../src/outbox/outbox.ts";
import type { ReservedBatch } from "../../src/outbox/reserve.ts";
import { capture, message, S } from "../outbox/items.ts";

// Without vitest: a child runs it too.

const LIMITS = { ops_per_batch: 4, batch_bytes: 1 << 20, op_bytes: 8 << 20, sealed_ops: 2000 };
const GROUP = 3;
const GROUPS = 8;

/** What a cycle was told, and what it may have been told: the call that failed. */
export interface Told {
	appended: number;
	appending: number;
	acked: number;
	acking: number;
	/** Position to what was reserved for it. */
	readonly reserved: Record<number, string>;
}

export function nothingTold(): Told {
	return { appended: 0, appending: 0, acked: 0, acking: 0, reserved: {} };
}

export function open(path: string): Promise<Outbox> {
	return openKeptOutbox({ path, hasTraces: true, ballast: undefined, clock: systemClock, log: silent });
}

/** One life of an outbox: capture, seal, reserve, ack, compact, reopen, drain. `note` hears what it was told, as it is. */
export async function cycle(path: string, told: Told, note: () => void): Promise<void> {
	let outbox = await open(path);
	try {
		for (let group = 0; group < GROUPS; group++) {
			appendGroup(outbox, told, note);
			if (group === 2) {
				reserveAll(outbox, told, note);
				ack(outbox, told, 5, note);
			}
			if (group === 4) compact(outbox);
			if (group !== 5) continue;
			reserveAll(outbox, told, note);
			ack(outbox, told, 12, note);
			outbox.nack(S, 1, "cut");
			outbox.close();
			outbox = await open(path);
			outbox.recover();
		}
		reserveAll(outbox, told, note);
		ack(outbox, told, GROUPS * GROUP, note);
		compact(outbox);
	} finally {
		outbox.close();
	}
}

/** After the fault: what was told holds, what was under way is whole or not there, and the rest can be done. */
export async function check(path: string, told: Told): Promise<void> {
	const outbox = await open(path);
	try {
		outbox.recover();
		const session = outbox.session(S);
		const captured = session?.watermark?.seq ?? 0;
		const cursor = session?.acked_cursor ?? 0;
		claim([told.appended, told.appending].includes(captured), `captured up to ${captured}`);
		claim([told.acked, told.acking].includes(cursor), `acknowledged up to ${cursor}`);
		claim((session?.pending ?? 0) === captured - cursor, `${session?.pending} ops are pending`);
		claim(session?.compare_reason == null, `to be compared: ${session?.compare_reason}`);
		claim(outbox.agent()?.damage == null, `set aside: ${outbox.agent()?.damage}`);
		const again: Told = { ...told, appended: captured, acked: cursor };
		if (captured > 0) reserveAll(outbox, again, () => undefined);
		while (again.appended < GROUPS * GROUP) appendGroup(outbox, again, () => undefined);
		reserveAll(outbox, again, () => undefined);
		const positions = Object.keys(again.reserved).map(Number);
		claim(positions.length === GROUPS * GROUP, `${positions.length} positions were reserved`);
		for (const position of positions) {
			const [, op_id] = JSON.parse(again.reserved[position] ?? "[]") as [string, string];
			claim(op_id === `e${position + 1}`, `${op_id} is at ${position}`);
		}
		ack(outbox, again, GROUPS * GROUP, () => undefined);
		claim(outbox.session(S)?.pending === 0, "it drains");
	} finally {
		outbox.close();
	}
}

function appendGroup(outbox: Outbox, told: Told, note: () => void): void {
	const from = told.appended;
	told.appending = from + GROUP;
	note();
	const items = Array.from({ length: GROUP }, (_, n) => message(`e${from + n + 1}`, `m${from + n}`, "x".repeat(1500)));
	const result = outbox.append(capture(from === 0 ? null : from, from + GROUP, items), 1000 + from);
	claim(result.outcome === "appended", "it is appended");
	told.appended = told.appending;
	note();
}

function reserveAll(outbox: Outbox, told: Told, note: () => void): void {
	while (outbox.seal(S, LIMITS, 2000).sealed > 0);
	for (;;) {
		const batch = outbox.reserve(S, "owner", 1000, 2000);
		if (batch === undefined) return;
		for (const [position, bytes] of bytesOf(batch)) {
			claim((told.reserved[position] ?? bytes) === bytes, `position ${position} has other bytes`);
			told.reserved[position] = bytes;
		}
		note();
	}
}

function bytesOf({ batch_id, first_position, ops, source_watermark }: ReservedBatch): [number, string][] {
	return ops.map((op, n) => [
		first_position + n,
		JSON.stringify([batch_id, op.op_id, op.type, op.key, op.payload, op.depends_on, source_watermark]),
	]);
}

function ack(outbox: Outbox, told: Told, cursor: number, note: () => void): void {
	told.acking = cursor;
	note();
	outbox.ack(S, cursor, 3000);
	told.acked = cursor;
	note();
}

function compact(outbox: Outbox): void {
	while (outbox.retain(4000, 0).more);
	outbox.shrink();
	outbox.checkpoint();
}

function claim(holds: boolean, what: string): asserts holds {
	if (!holds) throw new Error(`it does not hold: ${what}`);
}
