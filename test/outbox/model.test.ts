import fc from "fast-check";
import { expect, test } from "vitest";
import { compare, overTruth } from "../../src/agent/compare.ts";
import { digestOf } from "../../src/model/json.ts";
import type { OpIntent } from "../../src/model/op.ts";
import { type Outbox, openOutbox } from "../../src/outbox/outbox.ts";
import type { ReservedBatch } from "../../src/outbox/reserve.ts";
import {
	capture,
	message,
	messageRemoved,
	opIds,
	part,
	partRemoved,
	reserveAll,
	rowsOf,
	S,
	tempFolder,
	watermark,
} from "./fixture.ts";
import { NaiveOutbox } from "./naive.ts";

/** Longer than OP_BYTES as a payload, so that sealing buries it. */
const LONG = "much too long for the server";
const OP_BYTES = 24;
const SEALED_OPS = 6;

const text = fc.constantFrom("a", "b", "c", "d", LONG);
const id = fc.constantFrom("m1", "m2");
const partId = fc.constantFrom("p1", "p2");
const change = fc.oneof(
	{ weight: 3, arbitrary: fc.record({ make: fc.constant("message" as const), id, text }) },
	{ weight: 5, arbitrary: fc.record({ make: fc.constant("part" as const), id, partId, text }) },
	{ weight: 1, arbitrary: fc.record({ make: fc.constant("messageRemoved" as const), id }) },
	{ weight: 1, arbitrary: fc.record({ make: fc.constant("partRemoved" as const), id, partId }) },
);
type Change = typeof change extends fc.Arbitrary<infer T> ? T : never;

const share = fc.nat({ max: 100 });
const action = fc.oneof(
	{
		weight: 8,
		arbitrary: fc.record({
			verb: fc.constant("append" as const),
			changes: fc.array(change, { minLength: 1, maxLength: 4 }),
		}),
	},
	{ weight: 4, arbitrary: fc.record({ verb: fc.constant("seal" as const), ops: fc.integer({ min: 1, max: 4 }) }) },
	{ weight: 3, arbitrary: fc.record({ verb: fc.constant("ack" as const), share }) },
	{ weight: 4, arbitrary: fc.record({ verb: fc.constant("checkpoint" as const), id, partId, text }) },
	{ weight: 2, arbitrary: fc.record({ verb: fc.constantFrom("reject", "revive", "discard", "rebase"), share }) },
	{ weight: 2, arbitrary: fc.record({ verb: fc.constantFrom("stale", "retain", "reserve", "reopen") }) },
);
type Action = typeof action extends fc.Arbitrary<infer T> ? T : never;

/** The real outbox and the naive one, side by side. */
class Walk {
	readonly #path: string;
	#outbox: Outbox;
	readonly #naive = new NaiveOutbox();
	#events = 0;
	#fresh = 0;
	/** Every batch by name, as it was when it was first reserved. */
	readonly #frozen = new Map<string, string>();

	private constructor(path: string, outbox: Outbox) {
		this.#path = path;
		this.#outbox = outbox;
	}

	static async begin(path: string): Promise<Walk> {
		return new Walk(path, await openOutbox(path));
	}

	close(): void {
		this.#outbox.close();
	}

