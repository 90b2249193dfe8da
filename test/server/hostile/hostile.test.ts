import { RpcTarget } from "capnweb";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { LIMITS, MESSAGE_BYTES_MAX } from "../../../src/protocol/limits.ts";
import { openSqlite } from "../../../src/sqlite/driver.ts";
import { batchOf, type Client, connect, createKey, plain, refusal, post as rpcPost } from "../client.ts";
import type { Report } from "./bystander.ts";
import { call, garbage, MAGIC, SPECIALS } from "./garbage.ts";
import { openSocket, pieces, post, postText, sendFrames, whisper } from "./peer.ts";
import { startTarget, type Target } from "./target.ts";

/** `SEED=n` sends the same garbage again; `ROUNDS=n` sends more of it. */
const SEED = Number(process.env.SEED ?? 1);
const ROUNDS = Number(process.env.ROUNDS ?? 400);
const MIB = 1024 * 1024;

/**
 * What the process may hold at the peak of all attacks together, in MiB, and what may be left of it afterwards.
 * The peak: bodies of 72 MiB held at once (HELD_BYTES_MAX), as bytes, as text and in pieces; the rest is what V8 has not
 * collected yet.
 */
const PEAK_MIB = 600;
const LEFT_MIB = 500;
/** A flood is served between, not before, the others' calls (G5). On a noisy machine, in ms. */
const P99_MS = 2000;

let target: Target;
let bystander: { stop(): Promise<Report> };
let before: { now: number; peak: number } | undefined;
/** The memory after each attack, for the report. */
const story: string[] = [];

beforeAll(async () => {
	target = await startTarget();
	bystander = await target.bystander();
	before = target.memory();
	target.forgetPeak();
});

afterAll(() => target?.dispose());

async function survived(attack: string): Promise<void> {
	expect(await target.isAlive()).toBe(true);
	const memory = target.memory();
	story.push(`${attack}: ${memory?.now}/${memory?.peak}`);
}

