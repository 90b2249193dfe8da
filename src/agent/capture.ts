import { monotonicFactory } from "ulid";
import type { Clock } from "../model/clock.ts";
import type { Logger } from "../model/logger.ts";
import type { OpIntent } from "../model/op.ts";
import { keys } from "../model/op.ts";
import type { Burial, Capture as CaptureInput } from "../outbox/append.ts";
import type { Outbox } from "../outbox/outbox.ts";
import { type Change, isPoison, type Poison, type SessionRead, type Source } from "../source/source.ts";
import { snapshotDifference } from "./compare.ts";
import type { AgentMeter } from "./meter.ts";
import type { Room } from "./room.ts";
import { EVERYTHING, type SelectionRules, type ShareMode } from "./selection.ts";
import { Selector } from "./selector.ts";

/** From here on a read and its append are long, in ms. */
const LONG_READ_MS = 5;
/** The longest pause after a read, in ms. */
const PAUSE_MS_MAX = 1000;

/** What becomes of a share when OpenCode has deleted its session. */
export type OnDelete = "keep" | "delete";

export interface CaptureOptions {
	readonly outbox: Outbox;
	readonly mode: ShareMode;
	/** keep unless set. */
	readonly onDelete?: OnDelete | undefined;
	/** Undefined: every session. */
	readonly selection?: SelectionRules | undefined;
	/** Where capture asks before it writes; undefined: nothing is limited. */
	readonly room?: Room | undefined;
	readonly meter?: AgentMeter | undefined;
	readonly clock: Clock;
	readonly log: Logger;
}

/** Brings what a source has to say into the outbox: ops and watermark in one transaction per read. */
export class Capture {
	readonly #outbox: Outbox;
	readonly #onDelete: OnDelete;
	readonly #selector: Selector;
	readonly #room: Room | undefined;
	readonly #meter: AgentMeter | undefined;
	readonly #clock: Clock;
	readonly #log: Logger;
	readonly #ulid = monotonicFactory();

	constructor(options: CaptureOptions) {
		this.#outbox = options.outbox;
		this.#onDelete = options.onDelete ?? "keep";
		const { outbox, mode, selection: rules = EVERYTHING, clock } = options;
		this.#selector = new Selector({ outbox, mode, rules, clock });
		this.#room = options.room;
		this.#meter = options.meter;
		this.#clock = options.clock;
		this.#log = options.log;
	}

	/**
	 * Captures everything that is new in `source`.
	 *
	 * An abort ends it early; what was appended stays.
	 *
	 * @param onFirst called once, as soon as all that is new of one session is in: a change that comes alone does not wait
	 * for the end of the pass.
	 * @throws OutboxError what the source, the room or the outbox threw; nothing is lost, the next pass reads it again.
	 */
	async pass(source: Source, signal: AbortSignal, onFirst?: () => void): Promise<void> {
		let isFirst = true;
		for (let stale = true; stale && !signal.aborted; ) {
			stale = false;
			const choice = this.#selector.begin();
			let since = this.#clock.now();
			for await (const read of source.read(choice.captured, choice.choose, signal)) {
				choice.settle();
				// Another process captured this session meanwhile: read again from where it stands now.
				const isAppended = this.#append(read);
				if (!isAppended) stale = true;
				// Of a session that is read in parts, the next part may supersede what is waiting.
				else if (isFirst && !isPartial(read)) {
					isFirst = false;
					onFirst?.();
				}
				await this.#letOthersIn(this.#clock.now() - since, signal);
				since = this.#clock.now();
			}
			choice.settle();
		}
	}

