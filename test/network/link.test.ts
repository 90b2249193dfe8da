import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { systemClock } from "../../src/model/clock.ts";
import { openReport } from "../../src/outbox/report.ts";
import { REFUSALS } from "../../src/protocol/codes.ts";
import { type Lab, messageDigests, openLab } from "../agent/lab.ts";
import { refusal } from "../fixture/scripted-server.ts";
import { IS_ALL } from "./extent.ts";
import { type Method, startLiar } from "./liar.ts";

const KINDS = ["websocket", "http-batch"] as const;
/** 1 MiB at 10 KB/s takes two minutes: `npm run test:network`. CI sends less, with deadlines as much shorter. */
const SLOW_BYTES = IS_ALL ? 1024 * 1024 : 32 * 1024;
const SHORT = { callMs: 500, handshakeMs: 3000, heartbeatMs: 400 };

const METHODS: Method[] = ["createShare", "redemption", "appendOps", "revokeCapability", "entityDigests"];
/** A page of digests has the time that its 150 KiB need over the slowest link: too long for a test. */
const TIMED = METHODS.filter((method) => method !== "entityDigests");
/** A hundred MiB are made, sent and refused in three seconds: once in CI. */
const LARGE: Method[] = IS_ALL ? METHODS : ["appendOps"];

/** What `status` shows of the only session, or else of the agent. */
async function errorTold(lab: Lab): Promise<string> {
	const reader = await openReport(join(lab.dir, "outbox.db"));
	const report = reader?.read(Date.now());
	reader?.close();
	return report?.sessions[0]?.last_error ?? report?.agent?.last_error ?? "";
}

