import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { Outbox } from "../../src/outbox/outbox.ts";
import { openReport, type Report } from "../../src/outbox/report.ts";
import { SESSION_STATES, type StateFacts, stateOf } from "../../src/outbox/session-state.ts";
import { processorMs } from "../fixture/processor.ts";
import { Child } from "./child/spawn.ts";
import { after, append, capture, freshOutbox, message, S, sealAndReserve, tempFolder, WIDE } from "./fixture.ts";

const SECRETS = { create_key: "CREATEKEY".padEnd(43, "k"), secret: "SECRET".padEnd(43, "s") };

async function report(path: string, now = 2000): Promise<Report> {
	const reader = await openReport(path);
	if (reader === undefined) throw new Error("no outbox");
	after(() => reader.close());
	return reader.read(now);
}

function share(outbox: Outbox, session = S): void {
	outbox.ask(session, "http://h", SECRETS.create_key, 1000);
	const grant = { share_id: `shr_${session}`, slug: "s".repeat(16), url: "http://h/s", capability_epoch: 4 };
	outbox.granted(session, { ...grant, secret: SECRETS.secret });
}

describe("openReport", () => {
	test("says that there is no outbox, and makes none", async () => {
		const path = join(tempFolder(), "outbox.db");
		expect(await openReport(path)).toBeUndefined();
		expect(existsSync(path)).toBe(false);
		writeFileSync(path, "");
		expect(await openReport(path)).toBeUndefined();
	});

	test("refuses what is not an outbox", async () => {
		const path = join(tempFolder(), "outbox.db");
		writeFileSync(path, "something else entirely".repeat(100));
		await expect(openReport(path)).rejects.toThrow(expect.objectContaining({ code: "foreign_database" }));
	});

	test("tells everything of a session, and of all of them", async () => {
		const { outbox, path } = await freshOutbox();
		append(outbox, [message("e1", "m1"), message("e2", "m2"), message("e3", "m3")], 1000);
		append(outbox, [message("e4", "m4")], 1500);
		share(outbox);
		outbox.seal(S, { ...WIDE, ops_per_batch: 2 }, 1600);
		outbox.seal(S, { ...WIDE, ops_per_batch: 1 }, 1600);
		outbox.reserve(S, "owner", 100, 1950);
		outbox.ack(S, 1, 1970);
		outbox.say({ pid: 7, state: "running", since: 900, opencode_connected: true }, 900);
		append(outbox, [message("e5", "m5")], 1200, "ses_2");
		const { agent, totals, sessions } = await report(path);
		expect(agent).toMatchObject({ pid: 7, state: "running", since: 900, opencode_connected: true });
		expect(totals).toEqual({
			pending: 4,
			excluded: 0,
			sealed: 2,
			in_flight: 1,
			dead: 0,
			bytes: 52,
			oldest_pending_at: 1000,
		});
		expect(sessions.map((session) => session.session_id)).toEqual([S, "ses_2"]);
		expect(sessions[0]).toEqual({
			...{ session_id: S, parent_id: null, title: `title of ${S}`, directory: "/work", wanted: "auto" },
			...{ source_state: "present", source_note: null, share_id: `shr_${S}`, slug: "s".repeat(16), url: "http://h/s" },
			...{ state: "pending", cursor: 1, epoch: 4, pending: 3, dead: 0, last_acked_at: 1970, last_error: null },
			...{
				parked_code: null,
				excluded: null,
				compare_reason: null,
				next_retry_at: null,
				oldest_pending_at: 1000,
				attempts: 0,
			},
		});
	});

	test("tells the oldest pending change as acks, burials and newer states leave it", async () => {
		const { outbox, path } = await freshOutbox();
		const oldest = async () => (await report(path)).totals.oldest_pending_at;
		expect(await oldest()).toBeNull();
		for (const n of [1, 2, 3]) append(outbox, [message(`e${n}`, `m${n}`)], 1000 * n);
		append(outbox, [message("e4", "m1", "newer")], 4000);
		expect(await oldest()).toBe(1000);
		share(outbox);
		outbox.seal(S, { ...WIDE, ops_per_batch: 2 }, 5000);
		outbox.reserve(S, "owner", 100, 5000);
		outbox.ack(S, 1, 5000);
		expect(await oldest()).toBe(2000);
		outbox.reject(S, 1, "op_too_large", "too large", 5000);
		expect(await oldest()).toBe(3000);
		outbox.seal(S, WIDE, 5000);
		outbox.ack(S, 2, 5000);
		expect(await oldest()).toBeNull();
		append(outbox, [message("e5", "m5")], 6000);
		expect(await oldest()).toBe(6000);
	});

	test("counts only live leases as in flight", async () => {
		const { outbox, path } = await freshOutbox();
		append(outbox, [message("e1", "m1")]);
		outbox.seal(S, WIDE, 1600);
		outbox.reserve(S, "owner", 100, 1950);
		expect((await report(path, 2049)).totals.in_flight).toBe(1);
		expect((await report(path, 2050)).totals.in_flight).toBe(0);
	});

	test("bears no secret", async () => {
		const { outbox, path } = await freshOutbox();
		append(outbox, [message("e1", "m1")]);
		share(outbox);
		outbox.say({ pid: 7 }, 1000);
		const text = JSON.stringify(await report(path));
		expect(text).toContain(`shr_${S}`);
		for (const secret of ["SECRET", "CREATEKEY", "secret", "create_key"]) expect(text).not.toContain(secret);
	});

	test("works while an agent writes, and sees what it commits", async () => {
		const { outbox, path } = await freshOutbox();
		const reader = await openReport(path);
		after(() => reader?.close());
		outbox.transaction(() => {
			append(outbox, [message("e1", "m1")]);
			expect(reader?.read(2000).totals.pending).toBe(0);
		});
		expect(reader?.read(2000).totals.pending).toBe(1);
	});

	test("works on what a killed agent has left, WAL and all", async () => {
		const path = join(tempFolder(), "outbox.db");
		const child = new Child("append", path, S, 1e9);
		for (let lines = 0; lines < 5; lines++) await child.next();
		await child.murder();
		expect(existsSync(`${path}-wal`)).toBe(true);
		const before = Number(child.said.at(-1) ?? 4);
		expect((await report(path)).totals.pending).toBeGreaterThanOrEqual(before);
	});

	test("works beside an agent that is stopped", async () => {
		const path = join(tempFolder(), "outbox.db");
		const child = new Child("append", path, S, 1e9);
		for (let lines = 0; lines < 5; lines++) await child.next();
		child.kill("SIGSTOP");
		expect((await report(path)).totals.pending).toBeGreaterThanOrEqual(4);
	});

	test("stays quick with 100,000 pending ops", async () => {
		const { outbox, path } = await freshOutbox();
		for (let session = 0; session < 100; session++) {
			const items = Array.from({ length: 1000 }, (_, n) => message(`e${n}`, `m${n}`));
			outbox.append(capture(null, 1000, items, `ses_${session}`), 1000 + session);
		}
		const reader = await openReport(path);
		after(() => reader?.close());
		const read = () => expect(reader?.read(2000).totals).toMatchObject({ pending: 100_000, oldest_pending_at: 1000 });
		expect(processorMs(read)).toBeLessThan(1000);
	});
});

