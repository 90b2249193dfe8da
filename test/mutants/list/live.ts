import { type Mutant, SIMULATION } from "../mutant.ts";

/** What is put over OpenCode's state while it streams, and how it goes again. */
export const LIVE: readonly Mutant[] = [
	{
		name: "keep-a-checkpoint-over-what-is-newer",
		guarantee: "G4",
		does: "Takes the text of a checkpoint for what the share holds, after OpenCode has committed more.",
		file: "outbox/append.ts",
		find: "digest = excluded.digest, checkpoint = NULL, last_op",
		replace: "digest = excluded.digest, last_op",
		caughtBy: ["agent/live.test.ts", "outbox/model.test.ts"],
	},
	{
		name: "compare-takes-streamed-text-off",
		guarantee: "G1",
		does: "Brings a share back to what OpenCode has committed, where only the share has the text.",
		file: "agent/compare.ts",
		find: "const isHeld = text !== undefined && text.digest === digestOf(entity.payload);",
		replace: "const isHeld = text !== undefined && text.digest === text.checkpoint;",
		caughtBy: ["agent/live.test.ts"],
	},
	{
		name: "compare-keeps-streamed-text-over-what-is-newer",
		guarantee: "G4",
		does: "Keeps a checkpoint on the share though OpenCode has gone on.",
		file: "agent/compare.ts",
		find: "const isHeld = text !== undefined && text.digest === digestOf(entity.payload);",
		replace: "const isHeld = text !== undefined;",
		caughtBy: ["agent/live.test.ts"],
	},
	{
		name: "put-text-behind-a-gap",
		guarantee: "G4",
		does: "Puts text behind a beginning that is shorter than what came before it.",
		file: "protocol/live.ts",
		find: "if (overlap < 0 || overlap >= run.text.length",
		replace: "if (overlap >= run.text.length",
		caughtBy: ["protocol/live.test.ts", "agent/live.test.ts", SIMULATION],
	},
	{
		name: "put-text-over-a-state-that-it-does-not-continue",
		guarantee: "G4",
		does: "Puts text that was heard of a part over a state that OpenCode has begun anew.",
		file: "agent/live.ts",
		find: "const isPast = part.committed !== committed || (since !== undefined && isEvent(op_id) && op_id > since);",
		replace: "const isPast = false;",
		caughtBy: ["agent/live.test.ts", SIMULATION],
	},
];
