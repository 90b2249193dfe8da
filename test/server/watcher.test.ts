import { describe, expect, test } from "vitest";
import { type Clock, systemClock } from "../../src/model/clock.ts";
import { ShareRefusal } from "../../src/protocol/refusal.ts";
import { type Page, type Sink, Watcher } from "../../src/server/watcher.ts";

/** A far end whose answers the test gives. */
function farEnd() {
	const calls: { method: string; answer: PromiseWithResolvers<void> }[] = [];
	let disposals = 0;
	const call = (method: string) => {
		const answer = Promise.withResolvers<void>();
		calls.push({ method, answer });
		return answer.promise;
	};
	const sink: Sink = {
		ops: () => call("ops"),
		delta: () => call("delta"),
		ended: () => call("ended"),
		[Symbol.dispose]: () => void disposals++,
	};
	return { sink, calls, disposals: () => disposals };
}

const nothing: Page = { ops: [], cursor: 0 };
const one: Page = { ops: [{ position: 0, type: "todo", key: "todo", payload: "[]" }], cursor: 1 };
const delta = { key: "part/m/p", field: "text", delta: "x" };

/** A watcher that has begun with a page, and reads further ones. */
async function watching(sink: Sink, first: Page, read: () => Page, clock: Clock): Promise<Watcher> {
	let isBegun = false;
	const watcher = new Watcher(sink, () => (isBegun ? read() : first), clock);
	await watcher.begin(0, () => undefined);
	isBegun = true;
	return watcher;
}

describe("a watcher", () => {
	test("lets go of its sink when it is cancelled, also in the middle of a delivery", async () => {
		for (const first of [nothing, one]) {
			const { sink, disposals } = farEnd();
			const watcher = await watching(sink, first, () => nothing, systemClock);
			watcher.cancel();
			await watcher.done;
			watcher.cancel();
			expect(disposals()).toBe(1);
		}
	});

	test("lets go of a sink that is broken, and reads no more for it", async () => {
		const { sink, calls, disposals } = farEnd();
		let reads = 0;
		const read = () => {
			reads++;
			return nothing;
		};
		const watcher = await watching(sink, one, read, systemClock);
		calls[0]?.answer.reject(new Error("connection lost"));
		await watcher.done;
		watcher.wake();
		expect([reads, disposals(), calls.length]).toEqual([0, 1, 1]);
	});

	test("lets go of a sink that does not answer in time", async () => {
		const { sink, disposals } = farEnd();
		const late = Promise.withResolvers<void>();
		const clock: Clock = { now: () => 0, sleep: () => late.promise };
		const watcher = await watching(sink, one, () => nothing, clock);
		late.resolve();
		await watcher.done;
		expect(disposals()).toBe(1);
	});

	test("tells its viewer when a read finds the share gone", async () => {
		const { sink, calls, disposals } = farEnd();
		const read = () => {
			throw new ShareRefusal("revoked", "The share was deleted.");
		};
		const watcher = await watching(sink, nothing, read, systemClock);
		watcher.wake();
		await expect.poll(() => calls.map(({ method }) => method)).toEqual(["ended"]);
		calls[0]?.answer.resolve();
		await watcher.done;
		expect(disposals()).toBe(1);
	});

	test("reads first when it is woken by every change, so that none falls in between", async () => {
		const { sink, calls } = farEnd();
		const pages = [nothing, one];
		const watcher = new Watcher(sink, () => pages.shift() ?? { ops: [], cursor: 1 }, systemClock);
		const subscribed = Promise.withResolvers<void>();
		const begun = watcher.begin(0, () => subscribed.promise);
		expect(pages).toHaveLength(2);
		subscribed.resolve();
		// Between the subscription and the page that was read before it.
		watcher.wake();
		await begun;
		await expect.poll(() => calls.map(({ method }) => method)).toEqual(["ops"]);
		watcher.cancel();
		await watcher.done;
	});

	test("whose first read is refused throws it, tells its viewer nothing and lets go of its sink", async () => {
		const { sink, calls, disposals } = farEnd();
		const refuse = () => Promise.reject(new ShareRefusal("invalid_request", "It is beyond the cursor."));
		const watcher = new Watcher(sink, refuse, systemClock);
		await expect(watcher.begin(9, () => undefined)).rejects.toMatchObject({ code: "invalid_request" });
		await watcher.done;
		expect([calls.length, disposals()]).toEqual([0, 1]);
	});

	test("drops deltas beyond what a slow viewer has taken", async () => {
		const { sink, calls } = farEnd();
		const watcher = await watching(sink, nothing, () => nothing, systemClock);
		for (let count = 0; count < 100; count++) watcher.delta(delta);
		expect(calls).toHaveLength(32);
		calls[0]?.answer.resolve();
		await calls[0]?.answer.promise;
		watcher.delta(delta);
		watcher.delta(delta);
		expect(calls).toHaveLength(33);
		watcher.cancel();
		watcher.delta(delta);
		expect(calls).toHaveLength(33);
		await watcher.done;
	});
});
