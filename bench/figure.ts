import { type Compared, type Spread, spreadOf } from "./measure.ts";

/** A line of the table: a figure with both sides of its ratio. */
export interface Figure {
	/** What is measured, and against what. */
	readonly what: string;
	readonly against: string;
	/** Of both sides: `ops/s`, `ms`, `MB` …; `null` when a side has no number of its own. */
	readonly unit: string;
	readonly ours: Spread | null;
	readonly theirs: Spread | null;
	/** What is held against the bar: ours divided by theirs, unless the figure is a plain number. */
	readonly ratio: Spread;
	/** Undefined: a figure that is only reported. */
	readonly bar?: Bar;
	/** What a reader must know to understand it, in a sentence. */
	readonly note?: string;
}

/** What a figure is to reach. */
export type Bar = { readonly atLeast: number } | { readonly atMost: number };

export function holds({ ratio, bar }: Figure): boolean {
	if (bar === undefined) return true;
	return "atLeast" in bar ? ratio.median >= bar.atLeast : ratio.median <= bar.atMost;
}

/** A figure of two sides that were measured by turns. */
export function figure(about: Pick<Figure, "what" | "against" | "unit" | "bar" | "note">, sides: Compared): Figure {
	return { ...about, ...sides };
}

/** A figure of one side, held against its bar as it is. */
export function plain(what: string, unit: string, values: readonly number[], bar?: Bar, note?: string): Figure {
	const ours = spreadOf(values);
	return {
		...{ what, against: "", unit, ours, theirs: null, ratio: ours },
		...(bar && { bar }),
		...(note && { note }),
	};
}

/** Of one bench of the table: its figures as they come. */
export interface Bench {
	/** What `--only` calls it. */
	readonly name: string;
	/** What it measures, in a line. */
	readonly about: string;
	run(context: Context): AsyncIterable<Figure>;
}

export interface Context {
	/** A folder on the disk that is measured; it goes at the end. */
	readonly folder: string;
	/** How often each side is measured. */
	readonly repeats: number;
	/** Everything at a hundredth of its size: proves that the bench runs, and no figure. */
	readonly isQuick: boolean;
	/** Another server to send to, and the file with its key; undefined: servers of the bench's own. */
	readonly server: { readonly url: string; readonly keyFile: string } | undefined;
	/** A line for whoever waits. */
	tell(line: string): void;
}
