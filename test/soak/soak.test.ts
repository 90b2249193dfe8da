import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { isFlat, trendOf } from "./trend.ts";
import type { Verdict } from "./verdict.ts";

const SOAK = fileURLToPath(new URL("./soak.ts", import.meta.url));
const HOUR_MS = 3_600_000;
const MIB = 1024 * 1024;

test("a short soak with restarts of the server loses nothing, and verify is clean", { timeout: 120_000 }, async () => {
	const args = [SOAK, "--minutes", "0.2", "--rate", "100", "--restart", "5"];
	const { stdout } = await promisify(execFile)(process.execPath, args);
	const verdict = JSON.parse(stdout) as Verdict;
	expect(verdict).toMatchObject({ failures: [], verified: { clean: true, sessions: verdict.sessions } });
	expect(verdict.flat).toContain("not judged");
	expect(verdict.restarts.SIGTERM + verdict.restarts.SIGKILL).toBeGreaterThan(0);
	expect(verdict.events).toBeGreaterThan(1000);
	expect(verdict.ops_delivered).toBeGreaterThan(0);
	expect(verdict.verified.entities).toBeGreaterThan(verdict.messages - verdict.messages_removed);
});

test("a value that grows is told from one that goes up and down", () => {
	const minutes = Array.from({ length: 20 * 60 }, (_, second) => second * 1000);
	const wave = (at: number) => 10 * MIB * Math.sin(at / 7000);
	const leak = trendOf(minutes.map((at) => ({ at, value: 100 * MIB + wave(at) + (at / HOUR_MS) * 60 * MIB })));
	const still = trendOf(minutes.map((at) => ({ at, value: 100 * MIB + wave(at) })));
	expect(leak.points).toBe(20);
	expect(leak.perHour / MIB).toBeCloseTo(60, -1);
	expect(isFlat(leak, MIB)).toBe(false);
	expect(isFlat(still, MIB)).toBe(true);
	expect(still.mean / MIB).toBeCloseTo(100, 0);
});

test("two points make no trend", () => {
	const { standardError } = trendOf([0, 60_000].map((at) => ({ at, value: at })));
	expect(standardError).toBe(Number.POSITIVE_INFINITY);
});
