import { type Bench, figure } from "./figure.ts";
import { byTurns, compared } from "./measure.ts";
import { streamed } from "./streamed.ts";
import { captured, loggedDatabase, rowsRead, tailed } from "./tail.ts";

const EVENTS = 100_000;
/** What one real bash call was seen to write. */
const UPDATES = 202;

/** What OpenCode logs, into the outbox. */
export const capture: Bench = {
	name: "capture",
	about: "OpenCode's log tailed, and a streamed tool call sent",
	async *run(context) {
		const events = context.isQuick ? EVENTS / 100 : EVENTS;
		const path = await loggedDatabase(context, events);
		const { ours, whole, theirs } = await byTurns(
			{
				ours: () => tailed(path, events),
				whole: () => captured(context, path, events),
				theirs: () => rowsRead(path, events),
			},
			context.repeats,
		);
		const about = { against: "reading the rows alone", unit: "events/s" };
		const of = `${events.toLocaleString("en-US")} events of 1 KiB`;
		yield figure({ ...about, what: `tailing ${of}`, bar: { atLeast: 0.5 } }, compared(ours, theirs));
		yield figure({ ...about, what: `tailing ${of} into the outbox` }, compared(whole, theirs));
		const ways = { behind: "sent when it is over", live: "sent while it streams, an update every 25 ms" };
		for (const way of context.isQuick ? (["behind"] as const) : (["behind", "live"] as const)) {
			const pauseMs = way === "behind" || context.isQuick ? 0 : 25;
			const results: { sent: number; logged: number }[] = [];
			for (let n = 0; n < (context.isQuick ? 1 : 3); n++) results.push(await streamed(context, UPDATES, way, pauseMs));
			yield figure(
				{
					what: `${UPDATES} updates of a tool call, ${ways[way]}`,
					...{ against: "bytes that OpenCode logs", unit: "bytes", bar: { atMost: 1 / 20 } },
				},
				compared(
					results.map(({ sent }) => sent),
					results.map(({ logged }) => logged),
				),
			);
		}
	},
};
