import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { about, bar, barStyle } from "../../../src/cli/watch/line.ts";
import { type Progress, type Sample, Watched } from "../../../src/cli/watch/progress.ts";
import { fit } from "../../../src/cli/watch/screen.ts";

const START = 1_700_000_000_000;

/** A look per second at one session: its cursor, and what is pending. */
function looks(points: readonly (readonly [pending: number, cursor: number])[]): Progress[] {
	const watched = new Watched();
	return points.map(([pending, cursor], second) => watched.observe(sample(START + second * 1000, pending, cursor)));
}

function sample(at: number, pending: number, cursor: number, last_acked_at: number | null = at): Sample {
	return { at, pending, acked: new Map([["ses_1", { cursor, last_acked_at }]]) };
}

function seconds(count: number, point: (second: number) => readonly [number, number]): Progress[] {
	return looks(Array.from({ length: count }, (_, second) => point(second)));
}

describe("an estimate", () => {
	test("is given once a backlog drains at a steady rate, and comes true", () => {
		const told = seconds(20, (s) => [1000 - 50 * s, 50 * s]);
		expect(told[2]?.outlook.kind).toBe("unknown");
		expect(told[10]).toMatchObject({ done: 500, total: 1000, per_second: 50, outlook: { kind: "eta", ms: 10_000 } });
	});

	test("is not given while the rate is uneven", () => {
		const told = seconds(12, (s) => (s < 6 ? [1000 - s, s] : [1000 - 100 * (s - 5), 100 * (s - 5)]));
		expect(told[8]?.outlook.kind).toBe("unknown");
	});

	test("is not given while more comes in than goes out", () => {
		const told = seconds(12, (s) => [100 + 20 * s, 30 * s]);
		expect(told[11]).toMatchObject({ per_second: 30, outlook: { kind: "growing" } });
	});

	test("is not given when nothing is acknowledged: that is a stall, whatever is captured meanwhile", () => {
		expect(seconds(12, () => [100, 7])[11]?.outlook.kind).toBe("stalled");
		expect(seconds(12, (s) => [100 + s, 7])[11]?.outlook.kind).toBe("stalled");
		// Changes of one entity collapse into one op: less is pending, though nothing was sent.
		expect(seconds(12, (s) => [100 - s, 7])[11]?.outlook.kind).toBe("stalled");
	});

	test("ends soon after what it stood on: a server that goes away in the middle", () => {
		const told = seconds(40, (s) => (s < 20 ? [5000 - 100 * s, 100 * s] : [3100, 1900]));
		expect(told[19]?.outlook.kind).toBe("eta");
		expect(told[30]).toMatchObject({ per_second: 0, outlook: { kind: "stalled" } });
	});

	test("and the rate are those since it moves, however long it stood before", () => {
		const told = seconds(40, (s) => (s < 30 ? [5000, 0] : [5000 - 100 * (s - 29), 100 * (s - 29)]));
		expect(told[29]?.outlook.kind).toBe("stalled");
		expect(told[31]).toMatchObject({ per_second: null, outlook: { kind: "unknown" } });
		expect(told[38]).toMatchObject({ per_second: 100, outlook: { kind: "eta", ms: 41_000 } });
	});

	test("is there soon after a burst has come in at once", () => {
		const told = seconds(12, (s) => (s === 0 ? [0, 0] : [1000 - 50 * (s - 1), 50 * (s - 1)]));
		expect(told[7]?.outlook).toEqual({ kind: "eta", ms: 14_000 });
	});

	test("forgets a rate that is long past", () => {
		const told = seconds(60, (s) => (s < 20 ? [5000 - 100 * s, 100 * s] : [3000 - (s - 20), 2000 + (s - 20)]));
		expect(told[59]?.outlook).toEqual({ kind: "eta", ms: (3000 - 39) * 1000 });
	});
});

