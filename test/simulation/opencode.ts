import { keys } from "../../src/model/op.ts";
import type { OpencodeEvent } from "../../src/source/live-ear.ts";
import type { Dice } from "../fixture/random.ts";
import { OpencodeDatabase } from "../source/opencode-database.ts";

/** What the simulated server takes; small, so that a short walk meets every limit. */
export const OP_BYTES = 1200;
export const PAYLOAD_DEPTH = 12;

/** A change of one entity, by its number in the history of the world; a message's removal and its parts' have one number. */
export interface Entry {
	readonly n: number;
	readonly kind: "put" | "removed";
}

/** An answer that is being written into a part. */
interface Stream {
	readonly sessionId: string;
	readonly messageId: string;
	readonly partId: string;
	/** What is known of the text: the part's state, and all that was streamed behind it. */
	text: string;
	readonly name: string;
}

/** Characters of a streamed text, so that most of them fit the server. */
const STREAM_CHARS_MAX = 700;

/** An OpenCode that works on sessions, and remembers all that it ever did. Every payload bears the number of its change. */
export class Opencode {
	readonly database: OpencodeDatabase;
	readonly #dice: Dice;
	readonly #sessions = new Map<string, Map<string, Set<string>>>();
	readonly #entries = new Map<string, Map<string, Entry[]>>();
	readonly #events = new Map<string, number>();
	/** Who hears what it tells live. */
	onEvent: (event: OpencodeEvent) => void = () => undefined;
	#streams: Stream[] = [];
	/** The whole text of each part's change that was streamed into. */
	readonly #spoken = new Map<string, string>();
	#count = 0;

	static async create(path: string, dice: Dice): Promise<Opencode> {
		const database = await OpencodeDatabase.create(path);
		database.sql.exec("PRAGMA synchronous = OFF");
		return new Opencode(database, dice);
	}

	private constructor(database: OpencodeDatabase, dice: Dice) {
		this.database = database;
		this.#dice = dice;
	}

