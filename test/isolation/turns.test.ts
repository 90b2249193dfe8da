import { expect, test } from "vitest";
import { Turns } from "../../src/agent/turns.ts";
import { type Lab, openLab } from "../agent/lab.ts";

/** Twice as many as are flushed at once, each of twelve batches. */
const HUGE = Array.from({ length: 16 }, (_, n) => `ses_huge_${n}`);
const LIMITS = { ops_per_batch: 20 };
const OPS = 240;
/** Long sessions that are flushed at once: each has one batch under way while others have some. */
const LONG_AT_ONCE = 4;

const texts = (count: number) => Array.from({ length: count }, (_, n) => `text ${n}`);

/** Whose batches were acknowledged, as the log tells it, oldest first. */
function acks(lab: Lab): string[] {
	return lab.log
		.filter(({ message }) => message === "a batch was acknowledged")
		.map(({ facts }) => String(facts.session));
}

test("a small session waits for the batches under way, not for sixteen huge ones to be done", async () => {
	const lab = await openLab({ limits: LIMITS });
	for (const id of HUGE) lab.capture(id, texts(OPS));
	lab.start();
	// Every huge one has had its first turn, and is known for what it is.
	await lab.until(() => new Set(acks(lab)).size === HUGE.length && acks(lab).length > 4 * HUGE.length);
	for (let n = 0; n < 4; n++) {
		const before = acks(lab).length;
		lab.capture(`ses_small_${n}`, ["healthy"]);
		await lab.until(() => lab.outbox.session(`ses_small_${n}`)?.acked_cursor === 1);
		const waited = acks(lab).slice(before).indexOf(`ses_small_${n}`);
		// To make, to redeem and to append are three round trips; before each, and before the first is asked for, every long
		// session may have put a batch on the line, and half as many again where theirs are quicker. Without turns it is 90.
		expect(waited).toBeLessThanOrEqual(6 * LONG_AT_ONCE);
	}
	expect(HUGE.filter((id) => (lab.outbox.session(id)?.pending ?? 0) > 0).length).toBeGreaterThan(8);
	await lab.drained();
	for (const id of HUGE) expect(lab.outbox.session(id)).toMatchObject({ acked_cursor: OPS, pending: 0, attempts: 0 });
	expect((await lab.redeem("ses_huge_7")).redemption.cursor).toBe(OPS);
});

test("whose turn is over makes room for those that wait, and comes back behind them", () => {
	const turns = new Turns();
	const sessions = Array.from({ length: 10 }, (_, n) => `s${n}`);
	turns.due(sessions);
	expect(take(turns)).toEqual(sessions.slice(0, 8));
	expect(turns.mustEnd("s0")).toBe(true);
	for (const session of ["s0", "s1"]) turns.end(session, false);
	turns.due(sessions);
	expect(take(turns)).toEqual(["s0", "s8"]);
	expect(turns.mustEnd("s0")).toBe(true);
	turns.end("s2", true);
	expect(take(turns)).toEqual(["s9"]);
	turns.end("s3", true);
	expect(take(turns)).toEqual(["s1"]);
	expect(turns.mustEnd("s0")).toBe(false);
});

test("long sessions leave half of the places to others, and are left one", () => {
	const turns = new Turns();
	const long = ["l0", "l1", "l2", "l3", "l4", "l5"];
	turns.due(long);
	for (const session of take(turns)) turns.end(session, false);
	turns.due(long);
	expect(take(turns)).toEqual(["l0", "l1", "l2", "l3"]);
	const small = Array.from({ length: 20 }, (_, n) => `s${n}`);
	turns.due([...long, ...small]);
	expect(take(turns)).toEqual(["s0", "s1", "s2", "s3"]);
	for (const session of ["l0", "l1", "l2"]) turns.end(session, true);
	expect(take(turns)).toEqual(["s4", "s5", "s6"]);
	turns.end("l3", false);
	expect(take(turns)).toEqual(["l4"]);
});

test("a session that was done, parked or deferred is not long any more when it is due again", () => {
	const turns = new Turns();
	turns.due(["a"]);
	take(turns);
	turns.end("a", false);
	turns.due([]);
	turns.due(["a"]);
	take(turns);
	expect(turns.mustEnd("a")).toBe(true);
});

/** All that may be flushed now. */
function take(turns: Turns): string[] {
	const taken: string[] = [];
	for (let next = turns.take(); next !== undefined; next = turns.take()) taken.push(next);
	return taken;
}
