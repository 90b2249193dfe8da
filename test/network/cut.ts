import { existsSync } from "node:fs";
import { expect, vi } from "vitest";
import type { DurableOp } from "../../src/protocol/schema.ts";
import { type Holder, ShareRules } from "../../src/server/share.ts";
import type { TransportKind } from "../../src/transport/transport.ts";
import { type Lab, openLab } from "../agent/lab.ts";
import type { Direction } from "../fixture/proxy.ts";

/** Three batches of one op each. */
const TEXTS = ["a", "b", "c"];
/** Sessions in one outbox before it is made anew, so that looking for work stays cheap. */
const RUNS_PER_LAB = 250;
/** A memory disk where there is one: nothing here loses power. */
const PARENT = existsSync("/dev/shm") ? "/dev/shm" : undefined;

/** A call as the server's rules saw it. */
type Seen =
	| { readonly call: "createShare" }
	| { readonly call: "redemption"; readonly cursor: number }
	| { readonly call: "appendOps"; readonly positions: readonly number[]; readonly applied: readonly string[] };

export interface Sweep {
	/** Bytes of the conversation; over HTTP with those of the upgrade that is refused first, which never pass. */
	readonly bytes: number;
	readonly runs: number;
	/** Redemptions more than in a run that is not cut. */
	readonly worstRedemptions: number;
	/** Batches that reached the server more than once. */
	readonly worstAppends: number;
	/** Runs in which a batch reached the server again. */
	readonly runsWithAppends: number;
	/** Connections more than in a run that is not cut. */
	readonly worstConnections: number;
	readonly elapsedMs: number;
}

/** What the rules of every server in this process are asked, in order. They answer as they always do. */
function watchRules(): Seen[] {
	const seen: Seen[] = [];
	const { createShare, redemption, appendOps } = ShareRules.prototype;
	vi.spyOn(ShareRules.prototype, "createShare").mockImplementation(function (this: ShareRules, ...args) {
		const grant = createShare.apply(this, args);
		seen.push({ call: "createShare" });
		return grant;
	});
	vi.spyOn(ShareRules.prototype, "redemption").mockImplementation(function (this: ShareRules, holder: Holder) {
		const told = redemption.call(this, holder);
		seen.push({ call: "redemption", cursor: told.cursor });
		return told;
	});
	vi.spyOn(ShareRules.prototype, "appendOps").mockImplementation(function (this: ShareRules, holder, batch) {
		const ack = appendOps.call(this, holder, batch);
		const positions = batch.ops.map((op: DurableOp) => op.expected_cursor);
		seen.push({ call: "appendOps", positions, applied: ack.applied });
		return ack;
	});
	return seen;
}

/**
 * Flushes three batches once for every `stride`th byte k that passes in `direction` while it does so, from the first byte
 * of the connection on, with that connection reset behind k bytes; and checks each time that
 *
 * - the server applied every op exactly once, in order, and the outbox is empty;
 * - it was asked for one redemption more than without the cut at most, and no batch more than twice;
 * - no batch was sent again that the second redemption had told to be there.
 */
export async function sweep(kind: TransportKind, direction: Direction, stride: number): Promise<Sweep> {
	const startedAt = performance.now();
	const seen = watchRules();
	let lab = await openCutLab(kind);
	let inLab = 0;
	const flush = async (run: string, cutBehind?: number) => {
		if (++inLab > RUNS_PER_LAB) {
			await lab.dispose();
			lab = await openCutLab(kind);
			inLab = 1;
		}
		seen.length = 0;
		const session = `ses_${run}`;
		const before = { ...lab.proxy.traffic };
		let isCut = false;
		if (cutBehind !== undefined)
			void lab.proxy.cutAfter(direction, cutBehind).then(() => {
				isCut = true;
			});
		lab.capture(session, TEXTS);
		lab.start();
		await lab.drained();
		await lab.stop();
		lab.proxy.dropConnections();
		await lab.proxy.until((traffic) => traffic.open === 0);
		return {
			session,
			isCut,
			bytes: lab.proxy.traffic[direction] - before[direction],
			connections: lab.proxy.traffic.connections - before.connections,
			calls: [...seen],
		};
	};

	const first = await flush("whole");
	checkEffect(lab, "ses_whole", first.calls);
	// Else every connection would begin with a look at the share that was acknowledged last.
	lab.outbox.forget("ses_whole");
	const usual = first.calls.filter(({ call }) => call === "redemption").length;
	const worst = { worstRedemptions: 0, worstAppends: 0, runsWithAppends: 0, worstConnections: 0 };
	let runs = 0;
	try {
		for (let k = 0; ; k += stride) {
			const { session, isCut, connections, calls } = await flush(String(k).padStart(6, "0"), k);
			const facts = `${kind}, ${direction}, cut behind byte ${k}: ${JSON.stringify(calls)}`;
			checkEffect(lab, session, calls, facts);
			lab.outbox.forget(session);
			// That was all that passes.
			if (!isCut) break;
			const appends = calls.filter(({ call }) => call === "appendOps").length - TEXTS.length;
			const redemptions = calls.filter(({ call }) => call === "redemption").length - usual;
			expect(redemptions, facts).toBeLessThanOrEqual(1);
			checkNothingKnownIsSent(calls, facts);
			runs++;
			worst.worstRedemptions = Math.max(worst.worstRedemptions, redemptions);
			worst.worstAppends = Math.max(worst.worstAppends, appends);
			worst.worstConnections = Math.max(worst.worstConnections, connections - first.connections);
			if (appends > 0) worst.runsWithAppends++;
		}
	} finally {
		vi.restoreAllMocks();
	}
	return { bytes: first.bytes, runs, ...worst, elapsedMs: Math.round(performance.now() - startedAt) };
}

async function openCutLab(kind: TransportKind): Promise<Lab> {
	const lab = await openLab({
		...{ limits: { ops_per_batch: 1 }, random: () => 0 },
		...(PARENT === undefined ? {} : { parent: PARENT }),
	});
	lab.proxy.faults.refuseUpgrades = kind === "http-batch";
	return lab;
}

/** Every op took effect once, in order, and the outbox knows. */
function checkEffect(lab: Lab, session: string, calls: readonly Seen[], facts?: string): void {
	const ids = TEXTS.map((_, n) => `evt_${session}_${n}`);
	expect(
		calls.flatMap((seen) => (seen.call === "appendOps" ? seen.applied : [])),
		facts,
	).toEqual(ids);
	expect(lab.outbox.session(session), facts).toMatchObject({
		...{ acked_cursor: TEXTS.length, sealed_cursor: TEXTS.length, pending: 0, parked_code: null },
	});
}

function checkNothingKnownIsSent(calls: readonly Seen[], facts: string): void {
	const redeemed = calls.findLastIndex(({ call }) => call === "redemption");
	const told = calls[redeemed];
	const known = told?.call === "redemption" ? told.cursor : 0;
	const sent = calls.slice(redeemed).flatMap((seen) => (seen.call === "appendOps" ? seen.positions : []));
	const count = new Map<number, number>();
	for (const seen of calls)
		if (seen.call === "appendOps") for (const at of seen.positions) count.set(at, (count.get(at) ?? 0) + 1);
	expect(Math.max(0, ...count.values()), facts).toBeLessThanOrEqual(2);
	expect(
		sent.filter((position) => position < known),
		facts,
	).toEqual([]);
}
