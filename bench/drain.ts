import { copyFileSync } from "node:fs";
import { join } from "node:path";
import { openOutbox } from "../src/outbox/outbox.ts";
import { LIMITS } from "../src/protocol/limits.ts";
import { echoed } from "./echoed.ts";
import { type Bench, type Context, figure } from "./figure.ts";
import { byTurns, compared } from "./measure.ts";
import { ruled } from "./rules.ts";
import { filledOutbox, flushed, target } from "./wire.ts";

const OPS = 100_000;
const BATCH = LIMITS.ops_per_batch;
const WINDOW = 4;

/** Captured ops to the server's disk, against the slower of the two things that this cannot do without. */
export const drain: Bench = {
	name: "drain",
	about: "captured 1 KiB ops drained into a server process over WebSocket, window 4",
	async *run(context) {
		const ops = context.isQuick ? OPS / 100 : OPS;
		const outbox = join(context.folder, "filled.db");
		await filledOutbox(outbox, ops);
		const { ours, carried, ruling } = await byTurns(
			{
				ours: () => drained(context, outbox, ops),
				carried: () => echoed(ops, BATCH, WINDOW),
				ruling: () => ruled(context, ops, BATCH),
			},
			context.repeats,
		);
		const about = { unit: "ops/s", what: `drain of ${ops.toLocaleString("en-US")} ops` };
		const [byCarried, byRuling] = [compared(ours, carried), compared(ours, ruling)];
		const echo = { ...about, against: "the same ops echoed by capnweb, nothing stored" };
		const rules = { ...about, against: "the server's rules in process, FULL" };
		const bar = { atLeast: 0.7 };
		const isCarryingSlower = byCarried.theirs.median < byRuling.theirs.median;
		yield figure(isCarryingSlower ? { ...echo, bar } : echo, byCarried);
		yield figure(isCarryingSlower ? rules : { ...rules, bar }, byRuling);
	},
};

let drains = 0;

async function drained(context: Context, filled: string, ops: number): Promise<number> {
	const path = join(context.folder, `drain-${drains++}.db`);
	copyFileSync(filled, path);
	const server = await target(context);
	const outbox = await openOutbox(path);
	const { seconds } = await flushed(outbox, ops, server);
	outbox.close();
	await server.stop();
	return ops / seconds;
}