describe.each(KINDS)("over %s", (kind) => {
	test(
		`an op of ${SLOW_BYTES / 1024} KiB gets through 10 KB/s, and no deadline cuts it off`,
		async () => {
			const lab = await openLab(IS_ALL ? {} : { timing: SHORT });
			lab.proxy.faults.refuseUpgrades = kind === "http-batch";
			lab.capture("ses_1", ["first"]);
			lab.start();
			await lab.drained();
			lab.proxy.faults.bytesPerSecond = 10_000;
			// Compression makes a quarter less of it, as each character is a byte of six random bits.
			const text = randomBytes(SLOW_BYTES).toString("base64url").slice(0, SLOW_BYTES);
			const payload = JSON.stringify({ id: "large", text });
			const startedAt = performance.now();
			lab.append("ses_1", [{ op_id: "evt_large", type: "message", key: "message/large", payload }]);
			const seconds = SLOW_BYTES / 10_000;
			for (const end = Date.now() + 2000 * seconds + 10_000; (lab.outbox.session("ses_1")?.pending ?? 1) > 0; ) {
				expect(Date.now()).toBeLessThan(end);
				await systemClock.sleep(20);
			}
			expect(performance.now() - startedAt).toBeGreaterThan(700 * seconds);
			expect(lab.log.filter(({ message }) => message === "an attempt failed")).toEqual([]);
			expect(lab.proxy.traffic.to_server).toBeLessThan(1.2 * SLOW_BYTES + 5000);
		},
		IS_ALL ? 300_000 : 40_000,
	);

	test("a third of a second each way slows the first batch by a few round trips and loses nothing", async () => {
		const lab = await openLab({ limits: { ops_per_batch: 1 } });
		lab.proxy.faults.refuseUpgrades = kind === "http-batch";
		lab.proxy.faults.latencyMs = 300;
		const startedAt = performance.now();
		lab.capture("ses_1", ["a", "b", "c"]);
		lab.start();
		await lab.drained();
		// Connect, make, redeem; then all three at once over the WebSocket, one by one over HTTP.
		expect(performance.now() - startedAt).toBeGreaterThan(4 * 600);
		lab.proxy.faults.latencyMs = 0;
		expect(await lab.digests("ses_1")).toEqual(messageDigests(["a", "b", "c"]));
		expect(lab.log.filter(({ message }) => message === "an attempt failed")).toEqual([]);
	});

	test("a black hole in the middle of a flush is noticed, and what fell into it is sent once more", async () => {
		const lab = await openLab({ timing: SHORT, limits: { ops_per_batch: 1 } });
		lab.proxy.faults.refuseUpgrades = kind === "http-batch";
		const texts = Array.from({ length: 40 }, (_, n) => `text ${n}`);
		lab.proxy.faults.latencyMs = 5;
		lab.capture("ses_1", texts);
		lab.start();
		await lab.until(() => (lab.outbox.session("ses_1")?.acked_cursor ?? 0) >= 5);
		lab.proxy.faults.blackHole = true;
		await lab.until(() => (lab.outbox.agent()?.connect_attempts ?? 0) > 0);
		lab.proxy.faults.blackHole = false;
		lab.proxy.dropConnections();
		lab.outbox.say({ next_connect_at: 0 }, Date.now());
		await lab.drained();
		expect(await lab.digests("ses_1")).toEqual(messageDigests(texts));
		expect((await lab.redeem("ses_1")).redemption.cursor).toBe(texts.length);
	});

	test("an answer that comes twice is heard once", async () => {
		const lab = await openLab({ limits: { ops_per_batch: 1 } });
		const liar = await startLiar();
		liar.script.post = (_request, response) => {
			const end = response.end.bind(response) as (text: string) => typeof response;
			response.end = ((text: string) => end(text === "" ? "" : `${text}\n${text}`)) as typeof response.end;
			return false;
		};
		liar.script.socket = (socket) => {
			const send = socket.send.bind(socket) as (text: string) => void;
			socket.send = ((text: string) => {
				send(text);
				send(text);
			}) as typeof socket.send;
			return false;
		};
		lab.proxy.faults.refuseUpgrades = kind === "http-batch";
		lab.proxy.retarget(liar.port);
		lab.capture("ses_1", ["a", "b", "c"]);
		lab.start();
		await lab.drained();
		expect(liar.applied()).toEqual(["evt_ses_1_0", "evt_ses_1_1", "evt_ses_1_2"]);
		expect(lab.outbox.session("ses_1")).toMatchObject({ acked_cursor: 3, attempts: 0 });
	});

	test.each([
		["never", TIMED, () => new Promise(() => undefined)],
		["after the deadline", TIMED, (honest: unknown) => systemClock.sleep(700).then(() => honest)],
		["with 100 MiB", LARGE, () => "x".repeat(100 * 1024 * 1024)],
		["with its own failure", METHODS, () => Promise.reject(new Error("no such table: share"))],
	])(
		"a server that answers %s decides nothing, whatever it was asked",
		async (_, methods, tell) => {
			for (const method of methods) {
				const lab = await openLab({ timing: { callMs: 300, handshakeMs: 3000 }, random: () => 0 });
				const liar = await startLiar();
				lab.proxy.faults.refuseUpgrades = kind === "http-batch";
				lab.proxy.retarget(liar.port);
				lab.capture("ses_1", ["a", "b"]);
				if (method === "revokeCapability" || method === "entityDigests") lab.outbox.mustCompare("ses_1", "the test");
				liar.lie = { method, isDone: true, tell };
				lab.start();
				await lab.until(() => liar.lies === 1);
				await lab.drained();
				expect(lab.log.map(({ facts }) => facts.outcome).filter(Boolean), method).toContain("unknown");
				expect(liar.digests(), method).toEqual(messageDigests(["a", "b"]));
				expect(lab.outbox.session("ses_1"), method).toMatchObject({ pending: 0, parked_code: null });
				await lab.dispose();
			}
		},
		60_000,
	);

	test.each(REFUSALS)(
		"a refusal %s where it makes no sense loses nothing and applies nothing twice",
		async (code) => {
			for (const method of [
				"createShare",
				"redemption",
				"appendOps",
				"revokeCapability",
				"entityDigests",
			] as Method[]) {
				for (const isDone of [true, false]) {
					const lab = await openLab({ random: () => 0 });
					const liar = await startLiar();
					lab.proxy.faults.refuseUpgrades = kind === "http-batch";
					lab.proxy.retarget(liar.port);
					lab.capture("ses_1", ["a", "b"]);
					if (method === "revokeCapability" || method === "entityDigests") lab.outbox.mustCompare("ses_1", "the test");
					liar.lie = {
						...{ method, isDone },
						tell: () => {
							throw refusal(code, { retry_after_ms: 1, details: { capability_epoch: 99 } });
						},
					};
					lab.start();
					await lab.until(() => liar.lies === 1);
					const session = () => lab.outbox.session("ses_1");
					const isRefused = () => lab.outbox.agent()?.server_state === "refused";
					await lab.until(() => session()?.pending === 0 || session()?.parked_code != null || isRefused());
					const facts = `${method}, ${isDone}, ${JSON.stringify(session())}`;
					if (session()?.pending === 0) expect(liar.digests(), facts).toEqual(messageDigests(["a", "b"]));
					// It waits for a person, with its ops, and says for what.
					else {
						expect(session()?.pending, facts).toBe(2);
						expect(await errorTold(lab), facts).toMatch(/refused|key/);
					}
					expect(lab.outbox.deadLetters()).toEqual([]);
					await lab.dispose();
				}
			}
		},
		60_000,
	);
});

test("a proxy that refuses upgrades and then cuts an HTTP answer in the middle costs one effect", async () => {
	const lab = await openLab({ random: () => 0 });
	lab.proxy.faults.refuseUpgrades = true;
	lab.capture("ses_1", ["a"]);
	lab.start();
	await lab.drained();
	expect(lab.outbox.agent()?.transport).toBe("http-batch");
	for (const bytes of [1, 200, 400]) {
		const text = `cut ${bytes}`;
		const cut = lab.proxy.cutAfter("to_client", bytes);
		lab.capture("ses_1", [text]);
		await cut;
		await lab.drained();
	}
	const texts = ["a", "cut 1", "cut 200", "cut 400"];
	expect(await lab.digests("ses_1")).toEqual(messageDigests(texts));
	expect((await lab.redeem("ses_1")).redemption.cursor).toBe(texts.length);
});
