/** A straight line through measurements. */
export interface Trend {
	/** Change of the value per hour. */
	readonly perHour: number;
	/** Standard error of `perHour`; infinite for fewer than three points, which tell nothing. */
	readonly standardError: number;
	readonly points: number;
	readonly min: number;
	readonly mean: number;
	readonly max: number;
}

/** The span that is averaged into one point, in ms: two restarts of the server, so that their rhythm is no trend. */
const SPAN_MS = 60_000;
const HOUR_MS = 3_600_000;

/**
 * Fits a line by least squares to the means of each minute.
 *
 * Means, because samples that lie seconds apart repeat each other: taken one by one they would make the standard error
 * many times smaller than it is.
 */
export function trendOf(samples: readonly { readonly at: number; readonly value: number }[]): Trend {
	const start = samples[0]?.at ?? 0;
	const spans = new Map<number, number[]>();
	for (const { at, value } of samples) {
		const span = Math.floor((at - start) / SPAN_MS);
		spans.set(span, [...(spans.get(span) ?? []), value]);
	}
	const points = [...spans].map(([span, values]) => ({ x: (span * SPAN_MS) / HOUR_MS, y: mean(values) }));
	const values = samples.map(({ value }) => value);
	const [x, y] = [mean(points.map((point) => point.x)), mean(points.map((point) => point.y))];
	const spread = sum(points.map((point) => (point.x - x) ** 2));
	const perHour = spread === 0 ? 0 : sum(points.map((point) => (point.x - x) * (point.y - y))) / spread;
	const left = sum(points.map((point) => (point.y - y - perHour * (point.x - x)) ** 2));
	const standardError = points.length < 3 ? Number.POSITIVE_INFINITY : Math.sqrt(left / (points.length - 2) / spread);
	const range = { min: Math.min(...values), mean: mean(values), max: Math.max(...values) };
	return { perHour, standardError, points: points.length, ...range };
}

/** True unless the value grows by more than `tolerance` per hour, and by more than chance explains (three errors). */
export function isFlat({ perHour, standardError }: Trend, tolerance: number): boolean {
	return perHour <= tolerance || perHour - 3 * standardError <= 0;
}

function sum(values: readonly number[]): number {
	return values.reduce((total, value) => total + value, 0);
}

function mean(values: readonly number[]): number {
	return values.length === 0 ? 0 : sum(values) / values.length;
}
