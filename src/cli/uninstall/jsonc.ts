/** A value in a text of JSON with comments and trailing commas, and where it stands. */
export interface Node {
	readonly start: number;
	readonly end: number;
	readonly value: unknown;
	/** Of an array. */
	readonly items?: readonly Node[];
	/** Of an object; each begins with its key. */
	readonly members?: readonly (Span & { readonly key: string; readonly node: Node })[];
}

export interface Span {
	readonly start: number;
	readonly end: number;
}

const STRING = /"(?:[^"\\\n]|\\.)*"/y;
const SCALAR = /-?\d[\d.eE+-]*|true|false|null/y;
const GAP = /(?:\s|\/\/[^\n]*|\/\*[\s\S]*?\*\/|\uFEFF)+/y;

/** Reads what OpenCode takes for its configuration. Undefined where the text is none. */
export function parseJsonc(text: string): Node | undefined {
	let at = 0;
	const take = (pattern: RegExp): string | undefined => {
		pattern.lastIndex = at;
		const found = pattern.exec(text)?.[0];
		at += found?.length ?? 0;
		return found;
	};
	const is = (character: string): boolean => {
		take(GAP);
		if (text[at] !== character) return false;
		at++;
		return true;
	};
	const string = (): string => JSON.parse(take(STRING) ?? "no string") as string;
	/** Items up to `end`, with a comma between them, and one behind the last or not. */
	const list = (end: string, item: () => void): void => {
		while (!is(end)) {
			item();
			if (is(",")) continue;
			if (!is(end)) throw new SyntaxError(`no ${end} at ${at}`);
			return;
		}
	};
	const value = (): Node => {
		take(GAP);
		const start = at;
		if (is("[")) {
			const items: Node[] = [];
			list("]", () => void items.push(value()));
			return { start, end: at, value: items.map((item) => item.value), items };
		}
		if (is("{")) {
			const members: (Span & { key: string; node: Node })[] = [];
			list("}", () => {
				take(GAP);
				const begins = at;
				const key = string();
				if (!is(":")) throw new SyntaxError(`no colon at ${at}`);
				const node = value();
				members.push({ start: begins, end: at, key, node });
			});
			return { start, end: at, value: Object.fromEntries(members.map(({ key, node }) => [key, node.value])), members };
		}
		const scalar = text[at] === '"' ? string() : (JSON.parse(take(SCALAR) ?? "no value") as unknown);
		return { start, end: at, value: scalar };
	};
	try {
		const root = value();
		take(GAP);
		return at === text.length ? root : undefined;
	} catch (error) {
		if (error instanceof SyntaxError) return undefined;
		throw error;
	}
}

/**
 * The text without one item of an array, or one member of an object, and without the comma that it needed. Comments, and
 * how everything else is written, stay.
 *
 * @param within from behind the opening bracket to before the closing one.
 * @param items all that lie there, in order.
 */
export function without(text: string, within: Span, items: readonly Span[], index: number): string {
	const item = items[index];
	if (item === undefined) return text;
	const [previous, next] = [items[index - 1], items[index + 1]];
	const before = text.slice(previous?.end ?? within.start, item.start);
	// As it is written by who appends: what stood before it is as it was, whatever follows.
	if (previous !== undefined && /^\s*,\s*$/.test(before)) return cut(text, { start: previous.end, end: item.end });
	const after = { start: item.end, end: next?.start ?? within.end };
	const comma = commaIn(text, after);
	const isAlone = next === undefined && /^\s*,?\s*$/.test(text.slice(after.start, after.end));
	if (previous === undefined && before.trim() === "" && isAlone)
		return cut(text, { start: within.start, end: comma === undefined ? item.end : comma + 1 });
	if (comma !== undefined && text.slice(item.end, comma).trim() === "")
		return cutLine(text, { start: item.start, end: comma + 1 });
	if (comma !== undefined) return cutLine(cut(text, { start: comma, end: comma + 1 }), item);
	const earlier = previous && commaIn(text, { start: previous.end, end: item.start });
	const shorter = cutLine(text, item);
	return earlier === undefined ? shorter : cut(shorter, { start: earlier, end: earlier + 1 });
}

function cut(text: string, { start, end }: Span): string {
	return text.slice(0, start) + text.slice(end);
}

/** With its line, where nothing else stands on it. */
function cutLine(text: string, { start, end }: Span): string {
	const left = /[ \t]*$/.exec(text.slice(0, start))?.[0].length ?? 0;
	const right = /^[ \t]*(?:\r?\n)/.exec(text.slice(end))?.[0].length;
	const isAlone = right !== undefined && (start - left === 0 || text[start - left - 1] === "\n");
	return isAlone ? cut(text, { start: start - left, end: end + right }) : cut(text, { start, end });
}

/** Where the comma is between two values, outside of comments. */
function commaIn(text: string, { start, end }: Span): number | undefined {
	for (let at = start; at < end; at++) {
		GAP.lastIndex = at;
		at += GAP.exec(text)?.[0].length ?? 0;
		if (at < end && text[at] === ",") return at;
	}
	return undefined;
}
