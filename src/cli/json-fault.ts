export interface JsonFault {
	/** From 1. */
	readonly line: number;
	/** In UTF-16 units, from 1. */
	readonly column: number;
	/** What should stand there. */
	readonly expected: string;
}

const SPACE = /[ \t\n\r]*/y;
const STRING = /"(?:[^"\\\p{Cc}]|[\u007f-\u009f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/uy;
const SCALAR = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y;

/** Thrown inside only: the scanner has met what cannot stand there. */
class Fault extends Error {}

/** Finds where a text that is not JSON stops being it (RFC 8259). Node tells the place sometimes, Bun never. */
export function jsonFault(text: string): JsonFault {
	let at = 0;
	const take = (pattern: RegExp): boolean => {
		pattern.lastIndex = at;
		const found = pattern.exec(text);
		if (found) at += found[0].length;
		return found !== null;
	};
	const skip = () => void take(SPACE);
	const is = (character: string): boolean => {
		skip();
		if (text[at] !== character) return false;
		at++;
		return true;
	};
	const need = (found: boolean, expected: string) => {
		if (!found) throw new Fault(expected);
	};
	const member = () => {
		skip();
		need(take(STRING), "a name in double quotes");
		need(is(":"), "a colon");
		value();
	};
	const list = (end: string, item: () => void) => {
		if (is(end)) return;
		do item();
		while (is(","));
		need(is(end), `a comma or ${end}`);
	};
	const value = () => {
		skip();
		if (is("{")) list("}", member);
		else if (is("[")) list("]", value);
		else need(take(STRING) || take(SCALAR), "a value");
	};
	let expected = "JSON";
	try {
		value();
		skip();
		need(at === text.length, "the end of the file");
	} catch (error) {
		if (error instanceof Fault) expected = error.message;
	}
	const before = text.slice(0, at).split("\n");
	return { line: before.length, column: (before.at(-1)?.length ?? 0) + 1, expected };
}
