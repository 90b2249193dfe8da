import { expect, test } from "vitest";
import type { Clock } from "../../src/model/clock.ts";
import { MESSAGE_BYTES_MAX } from "../../src/protocol/limits.ts";
import { Bodies, HELD_BYTES_MAX } from "../../src/server/bodies.ts";

/** A clock that a test turns. */
function turnedClock(): Clock & { turn(ms: number): Promise<void> } {
	let now = 0;
	const sleepers = new Set<{ at: number; wake: () => void }>();
	return {
		now: () => now,
		sleep: (ms, signal) =>
			new Promise((wake) => {
				const sleeper = { at: now + ms, wake };
				sleepers.add(sleeper);
				signal?.addEventListener("abort", () => wake());
			}),
		async turn(ms) {
			now += ms;
			for (const sleeper of sleepers)
				if (sleeper.at <= now) {
					sleepers.delete(sleeper);
					sleeper.wake();
				}
			await new Promise((resolve) => setImmediate(resolve));
		},
	};
}

/** A request whose body comes as the test sends it. */
function request(): { request: Request; send(bytes: number): Promise<void>; end(): void; isCancelled: () => boolean } {
	let controller: ReadableStreamDefaultController<Uint8Array> | undefined;
	let cancelled = false;
	const body = new ReadableStream<Uint8Array>({
		start: (given) => {
			controller = given;
		},
		cancel: () => {
			cancelled = true;
		},
	});
	return {
		request: new Request("http://share/rpc", { method: "POST", body, duplex: "half" } as RequestInit),
		async send(bytes) {
			if (!cancelled) controller?.enqueue(new Uint8Array(bytes).fill(0x78));
			await new Promise((resolve) => setImmediate(resolve));
		},
		end: () => controller?.close(),
		isCancelled: () => cancelled,
	};
}

const length = async (text: string) => text.length;

test("a body comes whole, however it is cut into pieces", async () => {
	const bodies = new Bodies(turnedClock());
	const one = request();
	const read = bodies.read(one.request, length);
	for (const bytes of [1, 1000, 5]) await one.send(bytes);
	one.end();
	expect(await read).toBe(1006);
});

test("a body that is too large is let go of as soon as that is known", async () => {
	const bodies = new Bodies(turnedClock());
	const one = request();
	const read = bodies.read(one.request, length);
	await one.send(MESSAGE_BYTES_MAX);
	await one.send(1);
	expect(await read).toBe("too_large");
	expect(one.isCancelled()).toBe(true);
});

test("when all together are too many the largest goes, and the small ones get through", async () => {
	const bodies = new Bodies(turnedClock());
	const large = Array.from({ length: HELD_BYTES_MAX / MESSAGE_BYTES_MAX }, request);
	const reads = large.map((one) => bodies.read(one.request, length));
	for (const [index, one] of large.entries()) await one.send(MESSAGE_BYTES_MAX - index);
	const small = request();
	const smallRead = bodies.read(small.request, length);
	await small.send(1_000_000);
	small.end();
	expect(await smallRead).toBe(1_000_000);
	expect(await reads[0]).toBe("busy");
	for (const one of large.slice(1)) one.end();
	expect(await Promise.all(reads.slice(1))).toEqual(large.slice(1).map((_, index) => MESSAGE_BYTES_MAX - index - 1));
});

test("a body slower than the slowest link goes, one at its pace stays for as long as it takes", async () => {
	const clock = turnedClock();
	const bodies = new Bodies(clock);
	const [slow, steady] = [request(), request()];
	const [slowRead, steadyRead] = [bodies.read(slow.request, length), bodies.read(steady.request, length)];
	await slow.send(100);
	for (let second = 0; second < 120; second += 5) {
		await steady.send(5 * 8192);
		await clock.turn(5000);
	}
	expect(await slowRead).toBe("too_slow");
	steady.end();
	expect(await steadyRead).toBe(24 * 5 * 8192);
});

test("what a POST takes to be answered is not its body's pace", async () => {
	const clock = turnedClock();
	const one = request();
	const answer = Promise.withResolvers<string>();
	const read = new Bodies(clock).read(one.request, () => answer.promise);
	await one.send(10);
	one.end();
	for (let look = 0; look < 20; look++) await clock.turn(5000);
	answer.resolve("answered");
	expect(await read).toBe("answered");
});
