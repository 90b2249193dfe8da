/**
 * Seeds that found a bug, each with what it was. Their histories follow from the world and the product as they are: where
 * either changes, a seed may tell another story. What was mended can be put back by hand (test/mutants/list/restored.ts),
 * and a seed that finds it looked for anew.
 */
export const REGRESSIONS: readonly { readonly seed: number; readonly sentence: string }[] = [
	{
		seed: 28,
		sentence: "Over HTTP a restored server was noticed after ten minutes only; `flush` ended before it had asked.",
	},
	{
		seed: 171,
		sentence:
			"A batch whose beginning a copy of the outbox had put there was applied to its end, without the batch before.",
	},
	{
		seed: 521,
		sentence: "A copy of the outbox took another one's repair of one share for all there was to know.",
	},
	{
		seed: 798,
		sentence: "Where the share acknowledged last was parked, nothing told that the server had gone back.",
	},
	{
		seed: 809,
		sentence: "The second restore behind one HTTP connection was noticed at one share, and at no other.",
	},
	{
		seed: 941,
		sentence: "A clock that was set forward by a year during a read stopped capture for as long.",
	},
	{
		seed: 2532,
		sentence: "An older outbox put a newer share of a deleted session back, since no watermark told which was newer.",
	},
];
