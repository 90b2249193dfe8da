/** What several repeats of one measurement came to. */
export interface Spread {
	readonly median: number;
	readonly low: number;
	readonly high: number;
}

/** Takes one measurement, in whatever unit its figure names. Sets up and cleans up by itself, outside of what it times. */
export type Measurement = () => number | Promise<number>;

export interface Compared {
	readonly ours: Spread;
	readonly theirs: Spread;
	/** Ours divided by theirs, of each repeat by itself: what slows the machine down for a minute slows both. */
	readonly ratio: Spread;
}

/** Measures both sides by turns; see `byTurns`. */
export async function interleaved(
	sides: { readonly ours: Measurement; readonly theirs: Measurement },
	repeats: number,
): Promise<Compared> {
	const { ours, theirs } = await byTurns(sides, repeats);
	return compared(ours, theirs);
}

/** Takes each measurement `repeats` times, by turns, every other time in the opposite order. */
export async function byTurns<Name extends string>(
	sides: Readonly<Record<Name, Measurement>>,
	repeats: number,
): Promise<Record<Name, number[]>> {
	const names = Object.keys(sides) as Name[];
	const taken = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<Name, number[]>;
	for (let n = 0; n < repeats; n++)
		for (const name of n % 2 === 0 ? names : names.toReversed()) taken[name].push(await sides[name]());
	return taken;
}

/** Of measurements that were taken in pairs. */
export function compared(ours: readonly number[], theirs: readonly number[]): Compared {
	const ratios = ours.map((value, n) => value / (theirs[n] ?? Number.NaN));
	return { ours: spreadOf(ours), theirs: spreadOf(theirs), ratio: spreadOf(ratios) };
}

/** @throws RangeError when there are none. */
export function spreadOf(values: readonly number[]): Spread {
	return { median: quantile(values, 0.5), low: quantile(values, 0), high: quantile(values, 1) };
}

/** The value below which `share` (0 to 1) of all values lie, between two of them in proportion. */
export function quantile(values: readonly number[], share: number): number {
	const sorted = values.toSorted((a, b) => a - b);
	const at = share * (sorted.length - 1);
	const [low, high] = [sorted[Math.floor(at)], sorted[Math.ceil(at)]];
	if (low === undefined || high === undefined) throw new RangeError("nothing was measured");
	return low + (high - low) * (at - Math.floor(at));
}

/** Seconds that `work` takes. */
export async function seconds(work: () => unknown): Promise<number> {
	const startedAt = performance.now();
	await work();
	return (performance.now() - startedAt) / 1000;
}
