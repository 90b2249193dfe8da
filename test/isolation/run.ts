import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Capture } from "../../src/agent/capture.ts";
import type { EntityState } from "../../src/agent/compare.ts";
import { systemClock } from "../../src/model/clock.ts";
import type { SessionRead } from "../../src/source/source.ts";
import { openSqlite } from "../../src/sqlite/driver.ts";
import { type Lab, openLab } from "../agent/lab.ts";
import { rotation } from "../server/client.ts";
import { ARRIVAL_OPS, arrivals, HUGE, hugeOps, isHealthy, OP_BYTES, type Op, type Size, TROUBLED } from "./load.ts";

/** Events in one read of the database source. */
const READ_OPS = 1000;
/** Until everything that can be sent is sent, on a machine that is busy with other tests. */
const DRAIN_MS_MAX = 600_000;

export interface Run {
	readonly lab: Lab;
	/** All that was captured, by session, in order. */
	readonly captured: ReadonlyMap<string, readonly Op[]>;
	/** From when an arrival of a healthy session was due until its last op was acknowledged, in ms, ascending. */
	readonly delaysMs: readonly number[];
	/**
	 * For each of these arrivals, since it was in the outbox: how many batches of the huge session were acknowledged, and of
	 * all others. On a busy machine it gets there later than it was due, and whose turn it is does not begin before.
	 */
	readonly waitedFor: readonly { readonly huge: number; readonly others: number }[];
	/** From the capture of the huge session until its last op was acknowledged, in ms; 0 in a clean run. */
	readonly hugeMs: number;
}

/** Captures a load at its pace into a real outbox, flushed to a real server, and waits until nothing is left to send. */
export async function run(size: Size, kind: "clean" | "poisoned", opsPerBatch: number): Promise<Run> {
	const lab = await openLab({ limits: { op_bytes: OP_BYTES, ops_per_batch: opsPerBatch } });
	const captured = new Map<string, Op[]>();
	const capture = (sessionId: string, ops: readonly Op[]) => {
		captured.set(sessionId, [...(captured.get(sessionId) ?? []), ...ops]);
		lab.append(sessionId, ops);
	};
	// What OpenCode has of the session whose share is forgotten, at any moment.
	const entities: EntityState[] = [];
	lab.truth.set(TROUBLED.gone, entities);
	const all = arrivals(size, kind);
	const dueAt: number[] = [];
	const capturedAt: number[] = [];
	lab.start();
	const startedAt = performance.now();
	let hugeAt = 0;
	let huge = Promise.resolve();
	for (const [n, { sessionId, ops }] of all.entries()) {
		const due = startedAt + (n * 1000) / size.arrivalsPerSecond;
		await delay(Math.max(0, due - performance.now()));
		capture(sessionId, ops);
		capturedAt.push(performance.now());
		if (sessionId === TROUBLED.gone) entities.push(...ops);
		dueAt.push(due);
		if (kind === "clean") continue;
		if (n === Math.floor(all.length / 10)) {
			hugeAt = performance.now();
			const ops = hugeOps(size);
			captured.set(HUGE, ops);
			huge = captureHuge(lab, ops);
		}
		if (n === Math.floor(all.length / 3)) await takeAway(lab);
	}
	await huge;
	await idle(lab);
	const acks = lab.log
		.filter(({ message }) => message === "a batch was acknowledged")
		.map(({ at, facts }) => ({ at, session: String(facts.session), cursor: Number(facts.cursor) }));
	const ofSession = Map.groupBy(acks, ({ session }) => session);
	const healthy = all.flatMap(({ sessionId }, n) => {
		const [session, round] = [n % size.sessions, Math.floor(n / size.sessions)];
		if (!isHealthy(session)) return [];
		const ack = ofSession.get(sessionId)?.find(({ cursor }) => cursor >= (round + 1) * ARRIVAL_OPS);
		if (ack === undefined) throw new Error(`${sessionId} was not acknowledged up to round ${round}`);
		return [{ due: dueAt[n] ?? 0, captured: capturedAt[n] ?? 0, at: ack.at }];
	});
	const hugeAcks = (ofSession.get(HUGE) ?? []).map(({ at }) => at);
	const between = (times: readonly number[], from: number, to: number) => below(times, to) - below(times, from);
	const times = acks.map(({ at }) => at);
	return {
		lab,
		captured,
		delaysMs: healthy.map(({ due, at }) => at - due).sort((a, b) => a - b),
		waitedFor: healthy.map(({ captured, at }) => {
			const ofHuge = between(hugeAcks, captured, at);
			return { huge: ofHuge, others: between(times, captured, at) - ofHuge };
		}),
		hugeMs: Math.max(0, (hugeAcks.at(-1) ?? 0) - hugeAt),
	};
}

/** The capture of a session with a long log, a thousand events at a time as the database source tells it. */
async function captureHuge(lab: Lab, ops: readonly Op[]): Promise<void> {
	const silent = () => undefined;
	const log = { debug: silent, info: silent, warn: silent, error: silent };
	const capture = new Capture({ outbox: lab.outbox, mode: "auto", clock: systemClock, log });
	const mark = (n: number) => (n === 0 ? null : { seq: n - 1, event_id: ops[n - 1]?.op_id ?? "" });
	async function* read(): AsyncGenerator<SessionRead, void, void> {
		for (let n = 0; n < ops.length; n += READ_OPS) {
			const changes = ops.slice(n, n + READ_OPS).map((op, at) => ({ ...op, event_id: op.op_id, seq: n + at }));
			const session = { session_id: HUGE, parent_id: null, title: "huge", directory: "/project", updated_at: 0 };
			yield { kind: "log", session, from: mark(n), to: mark(n + changes.length) ?? nowhere(), changes, state: [] };
		}
	}
	const [changed, snapshot, removals, models] = [() => true, nowhere, nowhere, nowhere];
	await capture.pass(
		{ read, changed, snapshot, removals, models, identity: "", close: nowhere },
		new AbortController().signal,
	);
}

function nowhere(): never {
	throw new Error("the capture of a log does not ask for that");
}

/** One share gets another secret, one is deleted, and one the server does not know any more. */
async function takeAway(lab: Lab): Promise<void> {
	await (await lab.redeem(TROUBLED.rotated)).revokeCapability(rotation());
	await (await lab.redeem(TROUBLED.deleted)).deleteShare();
	const shareId = lab.outbox.share(TROUBLED.gone)?.share_id ?? "";
	const sqlite = await openSqlite(join(lab.dir, "share.db"));
	try {
		sqlite.transaction(() => {
			for (const table of ["share", "entity", "ledger"])
				sqlite.prepare(`DELETE FROM ${table} WHERE share_id = ?`).run(shareId);
		});
	} finally {
		sqlite.close();
	}
}

async function idle(lab: Lab): Promise<void> {
	for (const deadline = performance.now() + DRAIN_MS_MAX; lab.outbox.work().length > 0; await delay(20))
		if (performance.now() > deadline) throw new Error(`not sent: ${JSON.stringify(lab.outbox.work().slice(0, 5))}`);
}

/** How many of `times`, which ascend, lie before `time`. */
function below(times: readonly number[], time: number): number {
	let [low, high] = [0, times.length];
	while (low < high) {
		const middle = (low + high) >> 1;
		if ((times[middle] ?? 0) < time) low = middle + 1;
		else high = middle;
	}
	return low;
}

export function percentile(sorted: readonly number[], share: number): number {
	return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}
