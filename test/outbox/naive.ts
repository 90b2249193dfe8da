import { digestOf } from "../../src/model/json.ts";
import { messageIdOf, type OpIntent, REMOVALS } from "../../src/model/op.ts";

/** An op of the naive outbox; its identity is the object. */
export interface NaiveOp {
	item: OpIntent;
	/** What it depends on, as long as that is in the line. */
	readonly depends: NaiveOp | null;
	/** Source positions that reach the share with this op. */
	readonly covers: Set<number>;
}

export interface NaiveLetter {
	readonly item: OpIntent;
	readonly code: string;
	readonly parent: NaiveLetter | null;
}

interface NaiveEntity {
	/** What the share holds, or will hold. */
	payload: string;
	/** What OpenCode has committed; differs where text that was streaming is over it. */
	committed: string;
	readonly created: NaiveOp | null;
	last: NaiveOp | null;
}

/** One session's outbox as the design tells it, in plain lists: what the real one is checked against. */
export class NaiveOutbox {
	/** Ops that are not acknowledged: the first `sealed` of them are. */
	line: NaiveOp[] = [];
	sealed = 0;
	acked: OpIntent[] = [];
	/** The share's cursor below `acked`, which a rebase moves. */
	base = 0;
	dead: NaiveLetter[] = [];
	watermark = 0;
	/** Keys that may differ on the share, since a person has to act or has thrown something away. */
	readonly excused = new Set<string>();
	/** What OpenCode holds. */
	readonly truth = new Map<string, OpIntent>();
	readonly entities = new Map<string, NaiveEntity>();

	append(items: readonly OpIntent[]): void {
		for (const item of items) {
			this.watermark++;
			play(this.truth, item);
			this.#put(item, [this.watermark]);
		}
	}

	/** Ops of the next batch; buries what is too large on the way. */
	seal(limits: { ops: number; room: number; opBytes: number }): NaiveOp[] {
		const most = Math.max(0, Math.min(limits.ops, limits.room - this.sealed));
		for (;;) {
			const ops = this.line.slice(this.sealed, this.sealed + most);
			const large = ops.find((op) => Buffer.byteLength(op.item.payload) > limits.opBytes);
			if (large === undefined) {
				this.sealed += ops.length;
				return ops;
			}
			this.#bury(large, "too_large");
		}
	}

	/** Text that streams, over what OpenCode has committed of an entity that is known. */
	checkpoint(item: OpIntent): void {
		const known = this.entities.get(item.key);
		if (known && known.payload !== item.payload) this.#write(known, item, []);
	}

	/** True when nothing may keep a checkpoint of the entity from being written. */
	takesCheckpoint(key: string): boolean {
		const last = this.entities.get(key)?.last ?? null;
		return last !== null && this.line.includes(last) && !this.dead.some((letter) => letter.item.key === key);
	}

	/** What the share is to hold of an entity in the end. */
	aim(key: string): string | undefined {
		const known = this.entities.get(key);
		const truth = this.truth.get(key)?.payload;
		return known && known.committed === truth ? known.payload : truth;
	}

	ack(ops: number): void {
		this.acked.push(...this.line.splice(0, ops).map((op) => op.item));
		this.sealed -= ops;
	}

	reject(index: number, code: string): void {
		this.sealed = 0;
		const op = this.line[index];
		if (op) this.#bury(op, code);
	}