describe("a server under attack", () => {
	test(`answers or refuses ${ROUNDS} messages of seeded garbage on each transport`, async () => {
		for (const [index, message] of garbage(SEED, ROUNDS).entries()) {
			const frame = index % 5 === 0 ? Buffer.from(message) : message;
			const facts = `SEED=${SEED}, message ${index}: ${message.slice(0, 500)}`;
			expect(await sendFrames(target, [frame]), facts).toBeDefined();
			expect([200, 400], facts).toContain((await postText(target, message)).status);
		}
		await survived("garbage");
	}, 120_000);

	test.each([
		["lists", "[", "]"],
		["objects", '{"a":', "}"],
		["lists without their ends", "[", ""],
	])("refuses 18 MiB of nested %s without holding anybody up", async (_, open, close) => {
		const depth = Math.floor(MESSAGE_BYTES_MAX / (open.length + close.length)) - 100;
		const message = `["push",["pipeline",0,["viewShare"],[${open.repeat(depth)}1${close.repeat(depth)}]]]`;
		expect(await sendFrames(target, [message])).toEqual({ closed: 3000 });
		expect((await postText(target, message)).status).toBe(400);
		await survived("nesting");
	});

	test.each(["[],", "{},", "1,", '"",'])("refuses 18 MiB of %s without parsing it", async (value) => {
		const values = `${value.repeat(Math.floor(MESSAGE_BYTES_MAX / value.length) - 100)}1`;
		const message = `["push",["pipeline",0,["viewShare"],[[${values}]]]]`;
		expect(await sendFrames(target, [message])).toEqual({ closed: 3000 });
		expect((await postText(target, message)).status).toBe(400);
		await survived("values");
	});

	test("cannot be made to multiply what it was sent, nor to pile it up", async () => {
		const list = `["push",[[${"1,".repeat(30_000)}1]]]`;
		const bomb = `["push",["pipeline",0,["viewShare"],[["remap",1,[],[],[[[${"1,".repeat(30_000)}1]]]]]]]`;
		for (const messages of [[list, bomb], [bomb], ['["pipe"]', '["stream",["pipeline",1,["write"],["x"]]]']]) {
			expect(await sendFrames(target, messages)).toEqual({ closed: 3000 });
			expect((await postText(target, messages.join("\n"))).status).toBe(400);
		}
		await survived("bombs");
	});

	test("lets go of whoever sends 100 MiB, announced or not, in one frame or in many pieces", async () => {
		const size = 100 * MIB;
		expect(await post(target, pieces(size), size)).toSatisfy((fate) => fate === 413 || fate === "reset");
		expect(await post(target, pieces(size))).toSatisfy((fate) => fate === 413 || fate === "reset");
		// All at once: the largest bodies go, one after the other.
		const many = await Promise.all(Array.from({ length: 8 }, () => post(target, pieces(size))));
		expect(many.every((fate) => fate === 413 || fate === 503 || fate === "reset")).toBe(true);
		expect(await sendFrames(target, [Buffer.alloc(size, "x")])).toSatisfy(
			(fate) => "closed" in fate && [1006, 1009].includes(fate.closed),
		);
		const socket = await openSocket(target);
		const closed = new Promise<number>((resolve) => socket.once("close", resolve));
		for (const piece of pieces(size)) {
			if (socket.readyState !== socket.OPEN) break;
			await new Promise<void>((resolve) => socket.send(piece, { fin: false }, () => resolve()));
		}
		expect([1006, 1009]).toContain(await closed);
		await survived("100 MiB");
	}, 60_000);

	test("lets go of whoever sends 100 KB that are 100 MiB, without inflating more than a message may have", async () => {
		for (let n = 0; n < 8; n++) {
			const socket = await openSocket(target, true);
			const closed = new Promise<number>((resolve) => socket.once("close", resolve));
			socket.send(Buffer.alloc(100 * MIB, "x"));
			expect([1006, 1009]).toContain(await closed);
		}
		await survived("deflated bombs");
	}, 60_000);

	test("answers thousands of calls that nobody waits for, on a socket and in one POST", async () => {
		const calls = Array.from(
			{ length: 10_000 },
			(_, n) => `["push",["pipeline",0,["viewShare"],["a-slug-nobody-has-01"]]]\n["pull",${n + 1}]`,
		);
		const { status, text } = await postText(target, calls.join("\n"));
		expect(status).toBe(200);
		expect(text.split("\n").filter((line) => line.includes('"not_found"'))).toHaveLength(1000);
		expect(text.split("\n").filter((line) => line.includes('"busy"'))).toHaveLength(9000);
		const socket = await openSocket(target);
		const end = new Promise<number>((resolve) => socket.once("close", resolve));
		for (const messages of calls) for (const message of messages.split("\n")) socket.send(message);
		// It holds what was not released, up to a bound.
		expect(await end).toBe(1008);
		await survived("pipelined calls");
	}, 60_000);

	test("goes on when a thousand sockets say half a sentence, or nothing", async () => {
		const half = [
			"",
			"POST /rpc HTTP/1.1\r\nHost: sha",
			"POST /rpc HTTP/1.1\r\nHost: share\r\nContent-Length: 1000\r\n\r\nhalf",
			"POST /rpc HTTP/1.1\r\nHost: share\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nha",
		];
		const sockets = [];
		for (let n = 0; n < 950; n++) sockets.push(await whisper(target, half[n % half.length] ?? ""));
		const framed = [];
		for (let n = 0; n < 20; n++) {
			const socket = await openSocket(target);
			// The head of a frame of 1 MiB, and three bytes of it.
			(socket as unknown as { _socket: { write(data: Buffer): void } })._socket.write(
				Buffer.from("81ff000000000010000000000000616263", "hex"),
			);
			framed.push(socket);
		}
		const newcomer = await connect(target.url);
		const create_key = createKey();
		expect(await newcomer.api.createShare(target.key, { session_id: "ses_late", create_key })).toBeDefined();
		await newcomer.close();
		await survived("half sentences");
		for (const socket of [...sockets]) socket.destroy();
		for (const socket of framed) socket.terminate();
	}, 60_000);

	describe("from one who has a key", () => {
		let client: Client;
		let own: { grant: Awaited<ReturnType<typeof make>>; share: Awaited<ReturnType<Client["api"]["redeemShare"]>> };
		const make = (session_id: string) => client.api.createShare(target.key, { session_id, create_key: createKey() });

		beforeAll(async () => {
			client = await connect(target.url);
			const grant = await make("ses_own");
			own = { grant, share: await client.api.redeemShare(grant.share_id, grant.secret) };
			await own.share.appendOps(batchOf(0, plain(2)));
		});
		afterAll(() => client.close());

		test("takes no forged number, id or name for another", async () => {
			const op = batchOf(2, plain(1)).ops[0];
			const numbers = [
				-1,
				1.5,
				Number.NaN,
				Number.POSITIVE_INFINITY,
				2 ** 53,
				1e300,
				"2",
				null,
				undefined,
				[2],
				2n,
				{},
			];
			for (const field of ["expected_cursor", "capability_epoch", "seq"]) {
				for (const value of numbers) {
					const batch = { ...batchOf(2, []), ops: [{ ...op, [field]: value }] };
					const refused = await refusal(own.share.appendOps(batch as never));
					expect(refused, `${field} ${String(value)}`).toMatchObject({ code: "invalid_request" });
				}
			}
			for (const value of ["", "x".repeat(201), null, 1, {}, ["x"]]) {
				for (const field of ["op_id", "batch_id", "key", "depends_on"]) {
					if (field === "key" && value === "x".repeat(201)) continue;
					const batch = { ...batchOf(2, []), ops: [{ ...op, [field]: value }] };
					expect(await refusal(own.share.appendOps(batch as never))).toMatchObject({ code: "invalid_request" });
				}
				expect(await refusal(client.api.redeemShare(value as never, own.grant.secret))).toBeDefined();
			}
			const wrong = { ...batchOf(2, [{}]), batch_id: "another" };
			expect(await refusal(own.share.appendOps(wrong))).toMatchObject({ code: "invalid_request" });
			expect(await refusal(own.share.appendOps(batchOf(2, [{ capability_epoch: 7 }])))).toMatchObject({
				code: "stale_epoch",
			});
			expect(await own.share.appendOps(batchOf(9, [{}], { batch_id: "far" }))).toMatchObject({
				applied: [],
				cursor: 2,
			});
			expect(await own.share.appendOps(batchOf(0, [{ op_id: "forged" }], { batch_id: "near" }))).toMatchObject({
				rejected: [{ code: "cursor_conflict" }],
			});
			expect(await own.share.redemption()).toMatchObject({ cursor: 2, last_op_id: "op-1" });
		});

		test("keeps shares apart: another's op_ids, batch_ids and secret are nothing here", async () => {
			const victim = await make("ses_victim");
			const theirs = await client.api.redeemShare(victim.share_id, victim.secret);
			await theirs.appendOps(batchOf(0, [{ op_id: "shared-id" }]));
			const digests = await theirs.entityDigests();
			expect(await refusal(client.api.redeemShare(victim.share_id, own.grant.secret))).toMatchObject({
				code: "denied",
			});
			expect(await refusal(client.api.redeemShare(own.grant.share_id, victim.secret))).toMatchObject({
				code: "denied",
			});
			const ack = await own.share.appendOps(batchOf(2, [{ op_id: "shared-id", key: "message/mine" }]));
			expect(ack).toMatchObject({ applied: ["shared-id"], cursor: 3 });
			expect(await theirs.entityDigests()).toEqual(digests);
			expect(await theirs.redemption()).toMatchObject({ cursor: 1, last_op_id: "shared-id" });
			// An op that another share has applied is no dependency here.
			const depends = await own.share.appendOps(batchOf(3, [{ depends_on: "op-0" }, { depends_on: "nobody" }]));
			expect(depends).toMatchObject({ applied: ["op-3"], rejected: [{ code: "missing_dependency" }] });
		});

		test.each(MAGIC)("has %s for a word like any other", async (name) => {
			const { cursor } = await own.share.redemption();
			const payload = `{"${name}":{"${name}":{"polluted":true}}}`;
			const draft = { op_id: name, key: `message/${name}`, payload };
			expect(await own.share.appendOps(batchOf(cursor, [draft], { batch_id: name }))).toMatchObject({
				applied: [name],
			});
			expect(await own.share.redemption()).toMatchObject({ last_op_id: name });
			const body = await (await fetch(`${target.url}/api/share/${own.grant.slug}/data`)).text();
			expect(body).toContain(payload);
			// As a member of a message capnweb takes it away, or zod refuses it; either way nobody inherits it.
			const create = `{"session_id":"s","create_key":"${createKey()}","${name}":{"polluted":true}}`;
			expect((await postText(target, call("createShare", `"${target.key}"`, create))).status).toBe(200);
			expect((await postText(target, call(name))).text).toMatch(/^\["reject",1,\["error","Error","internal error/);
			expect(Object.keys(await own.share.redemption())).not.toContain("polluted");
		});

		test("takes data for data only: no stub, function, date, bytes, stream or number without end", async () => {
			const fakes: (() => unknown)[] = [
				() => new (class extends RpcTarget {})(),
				() => () => 1,
				() => new Date(),
				() => 1n,
				() => new Uint8Array(3),
				() => new ReadableStream(),
				() => new Error("x"),
			];
			for (const fake of fakes) {
				const { cursor } = await own.share.redemption();
				const drafts = ["payload", "key", "op_id", "expected_cursor"].map((field) => ({ [field]: fake() }));
				for (const draft of drafts) {
					const fresh = await connect(target.url);
					const share = fresh.api.redeemShare(own.grant.share_id, own.grant.secret);
					await expect(Promise.resolve(share.appendOps(batchOf(cursor, [draft as never])))).rejects.toThrow();
					fresh.api[Symbol.dispose]();
				}
				expect(await own.share.redemption()).toMatchObject({ cursor });
			}
			for (const special of SPECIALS) {
				const { status, text } = await postText(target, call("redeemShare", `"${own.grant.share_id}"`, special));
				expect([200, 400], special).toContain(status);
				expect(text, special).not.toContain('"resolve"');
			}
			await survived("no data");
		}, 90_000);

		test("sets aside a payload that nests too deep, at any size, and goes on", async () => {
			for (const depth of [LIMITS.payload_depth + 1, 1_000_000]) {
				const { cursor } = await own.share.redemption();
				const nested = `${"[".repeat(depth)}${"]".repeat(depth)}`;
				const ack = await own.share.appendOps(batchOf(cursor, [{ op_id: `deep-${depth}`, payload: nested }]));
				expect(ack).toMatchObject({ cursor, rejected: [{ code: "invalid_payload" }] });
			}
			await survived("deep payloads");
		});
	});

	test("has served a well-behaved client all the while, and holds no more than it may", async () => {
		const after = target.memory();
		const { sent, cursor, entities, failures, p50Ms, p99Ms, maxMs } = await bystander.stop();
		console.log(`hostile: the bystander's ${sent} ops took p50 ${p50Ms} ms, p99 ${p99Ms} ms, at most ${maxMs} ms`);
		console.log(`hostile: MiB before ${before?.now}, now/peak after ${story.join(", ")}`);
		expect(failures).toEqual([]);
		expect([cursor, entities]).toEqual([sent, sent]);
		expect(p99Ms).toBeLessThan(P99_MS);
		// Without /proc nothing tells what another process holds.
		if (after === undefined) return;
		expect(after.peak).toBeLessThan(PEAK_MIB);
		expect(after.now).toBeLessThan(LEFT_MIB);
	});

	test("writes a flood of refusals down in few rows, and all of them as a number", async () => {
		const sqlite = await openSqlite(target.database, { readonly: true });
		const told = () =>
			sqlite
				.prepare<{ rows: number; times: number }>(
					"SELECT count(*) AS rows, sum(times) AS times FROM audit WHERE method = 'redeemShare' AND code = 'not_found'",
				)
				.get();
		const start = told();
		for (let round = 0; round < 5; round++) {
			const api = rpcPost(target.url);
			await Promise.all(Array.from({ length: 900 }, (_, n) => refusal(api.redeemShare(`shr_${n}`, "s".repeat(43)))));
		}
		await target.stop();
		const end = told();
		sqlite.close();
		// A few of the tests before were counted, and not written down yet, when this one began.
		const counted = (end?.times ?? 0) - (start?.times ?? 0);
		expect([counted >= 4500, counted < 4600], `${counted}`).toEqual([true, true]);
		expect((end?.rows ?? 0) - (start?.rows ?? 0)).toBeLessThanOrEqual(3);
	});
});
