import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import type { Status } from "../../src/cli/status-facts.ts";
import { BUN } from "../fixture/cli.ts";
import { Random } from "./random.ts";
import { type Shape, World } from "./world.ts";

/** `SEED=n` makes the same choices again. */
const SEED = Number(process.env.SEED ?? 3);
const FOLDERS = process.env.KILLS === undefined ? 5 : 14;
/** Kills of the first start of one folder, one after the other, before it is left alone. */
const KILLS = 3;
const NODE_SHARE = 0.05;

test(`an agent that was killed ${KILLS} times while it set up starts the next time, ${FOLDERS} times`, {
	timeout: 300_000,
}, async () => {
	const random = new Random(SEED);
	// The time of a whole start on this machine now; learned from each that is left alone.
	let startMs = 300;
	for (let folder = 0; folder < FOLDERS; folder++) {
		const world = await World.make((["embedded", "remote"] satisfies Shape[])[folder % 2] as Shape);
		try {
			for (let kill = 0; kill < KILLS; kill++) {
				const isNode = random.chance(NODE_SHARE);
				const agent = world.startAgent(isNode ? process.execPath : BUN);
				const ended = await Promise.race([delay(startMs * (isNode ? 4 : 1) * random.next(), undefined), agent.ended]);
				expect(ended, agent.stdout() + agent.stderr()).toBeUndefined();
				await agent.kill();
			}
			const startedAt = performance.now();
			const agent = world.startAgent(BUN);
			await agent.ready();
			startMs = performance.now() - startedAt;
			const { code, json } = await world.cli("status", "--json");
			expect([code, json<Status>().agent]).toMatchObject([0, { pid: agent.pid }]);
		} finally {
			await world.close();
		}
	}
});
