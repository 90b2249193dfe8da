/**
 * A well-behaved client as a process of its own, so that nothing the attackers do in theirs delays it: appends one op at a
 * time to its own share until it is told to stop, then prints one line of JSON.
 *
 * Arguments: the server's url, the file with its key. Stops when stdin ends.
 */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { systemClock } from "../../../src/model/clock.ts";
import type { DurableOp } from "../../../src/protocol/schema.ts";
import { capnwebTransport } from "../../../src/transport/capnweb.ts";

export interface Report {
	readonly sent: number;
	readonly cursor: number;
	readonly entities: number;
	readonly failures: readonly string[];
	readonly p50Ms: number;
	readonly p99Ms: number;
	readonly maxMs: number;
}

/** Between two ops, in ms. */
const PAUSE_MS = 10;

const [, , url = "", keyFile = ""] = process.argv;
const key = readFileSync(keyFile, "utf8").trim();
const stop = new AbortController();
process.stdin.resume().once("end", () => stop.abort());

const connection = await capnwebTransport({ url, clock: systemClock }).connect(stop.signal);
const create_key = randomBytes(32).toString("base64url");
const grant = await connection.createShare(key, { session_id: "ses_bystander", create_key });
const share = await connection.redeem(grant.share_id, grant.secret);
process.stdout.write("ready\n");

const tookMs: number[] = [];
const failures: string[] = [];
let sent = 0;
while (!stop.signal.aborted && failures.length === 0) {
	const batch_id = `b${sent}`;
	const op: DurableOp = {
		...{ op_id: `o${sent}`, batch_id, seq: 0, expected_cursor: sent, capability_epoch: 1 },
		...{ type: "message", key: `message/m${sent}`, payload: JSON.stringify({ id: `m${sent}`, text: "x".repeat(500) }) },
	};
	const startedAt = performance.now();
	try {
		const ack = await share.appendOps({ batch_id, ops: [op], source_watermark: null });
		if (ack.applied[0] !== op.op_id) failures.push(JSON.stringify(ack));
		sent++;
	} catch (error) {
		failures.push(String(error));
	}
	tookMs.push(performance.now() - startedAt);
	await systemClock.sleep(PAUSE_MS, stop.signal);
}
const again = failures.length === 0 ? await connection.redeem(grant.share_id, grant.secret) : undefined;
let entities = 0;
for (let after: string | undefined; again !== undefined; ) {
	const page = await again.entityDigests(after);
	entities += page.entities.length;
	if (page.next === null) break;
	after = page.next;
}
tookMs.sort((a, b) => a - b);
const at = (share: number) => Math.round(tookMs[Math.floor((tookMs.length - 1) * share)] ?? 0);
const report: Report = {
	...{ sent, cursor: again?.redemption.cursor ?? -1, entities, failures },
	...{ p50Ms: at(0.5), p99Ms: at(0.99), maxMs: at(1) },
};
process.stdout.write(`${JSON.stringify(report)}\n`);
connection.close();
