/**
 * Seeds that found a bug, each with what it was. Their histories follow from the world and the product as they are: where
 * either changes, a seed may tell another story. What was mended can be put back by hand (test/mutants/list/restored.ts),
 * and a seed that finds it looked for anew.
 */
export const REGRESSIONS: readonly { readonly seed: number; readonly sentence: string }[] = [
	{
		seed: 5,
		sentence:
			"A prefix was acknowledged on the word of one position, where an older copy of the outbox had put that event.",
	},
	{
		seed: 6,
		sentence: "A restored server was noticed at one share, and the others, which had nothing to send, stayed behind.",
	},
	{
		seed: 90,
		sentence:
			"A comparison forgot what was removed and acknowledged before a server was restored, and it stayed for good.",
	},
	{
		seed: 113,
		sentence: "The flusher span for ever on an HTTP connection that had grown old while a call was under way.",
	},
	{
		seed: 152,
		sentence: "A comparison left on the share what OpenCode had removed and nobody had captured yet.",
	},
];