	revive(index: number): void {
		const letter = this.dead[index];
		if (letter === undefined) return;
		const letters = this.dead.filter((each) => each === letter || each.parent === letter);
		this.dead = this.dead.filter((each) => !letters.includes(each));
		for (const { item } of letters) {
			const known = this.entities.get(item.key);
			if (REMOVALS.has(item.type) ? this.#isRemovable(item) : known?.payload !== item.payload) continue;
			if (REMOVALS.has(item.type)) this.entities.set(item.key, stub(""));
			else this.entities.delete(item.key);
			this.#put(item, []);
			const revived = this.entities.get(item.key);
			if (known && revived) revived.committed = known.committed;
		}
	}

	discard(index: number): void {
		const letter = this.dead[index];
		this.dead = this.dead.filter((each) => each !== letter && each.parent !== letter);
	}

	rebase(
		cursor: number,
		share: ReadonlyMap<string, OpIntent>,
		fresh: readonly OpIntent[],
		same: Iterable<string>,
		committed: ReadonlyMap<string, string>,
	): void {
		this.acked = [...share.values()];
		this.base = cursor - this.acked.length;
		this.line = [];
		this.sealed = 0;
		this.entities.clear();
		for (const key of same) this.entities.set(key, stub(share.get(key)?.payload ?? ""));
		const all = Array.from({ length: this.watermark }, (_, n) => n + 1);
		for (const item of fresh) {
			if (REMOVALS.has(item.type)) this.entities.set(item.key, stub(""));
			this.#put(item, all);
		}
		for (const key of committed.keys()) {
			const entity = this.entities.get(key);
			if (entity) entity.committed = this.truth.get(key)?.payload ?? "";
		}
		this.excused.clear();
	}

	/** What the share holds once the first `ops` of the line have arrived. */
	shareAfter(ops: number): Map<string, OpIntent> {
		const share = new Map<string, OpIntent>();
		for (const item of [...this.acked, ...this.line.slice(0, ops).map((op) => op.item)]) play(share, item);
		return share;
	}

	digests(): Map<string, string> {
		return new Map([...this.entities].map(([key, entity]) => [key, digestOf(entity.committed)]));
	}

	#put(item: OpIntent, positions: readonly number[]): void {
		const known = this.entities.get(item.key);
		if (REMOVALS.has(item.type)) {
			if (!this.#isRemovable(item)) return;
			this.line.push({ item, depends: null, covers: new Set(positions) });
			play(this.entities, item);
			return;
		}
		if (known && [known.committed, known.payload].includes(item.payload)) {
			for (const position of positions) known.last?.covers.add(position);
			known.committed = item.payload;
			return;
		}
		const held = this.#write(known, item, positions);
		held.committed = item.payload;
	}

	/** Puts a state of an entity into the line; in its last op's place while that is not sealed. */
	#write(known: NaiveEntity | undefined, item: OpIntent, positions: readonly number[]): NaiveEntity {
		const last = known?.last ?? null;
		if (known && last && this.line.indexOf(last) >= this.sealed) {
			last.item = item;
			for (const position of positions) last.covers.add(position);
			known.payload = item.payload;
			return known;
		}
		const message = this.entities.get(`message/${messageIdOf(item.key)}`);
		const created = item.type === "part" && message?.created ? message.created : null;
		const op = { item, depends: created && this.line.includes(created) ? created : null, covers: new Set(positions) };
		this.line.push(op);
		const { payload } = item;
		const entity = { payload, committed: known?.committed ?? payload, created: known ? known.created : op, last: op };
		this.entities.set(item.key, entity);
		return entity;
	}

	#isRemovable(item: OpIntent): boolean {
		const parts = item.type === "message_removed" ? `part/${messageIdOf(item.key)}/` : undefined;
		return [...this.entities.keys()].some((key) => key === item.key || (parts !== undefined && key.startsWith(parts)));
	}

	#bury(op: NaiveOp, code: string): void {
		const head: NaiveLetter = { item: op.item, code, parent: null };
		const parked = this.line.filter((each) => each.depends === op);
		this.dead.push(head);
		for (const each of parked) this.dead.push({ item: each.item, code: "missing_dependency", parent: head });
		for (const each of [op, ...parked]) this.excused.add(each.item.key);
		// A message's removal that is set aside keeps its parts on the share as well.
		if (op.item.type === "message_removed")
			for (const key of ["p1", "p2"]) this.excused.add(`part/${messageIdOf(op.item.key)}/${key}`);
		this.line = this.line.filter((each) => each !== op && !parked.includes(each));
	}
}

/** An entity of which no op is known. */
function stub(payload: string): NaiveEntity {
	return { payload, committed: payload, created: null, last: null };
}

/** Applies an item to what is held by key: the whole of what a share does with it. */
function play<Held>(held: Map<string, Held | OpIntent>, item: OpIntent): void {
	if (!REMOVALS.has(item.type)) {
		held.set(item.key, item);
		return;
	}
	held.delete(item.key);
	if (item.type !== "message_removed") return;
	for (const key of held.keys()) if (key.startsWith(`part/${messageIdOf(item.key)}/`)) held.delete(key);
}
