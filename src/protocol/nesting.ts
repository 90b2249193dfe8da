/** The deepest nesting in JSON text, found without recursion and before anything is parsed. */
export function depthOf(text: string): number {
	let depth = 0;
	let deepest = 0;
	for (let index = 0; index < text.length; index++) {
		const code = text.charCodeAt(index);
		if (code === QUOTE) index = endOfString(text, index);
		else if (code === OPEN_BRACKET || code === OPEN_BRACE) deepest = Math.max(deepest, ++depth);
		else if (code === CLOSE_BRACKET || code === CLOSE_BRACE) depth--;
	}
	return deepest;
}

/** How many values JSON text has, counted by commas and brackets outside of texts, before anything is parsed. */
export function valuesIn(text: string): number {
	let values = 0;
	for (let index = 0; index < text.length; index++) {
		const code = text.charCodeAt(index);
		if (code === QUOTE) index = endOfString(text, index);
		else if (code === COMMA || code === OPEN_BRACKET || code === OPEN_BRACE) values++;
	}
	return values;
}

/** Index of the quote that closes the string opened at `start`, or the text's length when none does. */
export function endOfString(text: string, start: number): number {
	for (let end = text.indexOf('"', start + 1); end !== -1; end = text.indexOf('"', end + 1)) {
		let escapes = 0;
		while (text.charCodeAt(end - 1 - escapes) === BACKSLASH) escapes++;
		if (escapes % 2 === 0) return end;
	}
	return text.length;
}

export const QUOTE = 0x22;
export const COMMA = 0x2c;
export const OPEN_BRACKET = 0x5b;
export const CLOSE_BRACKET = 0x5d;
export const OPEN_BRACE = 0x7b;
export const CLOSE_BRACE = 0x7d;
const BACKSLASH = 0x5c;
