import { ROW_BYTES_MAX } from "./intents.ts";

/** One value cut out of an answer. */
export interface Piece {
	/** Its size in bytes. */
	readonly bytes: number;
	/** Its JSON text; null when it was too large to keep. */
	readonly text: string | null;
	/** The beginning and the end of what was too large, where its id stands; empty otherwise. */
	readonly ends: readonly [head: string, tail: string];
}

/** One message of an answer of `/session/ID/message`. */
export interface SplitMessage {
	info: Piece | undefined;
	readonly parts: Piece[];
}

/** How much is kept of either end of a value that is too large, in bytes. */
const END_BYTES = 16 * 1024;
/** Names of members that are looked at are shorter than this, in bytes. */
const NAME_BYTES_MAX = 16;

const [QUOTE, BACKSLASH, COLON, COMMA] = [0x22, 0x5c, 0x3a, 0x2c];
const [OPEN_OBJECT, CLOSE_OBJECT, OPEN_LIST, CLOSE_LIST] = [0x7b, 0x7d, 0x5b, 0x5d];

/**
 * Cuts `[{"info": {…}, "parts": [{…}, …]}, …]` into its infos and parts while it arrives, so that no more than one of them
 * is looked at at once, and one that is hundreds of MB large is passed over without being held.
 *
 *     depth 0 [ 1 { 2 "info": { 3 }  2 "parts": [ 3 { 4 }
 *
 * Only brackets and strings are understood; what is cut out is parsed by whoever takes it.
 */
export class MessageSplitter {
	readonly messages: SplitMessage[] = [];
	/** Bytes of text that are kept. */
	keptBytes = 0;
	#depth = 0;
	#inString = false;
	#escaped = false;
	#ended = false;
	/** The member of a message that is being read, once its colon has come. */
	#member = "";
	#name: number[] | undefined;
	#isValue = false;
	#cut: Cut | undefined;

	/** @throws Error when it is no such list. */
	feed(chunk: Uint8Array): void {
		let from = this.#cut === undefined ? -1 : 0;
		for (let index = 0; index < chunk.length; index++) {
			const byte = chunk[index] ?? 0;
			if (this.#inString) {
				this.#string(byte);
				continue;
			}
			if (byte === QUOTE) {
				this.#inString = true;
				if (this.#depth === 2 && !this.#isValue) this.#name = [];
				this.#insist(this.#depth > 1);
			} else if (byte === OPEN_OBJECT || byte === OPEN_LIST) {
				if (this.#opens(byte)) from = index;
			} else if (byte === CLOSE_OBJECT || byte === CLOSE_LIST) {
				const cut = this.#closes(byte);
				if (cut === undefined) continue;
				this.#keep(cut.end(chunk.subarray(from, index + 1)));
				from = -1;
			} else if (this.#depth === 2 && byte === COLON) this.#isValue = true;
			else if (this.#depth === 2 && byte === COMMA) this.#isValue = false;
			else this.#insist(this.#depth > 1 || byte <= 0x20 || (byte === COMMA && this.#depth === 1));
		}
		if (from >= 0) this.#cut?.add(chunk.subarray(from));
	}

	/** @throws Error when the answer was cut off. */
	end(): readonly SplitMessage[] {
		if (!this.#ended) throw new Error("the answer ends in its middle");
		return this.messages;
	}

	#string(byte: number): void {
		if (this.#escaped) this.#escaped = false;
		else if (byte === BACKSLASH) this.#escaped = true;
		else if (byte === QUOTE) {
			this.#inString = false;
			if (this.#name) this.#member = String.fromCharCode(...this.#name);
			this.#name = undefined;
			return;
		}
		if (this.#name && this.#name.length < NAME_BYTES_MAX) this.#name.push(byte);
	}

	/** @returns true when what is to be cut out begins here. */
	#opens(byte: number): boolean {
		const depth = this.#depth++;
		if (depth === 0) this.#insist(byte === OPEN_LIST && !this.#ended);
		if (depth === 1) {
			this.#insist(byte === OPEN_OBJECT);
			this.messages.push({ info: undefined, parts: [] });
			this.#isValue = false;
			this.#member = "";
		}
		const isInfo = depth === 2 && this.#isValue && this.#member === "info" && byte === OPEN_OBJECT;
		const isPart = depth === 3 && this.#cut === undefined && this.#member === "parts" && byte === OPEN_OBJECT;
		if (!isInfo && !isPart) return false;
		this.#cut = new Cut(depth);
		return true;
	}

	/** @returns what ends here. */
	#closes(byte: number): Cut | undefined {
		this.#depth--;
		if (this.#depth <= 1) this.#insist(this.#depth === (byte === CLOSE_LIST ? 0 : 1));
		if (this.#depth === 0) this.#ended = true;
		const cut = this.#cut;
		if (cut?.depth !== this.#depth) return undefined;
		this.#cut = undefined;
		return cut;
	}

	#keep(piece: Piece): void {
		const message = this.messages.at(-1);
		if (piece.text !== null) this.keptBytes += piece.bytes;
		if (this.#depth === 3) message?.parts.push(piece);
		else if (message) message.info = piece;
	}

	#insist(holds: boolean): void {
		if (!holds) throw new Error("the answer is no list of messages");
	}
}

/** A value that is being cut out, from its opening bracket on. */
class Cut {
	/** How deep its bracket lies. */
	readonly depth: number;
	readonly #chunks: Uint8Array[] = [];
	#bytes = 0;
	#head: Buffer | undefined;
	#tail: Buffer = Buffer.alloc(0);

	constructor(depth: number) {
		this.depth = depth;
	}

	add(bytes: Uint8Array): void {
		this.#bytes += bytes.length;
		if (this.#bytes <= ROW_BYTES_MAX) {
			// A copy: the chunk is the network's.
			this.#chunks.push(Buffer.from(bytes));
			return;
		}
		const chunks = this.#chunks.splice(0);
		this.#head ??= Buffer.from(Buffer.concat([...chunks, bytes].slice(0, 64)).subarray(0, END_BYTES));
		this.#tail = Buffer.from(Buffer.concat([this.#tail, bytes]).subarray(-END_BYTES));
	}

	end(bytes: Uint8Array): Piece {
		this.add(bytes);
		if (this.#head !== undefined)
			return { bytes: this.#bytes, text: null, ends: [this.#head.toString("latin1"), this.#tail.toString("latin1")] };
		return { bytes: this.#bytes, text: Buffer.concat(this.#chunks).toString("utf8"), ends: ["", ""] };
	}
}
