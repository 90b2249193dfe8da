import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { acquireLock, isLocked, type Lock, type Owned } from "../../src/sqlite/lock.ts";
import { Child } from "../outbox/child/spawn.ts";
import { after, tempFolder } from "../outbox/fixture.ts";

function path(): string {
	return join(tempFolder(), "data", "agent.lock");
}

async function acquire(at: string): Promise<Lock> {
	const result = await acquireLock(at);
	if (!("release" in result)) throw new Error(`owned by ${result.pid}`);
	after(() => result.release());
	return result;
}

describe("the agent's lock", () => {
	test("is held by one, told to all, and free again after release", async () => {
		const at = path();
		expect(await isLocked(at)).toBe(false);
		expect(existsSync(at)).toBe(false);
		const lock = await acquire(at);
		expect(lock.pid).toBe(process.pid);
		expect(await isLocked(at)).toBe(true);
		expect(await acquireLock(at)).toEqual({ pid: process.pid } satisfies Owned);
		lock.release();
		lock.release();
		expect(await isLocked(at)).toBe(false);
		expect(readdirSync(join(at, ".."))).toEqual(["agent.lock"]);
		(await acquire(at)).release();
	});

	test("is for its user's eyes only", async () => {
		const at = path();
		await acquire(at);
		expect([at, `${at}.pid`].map((file) => statSync(file).mode & 0o777)).toEqual([0o600, 0o600]);
		expect(readFileSync(`${at}.pid`, "utf8")).toBe(`${process.pid}\n`);
	});

	test("goes to exactly one of several processes", async () => {
		const at = path();
		const children = Array.from({ length: 4 }, () => new Child("hold", at));
		const answers = await Promise.all(children.map((child) => child.next()));
		const winner = children[answers.indexOf("acquired")];
		const others = answers.filter((answer) => answer !== "acquired");
		expect(others).toEqual(Array.from({ length: 3 }, () => `owned ${winner?.pid}`));
	});

	test("is free again within 100 ms of a kill -9", async () => {
		const at = path();
		const waits: number[] = [];
		for (let round = 0; round < 5; round++) {
			const child = new Child("hold", at);
			expect(await child.next()).toBe("acquired");
			const started = performance.now();
			child.kill("SIGKILL");
			const lock = await acquire(at);
			waits.push(performance.now() - started);
			lock.release();
			await child.exited;
		}
		const median = waits.sort((a, b) => a - b)[2] ?? Number.POSITIVE_INFINITY;
		expect(median).toBeLessThan(100);
	});

	test("stays with a holder that is stopped", async () => {
		const at = path();
		const child = new Child("hold", at);
		await child.next();
		child.kill("SIGSTOP");
		expect(await acquireLock(at)).toEqual({ pid: child.pid });
		expect(await isLocked(at)).toBe(true);
	});

	test("is not disturbed by a storm of probes", async () => {
		const at = path();
		(await acquire(at)).release();
		const storm = [1, 2, 3].map(() => new Child("probe", at));
		await Promise.all(storm.map((child) => child.next()));
		for (let round = 0; round < 30; round++) (await acquire(at)).release();
		const heard = storm.map((child) => child.said.length);
		await Promise.all(storm.map((child) => child.next()));
		expect(heard).toHaveLength(3);
	});

	test("does not take a dead or made-up pid for a holder", async () => {
		const at = path();
		const child = new Child("hold", at);
		await child.next();
		await child.murder();
		expect(await isLocked(at)).toBe(false);
		await acquire(at);
		for (const told of [`${child.pid}\n`, "no number", "-1", ""]) {
			writeFileSync(`${at}.pid`, told);
			expect(await acquireLock(at)).toEqual({ pid: null });
			expect(await isLocked(at)).toBe(true);
		}
	});

	test("refuses a file that is something else", async () => {
		const at = join(tempFolder(), "agent.lock");
		writeFileSync(at, "not a database, and longer than the hundred bytes of a header".repeat(20));
		const refusal = expect.objectContaining({ code: "foreign_database" });
		await expect(acquireLock(at)).rejects.toThrow(refusal);
		await expect(isLocked(at)).rejects.toThrow(refusal);
	});
});