	/** Sessions that it has. */
	get sessions(): string[] {
		return [...this.#sessions.keys()];
	}

	/** Sessions that it ever had. */
	get known(): string[] {
		return [...this.#entries.keys()];
	}

	/** How often anything has changed. */
	get changes(): number {
		return this.#count;
	}

	/** What became of a session's entities, by key. */
	historyOf(sessionId: string): ReadonlyMap<string, readonly Entry[]> {
		return this.#entries.get(sessionId) ?? new Map();
	}

	/** The number of the change that an event recorded; undefined for what is no event of this world. */
	changeAt(eventId: string): number | undefined {
		return this.#events.get(eventId);
	}

	begin(): string {
		const id = `ses_${this.#entries.size + 1}`;
		this.#sessions.set(id, new Map());
		this.#entries.set(id, new Map());
		this.#record(id, keys.session, "put", () => this.database.session(id));
		return id;
	}

	/** One or two changes of one session, as a turn makes them. */
	work(sessionId = this.#dice.pick(this.sessions)): void {
		const dice = this.#dice;
		this.database.sql.transaction(() => {
			for (let n = dice.int(1, 2); n > 0; n--) this.#change(sessionId);
		});
	}

	/** All that was ever shown of a part's change, when anything was streamed into it. */
	spokenOf(sessionId: string, key: string, n: number): string | undefined {
		return this.#spoken.get(`${sessionId} ${key} ${n}`);
	}

	/** Begins an answer, writes on at one, or ends one: as a final part, or not at all, as a killed OpenCode does. */
	speak(dice: Dice): "killed" | undefined {
		const stream = this.#streams.length > 0 ? dice.pick(this.#streams) : undefined;
		if (stream === undefined || (this.#streams.length < 3 && dice.chance(0.1))) this.#beginStream(dice);
		else if (dice.chance(0.85)) this.#write(stream, "abcdefghij ".repeat(dice.int(1, 6)));
		else if (dice.chance(0.6))
			this.#part(stream.sessionId, stream.messageId, stream.partId, () => mark(this.#count) + stream.text);
		else {
			this.#streams = [];
			return "killed";
		}
		return undefined;
	}

	#beginStream(dice: Dice): void {
		const sessionId = dice.pick(this.sessions);
		const messageId = this.#someMessage(sessionId);
		const partId = `${messageId}_prt_${dice.int(1, 3)}`;
		this.#part(sessionId, messageId, partId, () => mark(this.#count));
		const name = `${sessionId} ${keys.part(messageId, partId)} ${this.#count}`;
		this.#streams.push({ sessionId, messageId, partId, text: mark(this.#count), name });
	}

	#write(stream: Stream, delta: string): void {
		if (stream.text.length > STREAM_CHARS_MAX) return;
		stream.text += delta;
		this.#spoken.set(stream.name, stream.text);
		const { sessionId: sessionID, messageId: messageID, partId: partID } = stream;
		this.onEvent({ type: "message.part.delta", properties: { sessionID, messageID, partID, field: "text", delta } });
	}

	/** A part that no share takes. */
	poison(): void {
		const dice = this.#dice;
		const sessionId = dice.pick(this.sessions);
		const messageId = this.#someMessage(sessionId);
		if (dice.chance(0.3)) this.#message(sessionId, messageId, this.#unfit());
		else this.#part(sessionId, messageId, `${messageId}_prt_${dice.int(1, 3)}`, this.#unfit());
	}

	delete(sessionId: string): void {
		this.#streams = this.#streams.filter((stream) => stream.sessionId !== sessionId);
		this.#sessions.delete(sessionId);
		this.database.deleteSession(sessionId);
	}

	/** As an upgrade does it; the events after it are numbered from 0. */
	wipeLog(): void {
		this.database.wipeLog();
	}

	close(): void {
		this.database.sql.close();
	}

	#change(sessionId: string): void {
		const dice = this.#dice;
		const messages = this.#sessions.get(sessionId) ?? new Map<string, Set<string>>();
		const kind = dice.next();
		if (messages.size === 0 || kind < 0.25) {
			this.#message(sessionId, this.#someMessage(sessionId), this.#text());
			return;
		}
		const messageId = dice.pick([...messages.keys()]);
		const parts = messages.get(messageId) ?? new Set();
		if (kind < 0.8) this.#part(sessionId, messageId, `${messageId}_prt_${dice.int(1, 3)}`, this.#text());
		else if (kind < 0.86 && parts.size > 0) {
			const partId = dice.pick([...parts]);
			parts.delete(partId);
			this.#record(sessionId, keys.part(messageId, partId), "removed", () =>
				this.database.removePart(sessionId, messageId, partId),
			);
		} else if (kind < 0.92) {
			messages.delete(messageId);
			const below = [...parts].map((partId) => keys.part(messageId, partId));
			this.#record(sessionId, keys.message(messageId), "removed", () =>
				this.database.removeMessage(sessionId, messageId),
			);
			for (const key of below) this.#entriesOf(sessionId, key).push({ n: this.#count, kind: "removed" });
		} else if (kind < 0.96) {
			this.#record(sessionId, keys.todo, "put", () => this.database.todo(sessionId, mark(this.#count), this.#count));
		} else {
			this.#record(sessionId, keys.session, "put", () => {
				this.database.sql
					.prepare("UPDATE session SET title = ?, time_updated = ? WHERE id = ?")
					.run(mark(this.#count), this.#count, sessionId);
			});
		}
	}

	#message(sessionId: string, messageId: string, text: () => unknown): void {
		const messages = this.#sessions.get(sessionId);
		if (messages && !messages.has(messageId)) messages.set(messageId, new Set());
		this.#record(sessionId, keys.message(messageId), "put", () => this.database.message(sessionId, messageId, text()));
	}

	#part(sessionId: string, messageId: string, partId: string, text: () => unknown): void {
		if (!this.#sessions.get(sessionId)?.has(messageId)) this.#message(sessionId, messageId, this.#text());
		this.#sessions.get(sessionId)?.get(messageId)?.add(partId);
		this.#streams = this.#streams.filter((stream) => stream.sessionId !== sessionId || stream.partId !== partId);
		this.#record(sessionId, keys.part(messageId, partId), "put", () => {
			const written = text();
			this.database.part(sessionId, messageId, partId, written);
			const part = { id: partId, messageID: messageId, sessionID: sessionId, text: written };
			this.onEvent({ id: this.database.lastEvent ?? "", type: "message.part.updated", properties: { part } });
		});
	}

	#record(sessionId: string, key: string, kind: Entry["kind"], write: () => void): void {
		if (kind === "removed") this.#streams = this.#streams.filter((stream) => stream.sessionId !== sessionId);
		this.#entriesOf(sessionId, key).push({ n: ++this.#count, kind });
		const before = this.database.lastEvent;
		write();
		const event = this.database.lastEvent;
		if (event !== undefined && event !== before) this.#events.set(event, this.#count);
	}

	#entriesOf(sessionId: string, key: string): Entry[] {
		const entries = this.#entries.get(sessionId);
		const ofKey = entries?.get(key) ?? [];
		entries?.set(key, ofKey);
		return ofKey;
	}

	#someMessage(sessionId: string): string {
		const size = this.#sessions.get(sessionId)?.size ?? 0;
		return `${sessionId}_msg_${this.#dice.int(1, Math.min(12, size + 2))}`;
	}

	#text(): () => string {
		return () => mark(this.#count) + "x".repeat(this.#dice.span(1, 400));
	}

	/** Longer than the server takes, which the client is told; or deeper, which only the server looks at. */
	#unfit(): () => unknown {
		if (this.#dice.chance(0.5)) return () => mark(this.#count) + "x".repeat(OP_BYTES);
		return () => Array.from({ length: PAYLOAD_DEPTH }).reduce<unknown>((inner) => [inner], mark(this.#count));
	}
}

function mark(n: number): string {
	return `«${n}»`;
}

/** The number of the change that a payload bears; undefined when it bears none. */
export function changeIn(payload: string): number | undefined {
	const found = /«(\d+)»/.exec(payload);
	return found ? Number(found[1]) : undefined;
}
