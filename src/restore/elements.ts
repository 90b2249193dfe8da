import { CLOSE_BRACE, CLOSE_BRACKET, COMMA, OPEN_BRACE, OPEN_BRACKET, QUOTE } from "../protocol/nesting.ts";

export interface ElementLimits {
	/** Characters of one element. */
	readonly chars: number;
	/** Nesting within one element. */
	readonly depth: number;
}

/** What comes next in the text of an array. */
type Expected = "[" | "element or ]" | "element" | "in element" | ", or ]" | "nothing";

/**
 * Takes the text of a JSON array of objects apart as it comes, so that neither its size nor its nesting is ever more than
 * is looked at: one look at each character, one element in memory.
 */
export class Elements {
	readonly #limits: ElementLimits;
	#expected: Expected = "[";
	#element = "";
	#depth = 0;
	#inString = false;
	#escaped = false;

	constructor(limits: ElementLimits) {
		this.#limits = limits;
	}

	/** The elements that end in this piece of text. Throws Error what is wrong with it. */
	push(text: string): string[] {
		const done: string[] = [];
		let from = 0;
		for (let index = 0; index < text.length; index++) {
			const code = text.charCodeAt(index);
			if (this.#expected !== "in element") {
				if (isSpace(code)) continue;
				this.#between(code);
				from = index;
				continue;
			}
			if (!this.#within(code)) continue;
			done.push(this.#take(text.slice(from, index + 1)));
			this.#element = "";
		}
		if (this.#expected === "in element") this.#element = this.#take(text.slice(from));
		return done;
	}

	/** Throws Error when the array has not come to its end. */
	end(): void {
		if (this.#expected === "nothing") return;
		throw new Error(this.#expected === "[" ? "it is empty" : "it breaks off before its end");
	}

	/** A character outside of elements. */
	#between(code: number): void {
		const expected = this.#expected;
		if (expected === "[" && code === OPEN_BRACKET) this.#expected = "element or ]";
		else if (expected.startsWith("element") && code === OPEN_BRACE) {
			this.#expected = "in element";
			this.#depth = 1;
		} else if (expected.endsWith("]") && code === CLOSE_BRACKET) this.#expected = "nothing";
		else if (expected === ", or ]" && code === COMMA) this.#expected = "element";
		else throw new Error("it is no JSON array of objects");
	}

	/** A character of an element; true for its last one. */
	#within(code: number): boolean {
		if (this.#inString) {
			if (this.#escaped) this.#escaped = false;
			else if (code === BACKSLASH) this.#escaped = true;
			else if (code === QUOTE) this.#inString = false;
			return false;
		}
		if (code === QUOTE) this.#inString = true;
		else if (code === OPEN_BRACE || code === OPEN_BRACKET) {
			if (++this.#depth > this.#limits.depth) throw new Error(`it nests deeper than ${this.#limits.depth}`);
		} else if (code === CLOSE_BRACE || code === CLOSE_BRACKET) this.#depth--;
		if (this.#depth > 0) return false;
		this.#expected = ", or ]";
		return true;
	}

	#take(more: string): string {
		if (this.#element.length + more.length > this.#limits.chars)
			throw new Error(`one of its entities is longer than ${this.#limits.chars} characters`);
		return this.#element + more;
	}
}

const BACKSLASH = 0x5c;

function isSpace(code: number): boolean {
	return code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09;
}
