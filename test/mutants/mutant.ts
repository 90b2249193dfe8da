/** A deliberate fault: what a maintainer could write by mistake, and what is to notice it. */
export interface Mutant {
	/** Words with hyphens; what `--only` takes. */
	readonly name: string;
	/** What it breaks first (design, section 2). */
	readonly guarantee: "G1" | "G2" | "G3" | "G4" | "G5" | "G6" | "G7" | "G8";
	/** What it does, in one sentence. */
	readonly does: string;
	/** Below `src/`. */
	readonly file: string;
	/** Occurs exactly once in the file. */
	readonly find: string;
	readonly replace: string;
	/** What is to catch it, the cheapest first: test files below `test/`, or the simulation. */
	readonly caughtBy: readonly string[];
}

/** The name by which a mutant's `caughtBy` means the simulation. */
export const SIMULATION = "simulation";
