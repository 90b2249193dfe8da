import { existsSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { Room } from "../../src/agent/room.ts";
import { silent } from "../../src/model/logger.ts";
import { Ballast } from "../../src/outbox/ballast.ts";
import { OUTBOX_KIND } from "../../src/outbox/kind.ts";
import { outboxOn } from "../../src/outbox/outbox.ts";
import { openDatabase } from "../../src/sqlite/database.ts";
import { after, append, freshOutbox, message, opIds, S, sealAndReserve, tempFolder } from "../outbox/fixture.ts";

const MIB = 1024 * 1024;
const FULL = expect.objectContaining({ code: "outbox_full" });
const DISK_FULL = expect.objectContaining({ code: "disk_full" });

/** An outbox of at most `maxBytes` with `fill`, which captures until it is not admitted any more. */
async function roomOf(maxBytes: number) {
	const { outbox, path } = await freshOutbox();
	const room = new Room({ outbox, maxBytes, ballast: undefined, log: silent });
	let events = 0;
	const fill = () => {
		for (;;) {
			room.admit(200_000, 1000);
			append(outbox, [message(`e${events}`, `m${events++}`, "x".repeat(200_000))]);
		}
	};
	return { outbox, path, room, fill, captured: () => events };
}

describe("the size cap", () => {
	test("stops capture at the limit, and not what sends", async () => {
		const { outbox, fill, captured } = await roomOf(16 * MIB);
		expect(fill).toThrow(FULL);
		const { live, wal } = outbox.size();
		expect(live + wal).toBeGreaterThanOrEqual(16 * MIB);
		expect(live + wal).toBeLessThan(16 * MIB + 500_000);
		expect(opIds(sealAndReserve(outbox))).toHaveLength(captured());
		expect(outbox.ack(S, captured(), 3000)).toBe(captured());
	});

	test("lets capture go on only once it is well below the limit", async () => {
		const { outbox, fill, room, captured } = await roomOf(16 * MIB);
		expect(fill).toThrow(FULL);
		sealAndReserve(outbox);
		outbox.ack(S, 2, 3000);
		expect(() => room.admit(1, 4000)).toThrow(FULL);
		outbox.ack(S, Math.ceil(captured() / 2), 5000);
		// A batch that is acknowledged in part is kept whole.
		outbox.ack(S, captured(), 6000);
		expect(() => room.admit(1, 7000)).not.toThrow();
		expect(fill).toThrow(FULL);
	});

	test("is kept by giving room back to the disk: a drained outbox is below a tenth of its peak", async () => {
		const { outbox, path, fill, room, captured } = await roomOf(16 * MIB);
		expect(fill).toThrow(FULL);
		outbox.checkpoint();
		const peak = statSync(path).size;
		sealAndReserve(outbox);
		outbox.ack(S, captured(), 3000);
		for (let look = 0; look < 40; look++) room.tidy(4000 + look);
		const size = statSync(path).size + statSync(`${path}-wal`).size;
		expect(size).toBeLessThan(peak / 10);
	});

	test("leaves pages free that are few beside the rest, and gives all but a MiB back where they are many", async () => {
		const { outbox, fill, captured } = await roomOf(64 * MIB);
		expect(fill).toThrow(FULL);
		// One that capture does not wait for.
		const room = new Room({ outbox, maxBytes: 1e12, ballast: undefined, log: silent });
		sealAndReserve(outbox);
		const freeOnce = (share: number) => {
			outbox.ack(S, Math.floor(captured() * share), 3000);
			outbox.retain(3000, 0);
			const { free } = outbox.size();
			for (let look = 0; look < 40; look++) room.tidy(3000);
			return { before: free, after: outbox.size().free };
		};
		const few = freeOnce(0.2);
		expect(few.after).toBe(few.before);
		expect(few.before).toBeGreaterThan(8 * MIB);
		const many = freeOnce(0.5);
		expect(many.before).toBeGreaterThan(24 * MIB);
		expect(many.after).toBeLessThanOrEqual(MIB);
	});
});

test("a checkpoint beside a reader gives up at once and succeeds once it is gone", async () => {
	const { outbox, path } = await freshOutbox();
	append(outbox, [message("e1", "m1", "x".repeat(10_000))]);
	const reader = await openDatabase(path, OUTBOX_KIND);
	after(() => reader.close());
	reader.exec("BEGIN; SELECT * FROM session");
	append(outbox, [message("e2", "m2", "x".repeat(10_000))]);
	const startedAt = performance.now();
	expect(outbox.checkpoint()).toBe(false);
	expect(performance.now() - startedAt).toBeLessThan(2000);
	reader.exec("COMMIT");
	expect(outbox.checkpoint()).toBe(true);
	expect(outbox.size().wal).toBe(0);
});

describe("the ballast", () => {
	/** An outbox on a file that may have no more pages than it has now: the disk is full. */
	async function onFullDisk() {
		const path = join(tempFolder(), "outbox.db");
		const sqlite = await openDatabase(path, OUTBOX_KIND);
		const outbox = outboxOn(sqlite);
		after(() => outbox.close());
		append(outbox, [message("e1", "m1")]);
		const ballast = new Ballast(path);
		const room = new Room({ outbox, maxBytes: 1e12, ballast, log: silent });
		sqlite.exec("PRAGMA max_page_count = 1");
		return { outbox, ballast, room, refill: () => sqlite.exec("PRAGMA max_page_count = 1000000") };
	}

	test("is a file of its user alone whose room is really taken", async () => {
		const { ballast } = await onFullDisk();
		const { mode, size, blocks } = statSync(ballast.path);
		expect(mode & 0o777).toBe(0o600);
		expect(size).toBeGreaterThanOrEqual(MIB);
		expect(blocks * 512).toBeGreaterThanOrEqual(size);
	});

	test("is not given up for capture", async () => {
		const { outbox, ballast, room } = await onFullDisk();
		expect(() => append(outbox, [message("e2", "m2", "x".repeat(100_000))])).toThrow(/full/);
		expect(existsSync(ballast.path)).toBe(true);
		expect(() => room.admit(1, 1000)).not.toThrow();
	});

	test("is given up for anything else, and capture waits until it can be made again", async () => {
		const { outbox, ballast, room } = await onFullDisk();
		expect(() => outbox.nack(S, 1, "x".repeat(100_000))).toThrow(/full/);
		expect(existsSync(ballast.path)).toBe(false);
		ballast.ensure = () => "given_up";
		expect(() => room.admit(1, 1000)).toThrow(DISK_FULL);
		expect(() => room.admit(1, 2000)).toThrow(DISK_FULL);
		Reflect.deleteProperty(ballast, "ensure");
		room.admit(1, 3000);
		expect(existsSync(ballast.path)).toBe(true);
	});

	test("that a kill has left half made is made anew", async () => {
		const { outbox, path } = await freshOutbox();
		const ballast = new Ballast(path);
		writeFileSync(`${ballast.path}.new`, "half");
		new Room({ outbox, maxBytes: 1e12, ballast, log: silent });
		expect(readdirSync(join(path, "..")).filter((name) => name.includes("ballast"))).toEqual(["outbox.db.ballast"]);
	});

	test("that cannot be made is told once and hinders nobody", async () => {
		const { outbox } = await freshOutbox();
		const told: string[] = [];
		const log = { ...silent, warn: (_facts: object, message: string) => void told.push(message) };
		const ballast = new Ballast(join(tempFolder(), "no", "such", "folder"));
		const room = new Room({ outbox, maxBytes: 1e12, ballast, log });
		room.admit(1, 1000);
		room.tidy(1000);
		expect(told).toEqual([expect.stringContaining("there is no ballast")]);
	});
});
