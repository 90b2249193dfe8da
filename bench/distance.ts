import { once } from "node:events";
import { copyFileSync } from "node:fs";
import { join } from "node:path";
import { WebSocket } from "ws";
import { openOutbox } from "../src/outbox/outbox.ts";
import { LIMITS } from "../src/protocol/limits.ts";
import { startProcess } from "../test/fixture/cli.ts";
import { echoed } from "./echoed.ts";
import { type Bench, type Context, figure } from "./figure.ts";
import { compared, quantile } from "./measure.ts";
import { ruled } from "./rules.ts";
import { filledOutbox, flushed, target } from "./wire.ts";

const ROUND_TRIP_MS = 50;
const WINDOW = 4;
/** Of how many round trips one measurement is: enough for two fresh processes to be warm for most of them. */
const ROUND_TRIPS = 200;
/** Ops of the one without a bar, which are half a gigabyte by then. */
const OPS_MAX = 100_000;

/** The pace of a drain over a long way: what is under way at once, each round trip. */
export const distance: Bench = {
	name: "distance",
	about: `a drain at ${ROUND_TRIP_MS} ms round trip, window ${WINDOW}`,
	async *run(context) {
		// A delay that is put before somebody else's server would come on top of its own.
		if (context.server) return context.tell("distance: measured with servers of the bench's own only");
		for (const batch of context.isQuick ? [20] : [20, 100, LIMITS.ops_per_batch])
			for (const compress of [true, false]) {
				const ops = Math.min(OPS_MAX, WINDOW * batch * (context.isQuick ? 3 : ROUND_TRIPS));
				const filled = join(context.folder, `filled-${batch}.db`);
				if (compress) await filledOutbox(filled, ops);
				const isBelowDisk = batch <= 100;
				const [ours, bound, near]: [number[], number[], number[]] = [[], [], []];
				for (let n = 0; n < context.repeats; n++) {
					const { pace, roundTripMs } = await drained(context, filled, ops, batch, compress);
					const paceAt = (ms: number) => (WINDOW * batch * 1000) / ms;
					ours.push(pace);
					bound.push(paceAt(roundTripMs));
					if (isBelowDisk && !compress) near.push(paceAt(roundTripMs + (await handledMs(context, ops, batch))));
				}
				const what = `drain at ${ROUND_TRIP_MS} ms, batches of ${batch}, ${compress ? "compressed" : "as it is"}`;
				const about = { what, against: "window × batch / round trip", unit: "ops/s" };
				const sides = compared(ours, bound);
				yield figure(isBelowDisk ? { ...about, bar: { atLeast: 0.9 } } : { ...about, note: TOO_FAST }, sides);
				const handled = "the same, capnweb and the rules in the round trip";
				if (near.length > 0) yield figure({ ...about, against: handled }, compared(ours, near));
			}
	},
};

/** Of which a round trip is the median. */
const PINGS = 15;
const TOO_FAST =
	"40,000 ops/s are more than the server's disk takes at no distance at all, so this one has no bar; see drain.";

let turns = 0;

async function drained(context: Context, filled: string, ops: number, batch: number, compress: boolean) {
	const path = join(context.folder, `distance-${turns++}.db`);
	copyFileSync(filled, path);
	const server = await target(context);
	const script = join(import.meta.dirname, "delay.ts");
	const args = [new URL(server.url).port, String(ROUND_TRIP_MS / 2)];
	const proxy = startProcess("delay", [process.execPath, script, ...args], { PATH: process.env.PATH ?? "" });
	const outbox = await openOutbox(path);
	const url = await proxy.ready<string>();
	const roundTripMs = await roundTrip(url);
	const { pace } = await flushed(outbox, ops, { url, key: server.key }, { opsPerBatch: batch, compress });
	outbox.close();
	await proxy.kill();
	await server.stop();
	return { pace, roundTripMs };
}

/** What one batch takes at no distance with nobody else's in its way, in ms: carried by capnweb and back, and the server's rules. */
async function handledMs(context: Context, ops: number, batch: number): Promise<number> {
	const carriedMs = (batch * 1000) / (await echoed(ops, batch, 1));
	return carriedMs + (batch * 1000) / (await ruled(context, ops, batch));
}

/** What a ping takes to the server and back while nothing else is under way, the median of many, in ms. */
async function roundTrip(url: string): Promise<number> {
	const socket = new WebSocket(`${url.replace("http", "ws")}/rpc`);
	await once(socket, "open");
	const took: number[] = [];
	for (let n = 0; n < PINGS; n++) {
		const startedAt = performance.now();
		socket.ping();
		await once(socket, "pong");
		took.push(performance.now() - startedAt);
	}
	socket.terminate();
	return quantile(took, 0.5);
}
