import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { idleness } from "../../src/agent/idleness.ts";
import type { Clock } from "../../src/model/clock.ts";
import { discard } from "../evidence/folder.ts";

const root = mkdtempSync(join(tmpdir(), "idleness-"));
afterAll(() => discard(root));

const AFTER_MS = 60_000;

/** Lets time pass in leaps, and does at each what is asked. Returns when it was idle, in ms from the start. */
async function idleAt(
	facts: { isNeeded?: (ms: number) => boolean; isDrained?: (ms: number) => boolean; at?: (ms: number) => void },
	untilMs = 600_000,
): Promise<number | undefined> {
	let ms = 0;
	const stop = new AbortController();
	const clock: Clock = {
		now: () => ms,
		async sleep(more) {
			ms += more;
			facts.at?.(ms);
			if (ms > untilMs) stop.abort();
		},
	};
	const idle = await idleness(
		{
			afterMs: AFTER_MS,
			isNeeded: () => facts.isNeeded?.(ms) ?? false,
			isDrained: () => facts.isDrained?.(ms) ?? true,
			opencodeDb: join(root, "opencode.db"),
			clock,
		},
		stop.signal,
	);
	return idle ? ms : undefined;
}

describe("an agent is idle", () => {
	it("when nothing has gone on for so long, also where there is no OpenCode", async () => {
		expect(await idleAt({})).toBe(AFTER_MS);
	});

	it("never while an OpenCode is there, and so long after it has gone", async () => {
		expect(await idleAt({ isNeeded: () => true })).toBeUndefined();
		const at = await idleAt({ isNeeded: (ms) => ms < 200_000 });
		expect(at).toBeGreaterThanOrEqual(200_000 + AFTER_MS - 5000);
		expect(at).toBeLessThanOrEqual(200_000 + AFTER_MS + 5000);
	});

	it("never while something is left that can be sent", async () => {
		expect(await idleAt({ isDrained: () => false })).toBeUndefined();
		expect(await idleAt({ isDrained: (ms) => ms >= 100_000 })).toBeGreaterThanOrEqual(100_000 + AFTER_MS - 5000);
	});

	it("never while an OpenCode that is not on the lane writes its database, or only its WAL", async () => {
		const write = (name: string) => (ms: number) => {
			if (ms % 30_000 === 0) writeFileSync(join(root, name), "x".repeat(ms / 1000));
		};
		expect(await idleAt({ at: write("opencode.db") })).toBeUndefined();
		expect(await idleAt({ at: write("opencode.db-wal") })).toBeUndefined();
		expect(await idleAt({})).toBe(AFTER_MS);
	});
});