	/**
	 * Between two reads of a huge session others get as much time as the last one took: an op on its way takes several
	 * turns of the event loop, and one turn between two long reads would make each of them as long (G5).
	 */
	async #letOthersIn(tookMs: number, signal: AbortSignal): Promise<void> {
		if (tookMs < LONG_READ_MS) await new Promise((resolve) => setImmediate(resolve));
		// A clock that was set forward meanwhile must not stop capture for as long.
		else await this.#clock.sleep(Math.min(tookMs, PAUSE_MS_MAX), signal);
	}

	/** Before anything is sent: what the rules leave out is held back. */
	holdBack(): void {
		this.#selector.holdBack();
	}

	/** Captures states that bear no event (diffs, models) of a session that is captured already. */
	appendState(sessionId: string, states: readonly Change[]): boolean {
		const session = this.#outbox.session(sessionId);
		if (session === undefined || session.source_state !== "present") return false;
		if (this.#outbox.line(sessionId)?.held) return false;
		const { watermark } = session;
		const items = states.map((state) => this.#intent(state)).filter((item) => !this.#isEmptyNews(sessionId, item));
		this.#room?.admit(bytesOf(items), this.#clock.now());
		const result = this.#outbox.append(
			{ session_id: sessionId, facts: null, from: watermark, to: watermark, items },
			this.#clock.now(),
		);
		if (result.outcome !== "appended") return false;
		this.#meter?.captured(result.ops);
		return result.ops > 0;
	}

	/** False when the read has become stale; nothing was written then. */
	#append(read: SessionRead): boolean {
		const sessionId = sessionIdOf(read);
		if (read.kind === "vanished") {
			if (this.#outbox.setSource(sessionId, "vanished", read.reason))
				this.#log.warn(
					{ session: sessionId, reason: read.reason },
					"session vanished from OpenCode; its share is kept",
				);
			return true;
		}
		if (read.kind === "deleted") return this.#appendDeletion(read);
		const items = read.kind === "log" ? this.#logItems(read) : this.#snapshotItems(read);
		const written = this.#write({ session_id: sessionId, facts: read.session, from: read.from, to: read.to, items });
		// A source that looks to be sure finds nothing new most of the time.
		if (written && read.kind === "snapshot" && !read.isPartial) {
			this.#log[items.length > 0 ? "info" : "debug"](
				{ session: sessionId, reason: read.reason },
				"captured by snapshot",
			);
			this.#meter?.snapshot(read.from !== null && items.length > 0);
		}
		return written;
	}

	/** Marks the share as deleted at its source, or has it deleted as well; never that on a presumption. */
	#appendDeletion({ session_id, from, presumed }: Extract<SessionRead, { kind: "deleted" }>): boolean {
		if (this.#onDelete === "delete" && presumed !== true) {
			if (!this.#outbox.deleteWith(session_id, from)) return false;
			this.#log.info({ session: session_id }, "deleted in OpenCode; its share is deleted too");
			return true;
		}
		const payload = JSON.stringify({ id: session_id });
		const mark = { op_id: this.#newId(), type: "session_deleted" as const, key: keys.sessionDeleted, payload };
		if (!this.#write({ session_id, facts: null, from, to: from, items: [mark] })) return false;
		this.#outbox.setSource(session_id, "deleted", null);
		this.#log.info({ session: session_id }, "deleted in OpenCode; its share is kept and marked");
		return true;
	}

	#write(input: CaptureInput): boolean {
		this.#room?.admit(bytesOf(input.items), this.#clock.now());
		const result = this.#outbox.append(input, this.#clock.now());
		if (result.outcome !== "appended") return false;
		this.#meter?.captured(result.ops);
		return true;
	}

	#logItems(read: Extract<SessionRead, { kind: "log" }>): (OpIntent | Burial)[] {
		const state = read.state.map((change) => this.#intent(change));
		const news = state.filter((item) => !this.#isEmptyNews(sessionIdOf(read), item));
		return [...this.#unburied(sessionIdOf(read), read.changes).map((change) => this.#item(change)), ...news];
	}

	/** Without rows that are set aside already: one that belongs to no event is read again and again. */
	#unburied<T extends Change | Poison>(sessionId: string, changes: readonly T[]): readonly T[] {
		const isOfNoEvent = (change: T) => isPoison(change) && change.event_id === null;
		if (!changes.some(isOfNoEvent)) return changes;
		const buried = this.#outbox.buriedKeys(sessionId);
		return changes.filter((change) => !isOfNoEvent(change) || !buried.has(change.key));
	}

	#snapshotItems(read: Extract<SessionRead, { kind: "snapshot" }>): (OpIntent | Burial)[] {
		const poison = read.entities.filter(isPoison);
		const entities = read.entities.filter((change): change is Change => !isPoison(change));
		const burials = this.#unburied(sessionIdOf(read), poison).map((entity) => this.#item(entity));
		if (read.isPartial) return [...burials, ...entities.map((entity) => this.#intent(entity))];
		const captured = this.#outbox.capturedDigests(sessionIdOf(read));
		// Deleted and there again: the session is said anew, which takes the mark back.
		if (captured.delete(keys.sessionDeleted)) captured.delete(keys.session);
		const unlisted = new Set([...poison.map((entity) => entity.key), ...(read.told ?? [])]);
		const news = snapshotDifference(captured, entities, unlisted, this.#newId).filter(
			(item) => captured.has(item.key) || !isEmpty(item),
		);
		return [...burials, ...news];
	}

	/** An empty list for what was never captured says nothing. */
	#isEmptyNews(sessionId: string, item: OpIntent): boolean {
		return isEmpty(item) && !this.#outbox.isCaptured(sessionId, item.key);
	}

	#item(change: Change | Poison): OpIntent | Burial {
		if (!isPoison(change)) return this.#intent(change);
		const { type, key, code, reason } = change;
		return { op_id: change.event_id ?? this.#newId(), type, key, code, reason };
	}

	#intent({ event_id, type, key, payload }: Change): OpIntent {
		return { op_id: event_id ?? this.#newId(), type, key, payload };
	}

	readonly #newId = (): string => this.#ulid(this.#clock.now());
}

function bytesOf(items: readonly (OpIntent | Burial)[]): number {
	return items.reduce((sum, item) => sum + ("payload" in item ? Buffer.byteLength(item.payload) : 0), 0);
}

function isEmpty(item: OpIntent): boolean {
	return item.payload === "[]";
}

function isPartial(read: SessionRead): boolean {
	return "isPartial" in read && read.isPartial === true;
}

function sessionIdOf(read: SessionRead): string {
	return "session" in read ? read.session.session_id : read.session_id;
}
