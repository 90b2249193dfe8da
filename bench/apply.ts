import { type Bench, figure } from "./figure.ts";
import { interleaved } from "./measure.ts";
import { handWritten, ruled } from "./rules.ts";

const OPS = 20_000;

/** `appendOps` of the server's rules against the statement that one would write by hand. */
export const apply: Bench = {
	name: "apply",
	about: "batches of 1 KiB ops applied by the server's rules, one durable transaction each",
	async *run(context) {
		for (const perBatch of [100, 500]) {
			const ops = context.isQuick ? 2 * perBatch : OPS;
			yield figure(
				{
					what: `apply, batches of ${perBatch}`,
					against: "INSERT … SELECT FROM json_each, the same tables",
					...{ unit: "ops/s", bar: { atLeast: 0.6 } },
				},
				await interleaved(
					{ ours: () => ruled(context, ops, perBatch), theirs: () => handWritten(context, ops, perBatch) },
					context.repeats,
				),
			);
		}
	},
};
