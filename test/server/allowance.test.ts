import { expect, test } from "vitest";
import { CLIENTS_MAX, Windows } from "../../src/server/allowance.ts";
import { Limiter } from "../../src/server/limiter.ts";
import { notFound } from "../../src/server/refusals.ts";

/** A clock that a test sets. */
function clockAt(at: number) {
	return {
		at,
		now() {
			return this.at;
		},
	};
}

test("a window lets its amount through, then tells how long it still lasts", () => {
	const clock = clockAt(1000);
	const windows = new Windows({ amount: 3, ms: 500 }, clock);
	const ask = (name: string, amount = 1) => {
		const wait = windows.wait(name, amount);
		if (wait === 0) windows.take(name, amount);
		return wait;
	};
	expect([ask("a"), ask("a"), ask("a"), ask("a")]).toEqual([0, 0, 0, 500]);
	clock.at = 1400;
	expect([ask("a"), ask("b", 2), ask("b", 2)]).toEqual([100, 0, 500]);
	clock.at = 1500;
	expect([ask("a"), ask("b", 2)]).toEqual([0, 400]);
	// A clock that was set back locks nobody out.
	clock.at = 10;
	expect([ask("a"), ask("b")]).toEqual([0, 0]);
});

test("what is larger than a whole window gets through an empty one", () => {
	const clock = clockAt(0);
	const windows = new Windows({ amount: 10, ms: 100 }, clock);
	expect(windows.wait("a", 50)).toBe(0);
	windows.take("a", 50);
	expect(windows.wait("a", 1)).toBe(100);
	clock.at = 100;
	expect(windows.wait("a", 50)).toBe(0);
});

test("a flood of clients takes no more memory than its cap, and whoever came last is still counted", () => {
	const clock = clockAt(0);
	const windows = new Windows({ amount: 1, ms: 1000 }, clock);
	for (let n = 0; n < 3 * CLIENTS_MAX; n++) {
		windows.take(`client ${n}`, 1);
		expect(windows.size).toBeLessThanOrEqual(CLIENTS_MAX);
	}
	expect(windows.wait(`client ${3 * CLIENTS_MAX - 1}`, 1)).toBe(1000);
	clock.at = 1000;
	windows.take("the next one", 1);
	expect(windows.size).toBe(1);
});

test("what is refused by a key takes nothing from its address, nor the other way round", () => {
	const limiter = new Limiter({ creates: { amount: 2, ms: 1000 } }, clockAt(0));
	const [home, away] = [limiter.of("2001:db8::1"), limiter.of("2001:db8:0:0:ffff::1")];
	const other = limiter.of("2001:db8:0:1::1");
	home.create("key a");
	// Of the same /64.
	away.create("key b");
	expect(() => home.create("key c")).toThrow(expect.objectContaining({ code: "busy", retry_after_ms: 1000 }));
	other.create("key a");
	expect(() => other.create("key a")).toThrow("Come again in 1 s");
	other.create("key c");
});

test("who has guessed too often is not told any more whether a guess is right; others are", async () => {
	const clock = clockAt(0);
	const limiter = new Limiter({ guesses: { amount: 3, ms: 1000 } }, clock);
	const [stranger, owner] = [limiter.of("192.0.2.1"), limiter.of("192.0.2.2")];
	const wrong = () => {
		throw notFound();
	};
	expect(() => stranger.show(wrong)).toThrow("no such share");
	await expect(Promise.resolve(stranger.show(async () => wrong()))).rejects.toThrow("no such share");
	expect(stranger.show(() => "right")).toBe("right");
	expect(() => stranger.show(wrong)).toThrow("no such share");
	expect(() => stranger.show(() => "right")).toThrow(expect.objectContaining({ code: "busy" }));
	expect(owner.show(() => "right")).toBe("right");
	clock.at = 1000;
	expect(stranger.show(() => "right")).toBe("right");
});
