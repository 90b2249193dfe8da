import { canonicalJson, digestOf } from "../model/json.ts";
import { DETECTORS, type Rule } from "./detectors.ts";
import { Pattern, type Span } from "./pattern.ts";
import { isStructural, mapTexts } from "./texts.ts";

/** What a person asked to have taken out. */
export interface RedactionRules {
	/** Names of detectors; `all` is every one. */
	readonly detectors: readonly string[];
	/** Patterns of their own (pattern.ts). */
	readonly patterns: readonly string[];
}

export const NO_RULES: RedactionRules = { detectors: [], patterns: [] };

/** One place where a rule finds something. Never holds what it found. */
export interface Hit {
	readonly rule: string;
	/** Where in the entity: names of members and numbers of items. */
	readonly path: readonly (string | number)[];
	/** The text around it, what was found masked to two characters at most. */
	readonly context: string;
}

/** Own patterns without a named group are called this. */
const UNNAMED = "custom";
const MARKER = /\[redacted:[\w-]+\]/g;
/** Bytes of an image tell nothing that a rule could find. */
const IMAGE = /^data:image\/[\w.+-]+;base64,[A-Za-z0-9+/=]*$/;
const BEFORE_CHARS = 32;
const AFTER_CHARS = 16;
/** Of a shorter one, two characters would tell too much. */
const TELLING_CHARS_MIN = 12;

interface Found extends Span {
	readonly rule: string;
}

/**
 * Takes out of texts what rules find, and puts `[redacted:NAME]` there.
 *
 * Deterministic: equal texts come out equal, whoever asks, so that digests can be compared. Every rule looks at the text as
 * it was; where finds overlap, one marker stands for all of them, with the name of the rule that comes first. A marker
 * that is there already is left alone, so that what was redacted once comes out of the same rules as it went in.
 */
export class Redactor {
	/** Names these rules among others, and holds all that it takes to make them again: see `fromIdentity`. */
	readonly identity: string;
	readonly #rules: readonly Rule[];

	/** @returns undefined when there is nothing to look for. */
	static of({ detectors, patterns }: RedactionRules): Redactor | undefined {
		const isAll = detectors.includes("all");
		const named = DETECTORS.filter(({ name }) => isAll || detectors.includes(name));
		const own = [...new Set(patterns)].flatMap((source) => {
			const pattern = Pattern.parse(source);
			return pattern === undefined ? [] : [ownRule(pattern)];
		});
		return named.length + own.length === 0 ? undefined : new Redactor([...named, ...own], named, own);
	}

	/** The redactor that goes by that name, as far as this version has its detectors; null: none. */
	static fromIdentity(identity: string | null): Redactor | undefined {
		return identity === null ? undefined : Redactor.of(JSON.parse(identity) as RedactionRules);
	}

	private constructor(rules: readonly Rule[], named: readonly Rule[], own: readonly Rule[]) {
		this.#rules = rules;
		const digest = digestOf(canonicalJson(rules.map(({ name, source }) => [name, source])));
		this.identity = canonicalJson({
			detectors: named.map(({ name }) => name),
			patterns: own.map(({ source }) => source),
			digest: digest.slice(0, 16),
		});
	}

	/** Of its rules, in the order in which they decide. */
	get names(): string[] {
		return this.#rules.map(({ name }) => name);
	}

