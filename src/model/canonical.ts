const [QUOTE, COMMA, OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT] = [0x22, 0x2c, 0x5b, 0x5d, 0x7b, 0x7d];
/** Characters that JSON.stringify writes as they are; of surrogates, those that make pairs. */
const PLAIN = String.raw`[ !#-[\]-\ud7ff\ue000-\uffff]*`;
/** What it escapes, in the one form in which it does; half of a pair is left to a parser. */
const ESCAPED = String.raw`\\(?:["\\bfnrt]|u00(?:0[0-7bef]|1[0-9a-f]))|[\ud800-\udbff][\udc00-\udfff]`;
const STRING = new RegExp(`"${PLAIN}`, "y");
/** A few at once: a regular expression that repeats millions of times runs out of stack. */
const REST = new RegExp(`(?:(?:${ESCAPED})${PLAIN}){1,50}`, "y");
/** Names that begin with a digit may be numbers, which an object orders before all others. */
const NAME = new RegExp(String.raw`"(?!\d)${PLAIN}":`, "y");
const WORD = String.raw`(?:true|false|null|0|-?[1-9]\d{0,14})(?=[,\]}])`;
const COMMON = new RegExp(WORD, "y");
/** A whole member, as most are. */
const MEMBER = new RegExp(`${NAME.source}(?:"${PLAIN}"|${WORD})`, "y");
const NUMBER = /[-+.\de]+/y;
/** Members of one object: they are put in order one by one. */
const MEMBERS_MAX = 64;

/**
 * Cuts an object or a list out of JSON text in its canonical form (canonicalJson), without making the value.
 *
 * @param from where it begins.
 * @returns undefined for text that JSON.stringify would not have written just so, be it JSON or not, and for what is rare:
 * whoever asked parses it.
 */
export function canonicalCut(text: string, from: number): { readonly text: string; readonly end: number } | undefined {
	const scan = new Scan(text, from);
	const changed = scan.value();
	if (changed === undefined) return undefined;
	return { text: changed === SAME ? text.slice(from, scan.at) : changed, end: scan.at };
}

/** The value's text as it stands is canonical. */
const SAME = "";

/** Each method takes one value in, and returns its canonical text, SAME, or undefined as canonicalCut does. */
class Scan {
	at: number;
	readonly #text: string;

	constructor(text: string, at: number) {
		this.#text = text;
		this.at = at;
	}

	value(): string | undefined {
		const code = this.#text.charCodeAt(this.at);
		if (code === QUOTE) return this.#string();
		if (code === OPEN_OBJECT) return this.#object();
		return code === OPEN_LIST ? this.#list() : this.#literal();
	}

	#string(): typeof SAME | undefined {
		this.#take(STRING);
		while (this.#text.charCodeAt(this.at) !== QUOTE) if (!this.#take(REST)) return undefined;
		this.at++;
		return SAME;
	}

	#literal(): typeof SAME | undefined {
		const from = this.at;
		if (this.#take(COMMON)) return SAME;
		if (!this.#take(NUMBER)) return undefined;
		const text = this.#text.slice(from, this.at);
		return String(Number(text)) === text ? SAME : undefined;
	}

	#list(): string | undefined {
		let [changed, kept] = ["", this.at];
		if (this.#text.charCodeAt(++this.at) !== CLOSE_LIST)
			for (;;) {
				const from = this.at;
				const item = this.value();
				if (item === undefined) return undefined;
				if (item !== SAME) {
					changed += this.#text.slice(kept, from) + item;
					kept = this.at;
				}
				if (!this.#takeComma()) break;
			}
		if (this.#text.charCodeAt(this.at++) !== CLOSE_LIST) return undefined;
		return changed === "" ? SAME : changed + this.#text.slice(kept, this.at);
	}

	#object(): string | undefined {
		const [names, members]: [string[], string[]] = [[], []];
		let isSame = true;
		if (this.#text.charCodeAt(++this.at) !== CLOSE_OBJECT)
			for (;;) {
				const from = this.at;
				let value: string | undefined = SAME;
				let begins = from;
				if (!this.#take(MEMBER)) {
					if (!this.#take(NAME)) return undefined;
					begins = this.at;
					value = this.value();
					if (value === undefined) return undefined;
				}
				const name = this.#text.slice(from + 1, this.#text.indexOf('"', from + 1));
				const member = this.#text.slice(from, value === SAME ? this.at : begins) + value;
				let place = names.length;
				if (place === MEMBERS_MAX) return undefined;
				for (; place > 0 && (names[place - 1] as string) >= name; place--) {
					names[place] = names[place - 1] as string;
					members[place] = members[place - 1] as string;
				}
				if (names[place + 1] === name) return undefined;
				if (value !== SAME || place < names.length - 1) isSame = false;
				names[place] = name;
				members[place] = member;
				if (!this.#takeComma()) break;
			}
		if (this.#text.charCodeAt(this.at++) !== CLOSE_OBJECT) return undefined;
		if (isSame) return SAME;
		// One by one: a text of many MiB is then copied once, when it is first used as a whole.
		let text = "{";
		for (const [n, member] of members.entries()) text += n === 0 ? member : `,${member}`;
		return `${text}}`;
	}

	#takeComma(): boolean {
		if (this.#text.charCodeAt(this.at) !== COMMA) return false;
		this.at++;
		return true;
	}

	#take(pattern: RegExp): boolean {
		pattern.lastIndex = this.at;
		if (!pattern.test(this.#text)) return false;
		this.at = pattern.lastIndex;
		return true;
	}
}