describe("the state of a session", () => {
	const none: StateFacts & { asked: boolean } = {
		...{ wanted: "auto", parked_code: null, excluded: null, compare_reason: null, last_error: null },
		...{ source_state: "present", pending: 0, dead: 0, asked: true, share_id: "shr" },
	};
	const CASES: [Partial<typeof none>, string][] = [
		[{}, "synced"],
		[{ excluded: "its directory is in --exclude /x", pending: 3, compare_reason: "x" }, "excluded"],
		[{ excluded: "x", parked_code: "denied" }, "parked"],
		[{ excluded: "x", wanted: "unshare" }, "unsharing"],
		[{ dead: 1 }, "incomplete"],
		[{ asked: false, share_id: null }, "not_shared"],
		[{ asked: false, share_id: null, source_state: "deleted" }, "unshared"],
		[{ wanted: "delete", source_state: "deleted", pending: 1, last_error: "lost" }, "unsharing"],
		[{ source_state: "deleted" }, "synced"],
		[{ asked: false, share_id: null, wanted: "share" }, "pending"],
		[{ share_id: null }, "pending"],
		[{ pending: 1, dead: 1 }, "pending"],
		[{ pending: 1, asked: false, share_id: null }, "pending"],
		[{ pending: 1, last_error: "lost" }, "retrying"],
		[{ share_id: null, last_error: "refused" }, "retrying"],
		[{ pending: 1, compare_reason: "restored", last_error: "lost" }, "comparing"],
		[{ wanted: "unshare", pending: 1, compare_reason: "restored" }, "unsharing"],
		[{ wanted: "unshare", parked_code: "denied" }, "parked"],
		[{ pending: 1, parked_code: "revoked", compare_reason: "restored" }, "parked"],
		[{ wanted: "never", parked_code: "revoked", pending: 1 }, "unshared"],
	];
	for (const [facts, state] of CASES)
		test(`is ${state} given ${JSON.stringify(facts)}`, () => {
			expect(stateOf({ ...none, ...facts }, facts.asked ?? none.asked)).toBe(state);
		});

	test("has a case for each", () => {
		expect(new Set(CASES.map(([, state]) => state))).toEqual(new Set(SESSION_STATES));
	});

	test("is synced once everything is acknowledged", async () => {
		const { outbox, path } = await freshOutbox();
		append(outbox, [message("e1", "m1")]);
		share(outbox);
		sealAndReserve(outbox);
		outbox.ack(S, 1, 1900);
		expect((await report(path)).sessions[0]).toMatchObject({ state: "synced", oldest_pending_at: null });
	});
});