describe("what is done", () => {
	test("begins with the watch, and anew with each backlog", () => {
		const told = looks([
			[10, 90],
			[5, 95],
			[0, 100],
			[0, 100],
			[8, 100],
			[4, 104],
		]);
		expect(told.map(({ done, total }) => [done, total])).toEqual([
			[0, 10],
			[5, 10],
			[10, 10],
			[0, 0],
			[0, 8],
			[4, 8],
		]);
		expect(told[2]?.outlook.kind).toBe("level");
	});

	test("does not count a share that was taken over with all that it had", () => {
		const watched = new Watched();
		watched.observe(sample(START, 10, 3));
		const acked = new Map([
			["ses_1", { cursor: 5, last_acked_at: START + 500 }],
			["ses_restored", { cursor: 9000, last_acked_at: null }],
		]);
		expect(watched.observe({ at: START + 1000, pending: 8, acked }).done).toBe(2);
	});

	test("goes on from nothing when the clock is set back", () => {
		const watched = new Watched();
		watched.observe(sample(START, 10, 3));
		expect(watched.observe(sample(START - 3_600_000, 8, 5))).toMatchObject({
			done: 0,
			total: 8,
			outlook: { kind: "unknown" },
		});
	});
});

test("whatever is looked at, the figures hold together", () => {
	const look = fc.record({ wait: fc.integer({ min: -5000, max: 60_000 }), pending: fc.nat(5000), acked: fc.nat(500) });
	fc.assert(
		fc.property(fc.array(look, { minLength: 1, maxLength: 100 }), (moments) => {
			const watched = new Watched();
			let [at, cursor] = [START, 0];
			for (const { wait, pending, acked } of moments) {
				at += wait;
				cursor += acked;
				const { done, total, per_second, outlook } = watched.observe(sample(at, pending, cursor));
				expect(done).toBeGreaterThanOrEqual(0);
				expect(total).toBe(done + pending);
				expect(outlook.kind === "level").toBe(pending === 0);
				if (per_second !== null) expect(per_second).toBeGreaterThanOrEqual(0);
				if (outlook.kind !== "eta") continue;
				expect(outlook.ms).toBeGreaterThan(0);
				expect(Number.isFinite(outlook.ms)).toBe(true);
			}
		}),
	);
});

test("a bar is as wide as it is told, full only at the end, and grows with what is done", () => {
	fc.assert(
		fc.property(fc.nat(10_000), fc.nat(10_000), fc.integer({ min: 10, max: 60 }), (done, pending, width) => {
			const [text, more] = [done, done + 1].map((n) => bar(n, n + pending, width, ["#", "."]));
			expect(text).toMatch(/^#*\.*$/);
			expect(text).toHaveLength(width);
			expect(text?.endsWith("#")).toBe(pending === 0);
			expect(text?.startsWith("#")).toBe(done > 0 || pending === 0);
			expect(String(more).indexOf(".") === -1 ? width : String(more).indexOf(".")).toBeGreaterThanOrEqual(
				String(text).indexOf("."),
			);
		}),
	);
	expect(barStyle({ LANG: "de_DE.UTF-8" })).toEqual(["█", "░"]);
	expect(barStyle({ LANG: "de_DE.UTF-8", LC_ALL: "C" })).toEqual(["#", "."]);
});

test("an estimate is told as coarsely as it is known", () => {
	expect([900, 44_000, 90_000, 170_000, 7_200_000, 400_000_000].map(about)).toEqual([
		...["a few seconds", "about 40 s", "about 2 min", "about 3 min", "about 2 h", "about 5 d"],
	]);
});

test("a line is cut to the columns that there are, its colours stay, and wide characters count twice", () => {
	expect(fit("\u001b[1mabcdef\u001b[22m", 3)).toBe("\u001b[1mabc\u001b[22m");
	expect(fit("日本語", 4)).toBe("日本");
	expect(fit("ab", 80)).toBe("ab");
});
