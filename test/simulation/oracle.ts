import { digestOf } from "../../src/model/json.ts";
import { keys, messageIdOf, REMOVALS } from "../../src/model/op.ts";
import type { AppendBatch, DurableOp, OpAck } from "../../src/protocol/schema.ts";
import { changeIn, type Opencode } from "./opencode.ts";

/** What one share must hold, from all that was ever applied to it. */
interface Replica {
	readonly sessionId: string;
	/** The op at each position. */
	readonly opIds: string[];
	deleted: boolean;
	readonly live: Map<string, { digest: string; type: string }>;
	/** Number of the last change of each entity that took effect. */
	readonly reached: Map<string, number>;
	/** How much text of that change it holds, where text was streamed into it. */
	readonly said: Map<string, number>;
}

/** A broken guarantee. */
export class Violation extends Error {}

/**
 * Sees every effect at the server and every acknowledgement at the clients, and holds them to the guarantees.
 *
 * - Exactly once: no op takes effect twice on a share, and none that is acknowledged has never taken effect (G2, G1).
 * - In order, without gaps: positions follow one another, and the changes of an entity take effect in OpenCode's order (G3).
 * - The same bytes: a change has one payload, and a batch one content, however often it is sent.
 * - Nothing invented: every payload is a change that OpenCode made.
 * - A watermark covers what it says.
 *
 * The first violation is kept; the walk ends with it.
 */
export class Oracle {
	violation: Violation | undefined;
	readonly #opencode: Opencode;
	readonly #ledgerOps: number;
	#replicas = new Map<string, Replica>();
	/** Every op that ever took effect, also before a backup was restored. */
	readonly #applied = new Map<string, Set<string>>();
	readonly #payloads = new Map<string, string>();
	readonly #batches = new Map<string, string>();
	/** Ops that a comparison has made. */
	readonly #fresh = new Set<string>();

	constructor(opencode: Opencode, ledgerOps: number) {
		this.#opencode = opencode;
		this.#ledgerOps = ledgerOps;
	}

	replica(shareId: string): Replica | undefined {
		return this.#replicas.get(shareId);
	}

	/** How many ops have taken effect. */
	get applied(): number {
		return [...this.#applied.values()].reduce((sum, ops) => sum + ops.size, 0);
	}

	made(shareId: string, sessionId: string): void {
		if (this.#replicas.has(shareId)) return;
		this.#replicas.set(shareId, {
			sessionId,
			opIds: [],
			deleted: false,
			live: new Map(),
			reached: new Map(),
			said: new Map(),
		});
	}

	deleted(shareId: string): void {
		const replica = this.#replicas.get(shareId);
		replica?.live.clear();
		if (replica) replica.deleted = true;
	}

	/** A batch was decided upon by the server, and is committed. */
	appended(shareId: string, batch: AppendBatch, ack: OpAck): void {
		this.guard(() => {
			const replica = this.#replicas.get(shareId);
			if (replica === undefined) throw new Violation(`share ${shareId} was never made`);
			this.#sameContent(batch);
			const applied = new Set(ack.applied);
			for (const op of batch.ops) if (applied.has(op.op_id)) this.#apply(shareId, replica, op);
			if (ack.cursor !== replica.opIds.length)
				throw new Violation(`the ack's cursor is ${ack.cursor}, ${replica.opIds.length} ops have taken effect`);
			for (const opId of ack.duplicates) {
				const op = batch.ops.find((each) => each.op_id === opId);
				const isOld = (op?.expected_cursor ?? 0) < ack.cursor - this.#ledgerOps;
				if (!isOld && !replica.opIds.includes(opId)) throw new Violation(`${opId} is no duplicate`);
			}
			if (batch.source_watermark && applied.size > 0 && ack.rejected.length === 0)
				this.#covers(replica, batch.source_watermark.event_id);
		});
	}

	/** A client holds these ops of its to be at the server from now on. */
	acknowledged(shareId: string | null | undefined, opIds: readonly string[]): void {
		this.guard(() => {
			const applied = this.#applied.get(shareId ?? "");
			for (const opId of opIds)
				if (!applied?.has(opId)) throw new Violation(`${opId} was acknowledged and has never taken effect`);
		});
	}

	/** A comparison brings a share to where its session stands, with these ops. */
	compared(opIds: readonly string[]): void {
		for (const opId of opIds) this.#fresh.add(opId);
	}

	/** What the server forgets and remembers when it is put back to an earlier state. */
	backup(): () => void {
		const copy = structuredClone(this.#replicas);
		return () => {
			this.#replicas = structuredClone(copy);
		};
	}

	guard(check: () => void): void {
		try {
			check();
		} catch (error) {
			if (!(error instanceof Violation)) throw error;
			this.violation ??= error;
		}
	}

	#apply(shareId: string, replica: Replica, op: DurableOp): void {
		const { op_id, key, payload, type } = op;
		if (op.expected_cursor !== replica.opIds.length)
			throw new Violation(`${op_id} took position ${op.expected_cursor}, ${replica.opIds.length} was next`);
		if (replica.opIds.includes(op_id)) throw new Violation(`${op_id} has taken effect twice`);
		replica.opIds.push(op_id);
		const ever = this.#applied.get(shareId) ?? new Set();
		this.#applied.set(shareId, ever.add(op_id));
		const gone = REMOVALS.has(type);
		this.#inOrder(replica, key, gone ? undefined : payload, op_id);
		if (!gone) {
			if (type === "session") replica.live.delete(keys.sessionDeleted);
			replica.live.set(key, { digest: digestOf(payload), type });
			return;
		}
		replica.live.delete(key);
		if (type !== "message_removed") return;
		const removed = replica.reached.get(key) ?? 0;
		for (const [below, entries] of this.#opencode.historyOf(replica.sessionId)) {
			if (!below.startsWith(keys.partsOf(messageIdOf(key) ?? ""))) continue;
			replica.live.delete(below);
			if (entries.some((entry) => entry.n === removed)) replica.reached.set(below, removed);
		}
	}

