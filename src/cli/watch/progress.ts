/** What is known of a backlog at one moment. */
export interface Sample {
	/** Epoch ms. */
	readonly at: number;
	/** Ops that the server has not acknowledged. */
	readonly pending: number;
	/** Per session: ops that the share has, and when that was last heard. */
	readonly acked: ReadonlyMap<string, { readonly cursor: number; readonly last_acked_at: number | null }>;
}

/**
 * What can honestly be said of the end.
 *
 * level: nothing is pending. eta: at a steady rate, `ms` from now. growing: more comes in than goes out. stalled: nothing
 * was acknowledged for some time. unknown: too early, or too uneven to tell.
 */
export type Outlook =
	| { readonly kind: "level" | "growing" | "stalled" | "unknown" }
	| { readonly kind: "eta"; readonly ms: number };

export interface Progress {
	/** Acknowledged since this backlog began, or since it is watched. */
	readonly done: number;
	/** Those and what is pending. */
	readonly total: number;
	/** Acknowledged per second within the window; null before it can be told. */
	readonly per_second: number | null;
	readonly outlook: Outlook;
}

/** How far back the rate is looked at, in ms: batches come in bursts, and a person wants to see a change within a minute. */
const WINDOW_MS = 30_000;
/** Less than this tells no rate, in ms. */
const KNOWN_AFTER_MS = 4000;
/** Nothing acknowledged for this long is a stall, in ms: longer than any batch takes on a line that is of use. */
const STALLED_AFTER_MS = 10_000;
/** Steady: the halves of the window drain at rates of at most this ratio. */
const STEADY_RATIO = 2;
/** Samples that are kept; at the shortest interval the window has as many. */
const SAMPLES_MAX = 200;

interface Point {
	readonly at: number;
	readonly done: number;
	readonly pending: number;
}

/** Watches a backlog drain. Feed it in the order of time; it keeps no clock of its own. */
export class Watched {
	#points: Point[] = [];
	#last: Sample | undefined;

	observe(sample: Sample): Progress {
		const last = this.#last;
		this.#last = sample;
		const before = this.#points.at(-1);
		// A clock that was set back, or a backlog that has just begun, tells nothing of what was before.
		const isAnew = before === undefined || last === undefined || sample.at <= last.at || before.pending === 0;
		const done = (isAnew ? 0 : before.done) + (last === undefined ? 0 : ackedBetween(last, sample));
		if (isAnew) this.#points = [];
		const point = { at: sample.at, done, pending: sample.pending };
		// The base of the rate is the last look before the backlog: what it found done is not part of this one.
		if (isAnew && last !== undefined && last.at < sample.at)
			this.#points.push({ at: last.at, done: 0, pending: last.pending });
		this.#points.push(point);
		const oldest = sample.at - WINDOW_MS;
		while (this.#points.length > SAMPLES_MAX || (this.#points[1]?.at ?? Number.POSITIVE_INFINITY) <= oldest)
			this.#points.shift();
		return { done, total: done + sample.pending, ...rateOf(this.#points) };
	}
}

/** Only what was acknowledged between the two: positions jump too, when a share is taken over or compared. */
function ackedBetween(last: Sample, now: Sample): number {
	let sum = 0;
	for (const [session, { cursor, last_acked_at }] of now.acked) {
		const before = last.acked.get(session)?.cursor ?? 0;
		if (last_acked_at !== null && last_acked_at >= last.at && cursor > before) sum += cursor - before;
	}
	return sum;
}

function rateOf(points: readonly Point[]): Pick<Progress, "per_second" | "outlook"> {
	const [first, last] = [points[0], points.at(-1)];
	if (last === undefined || first === undefined || last.pending === 0)
		return { per_second: null, outlook: { kind: "level" } };
	// What was the matter before anything moved says nothing of how fast it moves.
	const base = points.findLast(({ done }) => done === first.done) ?? first;
	const span = last.at - base.at;
	const per_second = span < KNOWN_AFTER_MS ? null : ((last.done - base.done) * 1000) / span;
	const since = points.find(({ done }) => done === last.done) ?? last;
	if (last.at - since.at >= STALLED_AFTER_MS) return { per_second: 0, outlook: { kind: "stalled" } };
	// What comes in at once would hide for a window how fast it goes out, so that is looked at since the highest point.
	const most = Math.max(...points.map(({ pending }) => pending));
	const peak = points.findLast(({ pending }) => pending === most) ?? last;
	if (peak === last && per_second !== null && last.pending > first.pending)
		return { per_second, outlook: { kind: "growing" } };
	if (last.at - peak.at < KNOWN_AFTER_MS) return { per_second, outlook: { kind: "unknown" } };
	const middle = points.find(({ at }) => at >= (peak.at + last.at) / 2) ?? last;
	const [early, late] = [drainRate(peak, middle), drainRate(middle, last)];
	if (Math.min(early, late) <= 0 || Math.max(early, late) > STEADY_RATIO * Math.min(early, late))
		return { per_second, outlook: { kind: "unknown" } };
	return { per_second, outlook: { kind: "eta", ms: Math.round(last.pending / drainRate(peak, last)) } };
}

/** Ops per ms by which the backlog shrinks; 0 where there is no time between the two. */
function drainRate(from: Point, to: Point): number {
	return to.at > from.at ? (from.pending - to.pending) / (to.at - from.at) : 0;
}
