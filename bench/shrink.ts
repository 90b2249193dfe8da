import { statSync } from "node:fs";
import { Room } from "../src/agent/room.ts";
import { silent } from "../src/model/logger.ts";
import { openOutbox } from "../src/outbox/outbox.ts";
import { RETENTION_MS } from "../src/outbox/retention.ts";
import { LIMITS } from "../src/protocol/limits.ts";
import { fill } from "./backlog.ts";
import { type Bench, plain } from "./figure.ts";
import { fresh } from "./folder.ts";
import { capture, PAYLOAD_BYTES } from "./ops.ts";

const OPS = 1_000_000;
const KEPT = 0.1;
const CALM_LOOKS = 20;
/** Captured between two steps: what goes on meanwhile. */
const OTHER = "ses_other";

/** What an outbox gives back once everything is sent, while capture goes on. */
export const shrink: Bench = {
	name: "shrink",
	about: `${OPS.toLocaleString("en-US")} ops of 1 KiB sent, then tidied away a step per look, with an op captured between two`,
	async *run(context) {
		const path = fresh(context);
		const ops = context.isQuick ? OPS / 100 : OPS;
		await fill(path, ops, 1, PAYLOAD_BYTES);
		const outbox = await openOutbox(path);
		const size = () => statSync(path).size + statSync(`${path}-wal`).size;
		const sentAt = Date.now();
		for (let cursor = 0; cursor < ops; ) {
			outbox.seal("ses_0", LIMITS, sentAt);
			const batch = outbox.reserve("ses_0", "bench", 60_000, sentAt);
			if (batch === undefined) throw new Error("nothing was sealed");
			cursor += batch.ops.length;
			outbox.ack("ses_0", cursor, sentAt);
		}
		const peak = size();

		// As the agent's watcher does it at each look (agent/watcher.ts).
		const room = new Room({ outbox, maxBytes: 4 * peak, ballast: undefined, log: silent });
		const steps: number[] = [];
		const now = sentAt + RETENTION_MS + 1;
		// Until the file stays as it is, over several looks in which nothing was left to delete.
		for (let before = peak, calm = 0; calm < CALM_LOOKS; before = statSync(path).size) {
			outbox.append(capture(OTHER, steps.length, steps.length + 1), now);
			const startedAt = performance.now();
			const { more } = outbox.retain(now);
			room.tidy(now);
			steps.push(performance.now() - startedAt);
			calm = more || statSync(path).size < before ? 0 : calm + 1;
		}
		const [end, { live }] = [size(), outbox.size()];
		outbox.close();
		const of = `${ops.toLocaleString("en-US")} ops sent`;
		yield {
			...{ what: `file, ${of} and a week old`, against: "its peak", unit: "MB" },
			ours: mb(end),
			theirs: mb(peak),
			ratio: { median: end / peak, low: end / peak, high: end / peak },
			bar: { atMost: KEPT },
			note: `of what is left, ${(live / 1e6).toFixed(1)} MB are in use: a row per entity stays, by which a share is compared`,
		};
		yield plain(`looks until it is small, ${of}`, "looks", [steps.length]);
		yield plain(`step of one look, ${of}`, "ms", steps);
	},
};

function mb(bytes: number) {
	return { median: bytes / 1e6, low: bytes / 1e6, high: bytes / 1e6 };
}