	#inOrder(replica: Replica, key: string, payload: string | undefined, opId: string): void {
		if (key === keys.sessionDeleted) return;
		const entries = this.#opencode.historyOf(replica.sessionId).get(key);
		if (entries === undefined) throw new Violation(`${opId} is of ${key}, which never was in ${replica.sessionId}`);
		const reached = replica.reached.get(key) ?? 0;
		if (payload === undefined) {
			const removed = this.#nextRemoval(replica, key);
			if (removed === undefined) throw new Violation(`${opId} removes ${key}, which OpenCode has not removed`);
			replica.reached.set(key, removed);
			return;
		}
		const n = changeIn(payload);
		// The event that begins a session bears no number.
		if (n === undefined && key === keys.session) return;
		if (n === undefined || !entries.some((entry) => entry.n === n && entry.kind === "put"))
			throw new Violation(`${opId} is a change of ${key} that OpenCode never made: ${payload.slice(0, 80)}`);
		// A session's log and its row tell it in different words.
		const spoken = this.#opencode.spokenOf(replica.sessionId, key, n);
		if (spoken !== undefined) this.#grows(replica, { key, n, opId }, spoken, payload);
		else if (key !== keys.session) {
			replica.said.delete(key);
			const name = `${replica.sessionId} ${key} ${n}`;
			const before = this.#payloads.get(name);
			if (before !== undefined && before !== payload) throw new Violation(`change ${n} of ${key} has two payloads`);
			this.#payloads.set(name, payload);
			if (n <= reached) throw new Violation(`${opId} puts ${key} back from change ${reached} to ${n}`);
		}
		if (n < reached) throw new Violation(`${opId} puts ${key} back from change ${reached} to ${n}`);
		replica.reached.set(key, n);
	}

	/** What a part holds of an answer is its beginning, and more each time. */
	#grows(
		replica: Replica,
		{ key, n, opId }: { key: string; n: number; opId: string },
		spoken: string,
		payload: string,
	): void {
		const text: unknown = JSON.parse(payload).text;
		if (typeof text !== "string" || !spoken.startsWith(text))
			throw new Violation(`${opId} says of ${key} what was never written: ${payload.slice(0, 80)}`);
		const reached = replica.reached.get(key) ?? 0;
		const said = replica.said.get(key) ?? 0;
		if (n === reached && text.length <= said && !(this.mayShrink() && this.#fresh.has(opId)))
			throw new Violation(`${opId} shortens ${key} from ${said} characters to ${text.length}`);
		replica.said.set(key, text.length);
	}

	#nextRemoval(replica: Replica, key: string): number | undefined {
		const reached = replica.reached.get(key) ?? 0;
		const entries = this.#opencode.historyOf(replica.sessionId).get(key) ?? [];
		return entries.find((entry) => entry.kind === "removed" && entry.n > reached)?.n;
	}

	/** Everything up to the event has taken effect, or is moot. */
	#covers(replica: Replica, eventId: string): void {
		const until = this.#opencode.changeAt(eventId);
		if (until === undefined) return;
		for (const [key, entries] of this.#opencode.historyOf(replica.sessionId)) {
			// What bears no event of its own is not what a watermark is about.
			if (key === keys.session || key === keys.todo) continue;
			const last = entries.findLast((entry) => entry.n <= until);
			if (last === undefined || (replica.reached.get(key) ?? 0) >= last.n) continue;
			const isRemoved = entries.some((entry) => entry.n >= last.n && entry.kind === "removed");
			// An older outbox cannot know of every removal; what it leaves on the share is as old as it is.
			const isMoot = isRemoved && (!replica.live.has(key) || this.isForgetful());
			if (!isMoot && !this.isExcused(replica.sessionId, key))
				throw new Violation(`the watermark ${eventId} covers change ${last.n} of ${key}, which has not taken effect`);
		}
	}

	/** True when an op of the entity was set aside, visibly. Replaced by who can know. */
	isExcused: (sessionId: string, key: string) => boolean = () => false;

	/** True when an outbox was put back to an earlier state, which may not know what was captured since. */
	isForgetful: () => boolean = () => false;

	/**
	 * True when an outbox may know less of a text than the share holds: an older one, or a copy that did not hear all of it.
	 * Its comparison then puts there what it knows, since digests do not tell whose text is longer; nothing else does.
	 */
	mayShrink: () => boolean = () => false;

	/** A batch's name stands for one content; what it covers is its outbox's to say, and the epoch is stamped when it leaves. */
	#sameContent(batch: AppendBatch): void {
		const content = digestOf(JSON.stringify(batch.ops.map(({ capability_epoch: _, ...op }) => op)));
		const before = this.#batches.get(batch.batch_id);
		if (before !== undefined && before !== content) throw new Violation(`batch ${batch.batch_id} has two contents`);
		this.#batches.set(batch.batch_id, content);
	}
}
