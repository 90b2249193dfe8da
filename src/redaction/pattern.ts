import { createRequire } from "node:module";
import type { RE2JS } from "re2js";

const require = createRequire(import.meta.url);
/** 270 KB that most commands never need, so that the first pattern loads them. */
const engine = (): typeof import("re2js") => require("re2js");

/** Where something stands in a text, in UTF-16 units: from `start` to before `end`. */
export interface Span {
	readonly start: number;
	readonly end: number;
}

/** What a pattern may be, for messages; completes "expected …". */
export const PATTERN_FORM = "a regular expression in RE2's syntax (no lookaround, no backreferences)";
/** Longer ones are a slip of the pen, and their automaton grows with them. */
const PATTERN_CHARS_MAX = 2000;

/**
 * A regular expression of a person, found anywhere in a text, in time that grows with the text alone.
 *
 * RE2's syntax (https://github.com/google/re2/wiki/Syntax) and its algorithm, as re2js has them: no pattern and no text can
 * hang the agent, which a backtracking engine could be made to. A named group, where there is one, is the part that is
 * meant; the whole match otherwise.
 */
export class Pattern {
	readonly source: string;
	/** Name of the first named group. */
	readonly name: string | undefined;
	readonly #regex: RE2JS;

	/** @returns undefined when the text is no pattern. */
	static parse(source: string): Pattern | undefined {
		if (source === "" || source.length > PATTERN_CHARS_MAX) return undefined;
		try {
			return new Pattern(source, engine().RE2JS.compile(source));
		} catch (error) {
			if (error instanceof engine().RE2JSException) return undefined;
			throw error;
		}
	}

	private constructor(source: string, regex: RE2JS) {
		this.source = source;
		this.#regex = regex;
		this.name = Object.entries(regex.namedGroups() as Record<string, number>).sort(([, a], [, b]) => a - b)[0]?.[0];
	}

	isIn(text: string): boolean {
		return this.#regex.test(text);
	}

	/** Every match, in order; what is empty, or whose named group took no part in it, is none. */
	find(text: string): Span[] {
		if (!this.isIn(text)) return [];
		const spans: Span[] = [];
		for (const matcher = this.#regex.matcher(text); matcher.find(); ) {
			const start = this.name === undefined ? matcher.start() : matcher.start(this.name);
			const end = this.name === undefined ? matcher.end() : matcher.end(this.name);
			if (start >= 0 && end > start) spans.push({ start, end });
		}
		return spans;
	}
}

/**
 * A pattern of this program's own, compiled when it is first used: most commands need none. Repetitions have no upper bound
 * where one is not needed, since each step of `{20,300}` is a part of the automaton.
 */
export function lazyPattern(source: string): () => Pattern {
	let pattern: Pattern | undefined;
	return () => {
		pattern ??= Pattern.parse(source);
		if (pattern === undefined) throw new Error(`not a pattern: ${source}`);
		return pattern;
	};
}
