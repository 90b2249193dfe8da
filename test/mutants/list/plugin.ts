import type { Mutant } from "../mutant.ts";

/** What runs inside OpenCode, and the lane to it. */
export const PLUGIN: readonly Mutant[] = [
	{
		name: "tell-a-stranger",
		guarantee: "G8",
		does: "Takes whoever says anything on the lane for the agent.",
		file: "plugin/lane-end.ts",
		find: 'if (told === undefined || helloIn(told[0] ?? "") === undefined) return over("stranger");',
		replace: 'if (told === undefined) return over("stranger");',
		caughtBy: ["plugin/lane-end.test.ts"],
	},
	{
		name: "wait-without-bound",
		guarantee: "G7",
		does: "Keeps every piece of text for an agent that does not read.",
		file: "plugin/lane-end.ts",
		find: "if (this.waitingBytes > WAITING_BYTES_MAX) return;",
		replace: "",
		caughtBy: ["plugin/lane-end.test.ts"],
	},
	{
		name: "take-the-lane-away",
		guarantee: "G7",
		does: "Removes a socket on which somebody else listens.",
		file: "source/lane.ts",
		find: "if (there !== undefined && (await isAnswered(address)))",
		replace: "if (there !== undefined && (await isAnswered(address)) && there.size > 0)",
		caughtBy: ["source/lane.test.ts"],
	},
	{
		name: "lane-for-everybody",
		guarantee: "G8",
		does: "Opens the lane in a folder where others can put a socket in its place.",
		file: "source/lane.ts",
		find: "if (distrust !== undefined) throw new Error(distrust);",
		replace: "",
		caughtBy: ["source/lane.test.ts"],
	},
	{
		name: "start-at-every-look",
		guarantee: "G7",
		does: "Starts an agent again at once where the last start has failed.",
		file: "plugin/starter.ts",
		find: "if (this.#runs || Date.now() < this.#nextAt) return undefined;",
		replace: "",
		caughtBy: ["plugin/starter.test.ts"],
	},
	{
		name: "leave-while-needed",
		guarantee: "G1",
		does: "Stops an idle agent although an OpenCode is there.",
		file: "agent/idleness.ts",
		find: "trace === seen && !isNeeded() && isDrained()",
		replace: "trace === seen && isDrained()",
		caughtBy: ["agent/idleness.test.ts"],
	},
];