	async step(step: Action): Promise<void> {
		const [outbox, naive] = [this.#outbox, this.#naive];
		const pick = (length: number) => Math.floor((("share" in step ? step.share : 0) / 101) * length);
		switch (step.verb) {
			case "append": {
				const items = step.changes.map((one) => this.#item(one));
				const from = outbox.session(S)?.watermark?.seq ?? null;
				outbox.append(capture(from, naive.watermark + items.length, items), 1000);
				naive.append(items);
				break;
			}
			case "checkpoint":
				this.#checkpoint(part(`c${++this.#fresh}`, step.id, step.partId, step.text));
				break;
			case "stale":
				expect(outbox.append(capture(-1, 1e6, [message("x", "m1", "stale")]), 1000).outcome).toBe("stale");
				break;
			case "seal":
				if (outbox.session(S)) this.#seal(step.ops);
				break;
			case "ack": {
				const ops = pick(naive.sealed + 1);
				expect(outbox.ack(S, this.#cursor() + ops, 3000)).toBe(ops);
				naive.ack(ops);
				break;
			}
			case "reject":
				if (naive.sealed > 0) {
					const index = pick(naive.sealed);
					// What rejects an op has applied those before it.
					outbox.ack(S, this.#cursor() + index, 4000);
					naive.ack(index);
					outbox.reject(S, this.#cursor(), "invalid_payload", "no", 4000);
					naive.reject(0, "invalid_payload");
				}
				break;
			case "revive":
			case "discard":
				if (naive.dead.length > 0) {
					const index = pick(naive.dead.length);
					const letter = outbox.deadLetters()[index]?.id ?? 0;
					if (step.verb === "revive") outbox.revive(letter, 5000);
					else outbox.discard(letter);
					naive[step.verb](index);
				}
				break;
			case "rebase":
				if (outbox.session(S)) this.#rebase(pick(naive.sealed + 1));
				break;
			case "retain":
				outbox.retain(6000, pick(2) * 1e9);
				break;
			case "reserve":
				this.#reserve();
				break;
			case "reopen":
				outbox.close();
				this.#outbox = await openOutbox(this.#path);
				this.#outbox.recover();
		}
		await this.check();
	}

	/** Acknowledges all that is left and looks at what the share holds then. */
	async drain(): Promise<void> {
		if (this.#outbox.session(S) === undefined) return;
		do {
			this.#seal(4);
			this.#reserve();
			const { sealed } = this.#naive;
			this.#outbox.ack(S, this.#cursor() + sealed, 3000);
			this.#naive.ack(sealed);
		} while (this.#naive.line.length > 0);
		await this.check();
		expect(this.#outbox.session(S)?.pending).toBe(0);
	}

	async check(): Promise<void> {
		const [outbox, naive] = [this.#outbox, this.#naive];
		const session = outbox.session(S);
		expect(session?.pending ?? 0).toBe(naive.line.length);
		const rows = await rowsOf<{ op_id: string; payload: string }>(
			this.#path,
			"SELECT op_id, payload FROM op JOIN session USING (session_id) WHERE op.id > acked_id ORDER BY op.id",
		);
		expect(rows).toEqual(naive.line.map(({ item }) => ({ op_id: item.op_id, payload: item.payload })));
		expect(session?.acked_cursor ?? 0).toBe(this.#cursor());
		expect(session?.sealed_cursor ?? 0).toBe(this.#cursor() + naive.sealed);
		expect(outbox.deadLetters().map(({ op_id, code }) => [op_id, code])).toEqual(
			naive.dead.map(({ item, code }) => [item.op_id, code]),
		);
		expect(outbox.capturedDigests(S)).toEqual(naive.digests());
		// Nothing is lost: once the line has arrived, the share holds what OpenCode does, save for what was set aside.
		const held = naive.shareAfter(naive.line.length);
		for (const key of new Set([...held.keys(), ...naive.truth.keys()]))
			if (!naive.excused.has(key)) expect([key, held.get(key)?.payload]).toEqual([key, naive.aim(key)]);
	}

	/** Text over what OpenCode has committed of a part; where it may be left out, only then. */
	#checkpoint(item: OpIntent): void {
		const [outbox, naive] = [this.#outbox, this.#naive];
		const must = naive.takesCheckpoint(item.key);
		const isNew = naive.entities.get(item.key)?.payload !== item.payload;
		const result = outbox.checkpointText(S, item.key, item.op_id, () => item.payload, 1500);
		if (must) expect(result).toBe(isNew ? "written" : "unchanged");
		if (!naive.entities.has(item.key)) expect(result).toBe("unfit");
		if (result === "written") naive.checkpoint(item);
	}

	#cursor(): number {
		return this.#naive.base + this.#naive.acked.length;
	}

	#item(one: Change): OpIntent {
		const op_id = `e${++this.#events}`;
		if (one.make === "message") return message(op_id, one.id, one.text);
		if (one.make === "part") return part(op_id, one.id, one.partId, one.text);
		return one.make === "messageRemoved" ? messageRemoved(op_id, one.id) : partRemoved(op_id, one.id, one.partId);
	}

	#seal(ops: number): number {
		const naive = this.#naive;
		const limits = { ops_per_batch: ops, batch_bytes: 1e6, op_bytes: OP_BYTES, sealed_ops: SEALED_OPS };
		// The first op depends on the batch before it, as long as that is unacknowledged.
		const before = this.#reserve().at(-1)?.batch_id;
		const { sealed } = this.#outbox.seal(S, limits, 2000);
		const frozen = naive.seal({ ops, room: SEALED_OPS, opBytes: OP_BYTES });
		expect(sealed).toBe(frozen.length);
		if (sealed === 0) return 0;
		const batch = this.#reserve().at(-1);
		expect(batch?.ops.map((op) => [op.op_id, op.depends_on])).toEqual(
			frozen.map((op, n) => {
				const own = op.depends && naive.line.includes(op.depends) ? op.depends : undefined;
				return [op.item.op_id, (n === 0 && before) || (own?.item.op_id ?? null)];
			}),
		);
		// The watermark never overstates: what it covers is in no op that is still unsealed.
		const covered = batch?.source_watermark?.seq ?? 0;
		for (const op of naive.line.slice(naive.sealed))
			for (const position of op.covers) expect(position).toBeGreaterThan(covered);
		if (naive.sealed === naive.line.length && naive.watermark > 0) expect(covered).toBe(naive.watermark);
		return sealed;
	}

	/** All sealed batches: contiguous from the acked cursor, and the same bytes each time. */
	#reserve(): ReservedBatch[] {
		this.#outbox.nack(S, 0, "lost");
		const batches = reserveAll(this.#outbox);
		const naive = this.#naive;
		const first = batches[0]?.first_position ?? this.#cursor();
		expect(first).toBeLessThanOrEqual(this.#cursor());
		expect(opIds(batches).slice(this.#cursor() - first)).toEqual(
			naive.line.slice(0, naive.sealed).map((op) => op.item.op_id),
		);
		let position = first;
		for (const batch of batches) {
			expect(batch.first_position).toBe(position);
			position += batch.ops.length;
			const bytes = JSON.stringify({ ...batch, attempts: 0 });
			expect(this.#frozen.get(batch.batch_id) ?? bytes).toBe(bytes);
			this.#frozen.set(batch.batch_id, bytes);
		}
		return batches;
	}

	/** As the agent does when the share has `arrived` ops of ours and a stranger's three on top. */
	#rebase(arrived: number): void {
		const [outbox, naive] = [this.#outbox, this.#naive];
		const held = naive.shareAfter(arrived);
		const digests = new Map([...held].map(([key, op]) => [key, digestOf(op.payload)]));
		const newId = () => `f${++this.#fresh}`;
		const aimed = overTruth([...naive.truth.values()], outbox.checkpoints(S), digests);
		const compared = compare(digests, aimed.entities, outbox.removedKeys(S), newId);
		const { fresh } = compared;
		const same = new Map([...aimed.adopted, ...compared.same]);
		const cursor = this.#cursor() + arrived + 3;
		const upTo = naive.watermark === 0 ? null : watermark(naive.watermark);
		const { committed } = aimed;
		outbox.rebase(S, { cursor, last_op_id: "theirs", fresh, same, committed, watermark: upTo }, 7000);
		const removed = new Set(fresh.map((op) => op.key));
		const onlyShare = [...held.keys()].filter((key) => !naive.truth.has(key) && !removed.has(key));
		naive.rebase(cursor, held, fresh, same.keys(), committed);
		// What only the share has is never removed; the removal was set aside or thrown away.
		for (const key of onlyShare) naive.excused.add(key);
	}
}

test("the outbox does what the naive one does, loses nothing, and drains to what OpenCode holds", async () => {
	const folder = tempFolder();
	let run = 0;
	await fc.assert(
		fc.asyncProperty(fc.array(action, { minLength: 5, maxLength: 50 }), async (steps) => {
			const walk = await Walk.begin(`${folder}/${run++}.db`);
			try {
				for (const step of steps) await walk.step(step);
				await walk.drain();
			} finally {
				walk.close();
			}
		}),
		{ numRuns: Number(process.env.OUTBOX_RUNS ?? 40) },
	);
}, 120_000);