	/** A text of its own: a title, a directory, a reason. */
	text(text: string): string {
		return replaced(text, this.#found(text, ""));
	}

	/**
	 * An entity. Structure, names of members, ids and types stay as they are (texts.ts).
	 *
	 * @param payload canonical JSON text; so is what is returned. What is none (a dead letter's) counts as a text.
	 */
	payload(payload: string): string {
		if (!this.#mayHit(payload)) return payload;
		const value = jsonOf(payload);
		if (value === undefined) return this.text(payload);
		let hits = 0;
		const redacted = mapTexts(value, (text, path) => {
			if (isStructural(path, text)) return text;
			const found = this.#found(text, memberOf(path));
			hits += found.length;
			return replaced(text, found);
		});
		return hits === 0 ? payload : canonicalJson(redacted);
	}

	/** Every place of an entity that `payload` would change. */
	hits(payload: string): Hit[] {
		if (!this.#mayHit(payload)) return [];
		const hits: Hit[] = [];
		mapTexts(jsonOf(payload), (text, path) => {
			if (isStructural(path, text)) return text;
			const found = this.#found(text, memberOf(path));
			for (const [n, { rule }] of found.entries()) hits.push({ rule, path, context: contextOf(text, found, n) });
			return text;
		});
		return hits;
	}

	#mayHit(text: string): boolean {
		return this.#rules.some(({ hint }) => hint === undefined || hint.test(text));
	}

	/** What is to be taken out, in order, without overlaps. */
	#found(text: string, member: string): Found[] {
		if (text === "" || IMAGE.test(text)) return [];
		const all: Found[] = [];
		for (const rule of this.#rules) {
			if (rule.isSecretMember?.(member, text)) all.push({ start: 0, end: text.length, rule: rule.name });
			else if (rule.hint === undefined || rule.hint.test(text))
				for (const span of rule.find(text)) all.push({ ...span, rule: rule.name });
		}
		return all.length === 0 ? all : merged(all, markersIn(text));
	}
}

function ownRule(pattern: Pattern): Rule {
	const { source, name = UNNAMED } = pattern;
	return { name, doc: "", source, hint: undefined, find: (text) => pattern.find(text) };
}

function jsonOf(payload: string): unknown {
	try {
		return JSON.parse(payload);
	} catch {
		return undefined;
	}
}

function memberOf(path: readonly (string | number)[]): string {
	const last = path.at(-1);
	return typeof last === "string" ? last : "";
}

function markersIn(text: string): Span[] {
	if (!text.includes("[redacted:")) return [];
	return [...text.matchAll(MARKER)].map(({ index, 0: marker }) => ({ start: index, end: index + marker.length }));
}

/** Sorted, overlapping ones as one; none that lies within a marker, and none that ends inside of one. */
function merged(found: readonly Found[], markers: readonly Span[]): Found[] {
	const whole = found.flatMap((span) => {
		if (markers.some((marker) => marker.start <= span.start && span.end <= marker.end)) return [];
		const cut = markers.filter((marker) => marker.start < span.end && span.start < marker.end);
		const start = Math.min(span.start, ...cut.map((marker) => marker.start));
		return [{ ...span, start, end: Math.max(span.end, ...cut.map((marker) => marker.end)) }];
	});
	// The sort is stable: of those that begin together, the one whose rule comes first gives its name.
	const result: Found[] = [];
	for (const span of whole.sort((a, b) => a.start - b.start)) {
		const last = result.at(-1);
		if (last === undefined || span.start >= last.end) result.push(span);
		else result[result.length - 1] = { ...last, end: Math.max(last.end, span.end) };
	}
	return result;
}

function replaced(text: string, found: readonly Found[]): string {
	if (found.length === 0) return text;
	let [result, at] = ["", 0];
	for (const { start, end, rule } of found) {
		result += `${text.slice(at, start)}[redacted:${rule}]`;
		at = end;
	}
	return result + text.slice(at);
}

function contextOf(text: string, found: readonly Found[], n: number): string {
	const { start, end } = found[n] as Found;
	const before = text.slice(Math.max(found[n - 1]?.end ?? 0, start - BEFORE_CHARS), start);
	const after = text.slice(end, Math.min(found[n + 1]?.start ?? text.length, end + AFTER_CHARS));
	const shown = end - start < TELLING_CHARS_MIN ? "" : text.slice(start, start + 2);
	return `${before}${shown}…(${end - start})${after}`;
}
