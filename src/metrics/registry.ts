import { Counter, Gauge, Histogram, Registry } from "prom-client";

/** Names of labels with every value that they can have: what a label may say is closed, so that its series are few. */
export type Labels = Readonly<Record<string, readonly string[]>>;

/** Where values of a label end up that are not among those it can have. */
const OTHER = "other";

/** A commit that syncs: from what a fast disk needs to what stalls everybody, in seconds. */
export const COMMIT_BUCKETS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1];
/** An answer over a network: from loopback to a deadline, in seconds. */
export const ANSWER_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** Every name begins so. */
const PREFIX = "opencode_outbox_";

/**
 * Makes metrics in one registry: their names begin alike, and each is there with 0 from the start, so that a rate sees the
 * first increment.
 */
export class Metrics {
	readonly registry = new Registry();

	/** @param name without the prefix; ends in _total. */
	counter(name: string, help: string, labels: Labels = {}): (values?: readonly string[], by?: number) => void {
		const labelNames = Object.keys(labels);
		const counter = new Counter({ name: PREFIX + name, help, labelNames, registers: [this.registry] });
		const series = new Map(combinations(labels).map((values) => [values.join(" "), counter.labels(...values)]));
		for (const one of series.values()) one.inc(0);
		const known = Object.values(labels).map((values) => new Set(values));
		return (values = [], by = 1) => {
			const bounded = values.map((value, index) => (known[index]?.has(value) ? value : OTHER));
			(series.get(bounded.join(" ")) ?? counter.labels(...bounded)).inc(by);
		};
	}

	/** Always 1; what it tells is in its labels. @param name ends in _info. */
	info(name: string, help: string, labels: Readonly<Record<string, string>>): void {
		const labelNames = Object.keys(labels);
		new Gauge({ name: PREFIX + name, help, labelNames, registers: [this.registry] }).set(labels, 1);
	}

	/** Set at every scrape. @param name without the prefix, its unit last. */
	gauge(name: string, help: string): Gauge {
		return new Gauge({ name: PREFIX + name, help, registers: [this.registry] });
	}

	/** One series per value of a label; whatever a scrape does not name is 0; undefined: none is told. */
	gauges(
		name: string,
		help: string,
		label: string,
		values: readonly string[],
	): (now: ReadonlyMap<string, number> | undefined) => void {
		const gauge = new Gauge({ name: PREFIX + name, help, labelNames: [label], registers: [this.registry] });
		const known = new Set(values);
		const set = (now: ReadonlyMap<string, number> | undefined) => {
			if (now === undefined) return gauge.reset();
			for (const value of values) gauge.labels(value).set(now.get(value) ?? 0);
			const others = [...now].filter(([value]) => !known.has(value)).reduce((sum, [, count]) => sum + count, 0);
			gauge.labels(OTHER).set(others);
		};
		set(new Map());
		return set;
	}

	/** @param name without the prefix; ends in _seconds. @returns takes ms. */
	histogram(name: string, help: string, buckets: readonly number[]): (ms: number) => void {
		const histogram = new Histogram({ name: PREFIX + name, help, buckets: [...buckets], registers: [this.registry] });
		return (ms) => histogram.observe(Math.max(0, ms) / 1000);
	}
}

/** Every combination of what labels can say, in their order. */
function combinations(labels: Labels): string[][] {
	return Object.values(labels).reduce<string[][]>(
		(rows, values) => rows.flatMap((row) => values.map((value) => [...row, value])),
		[[]],
	);
}
