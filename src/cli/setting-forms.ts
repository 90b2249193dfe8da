import { directoryGlob, expandGlob } from "../agent/directory-glob.ts";
import type { Rate } from "../protocol/rates.ts";
import { Pattern } from "../redaction/pattern.ts";
import { parseDuration } from "./duration.ts";
import { type Env, expandPath, home } from "./paths.ts";
import { parseSize } from "./size.ts";

/** Where a value was found: relative paths in it are below `base`. */
export interface Place {
	readonly base: string;
	readonly env: Env;
}

/** The value that a text stands for, which may be undefined; or undefined for a text that stands for none. */
export type Parsed<Value> = { readonly value: Value } | undefined;
/** Reads a value as people write it. No schema: zod takes 28 ms to load, of the 100 that `status` may take. */
type Form<Value> = (text: string) => Parsed<Value>;

export const URL_FORM = "an http:// or https:// address without user, query or fragment";
export const PORT = within(number(/^\d{1,5}$/), 0, 65_535);
const OFF = word("off", undefined);
/** A port, or none at all. */
export const PORT_OR_OFF = either(OFF, PORT);
/** Below 10 ms a poll costs more than it tells; above an hour it is a mistake. */
export const POLL = within(parseDuration, 10, 3_600_000);
/** Below 100 ms it would be most of what the outbox writes. */
export const CHECKPOINT = either(
	word("off", 0),
	word("0", 0),
	within(parseDuration, 0, 0),
	within(parseDuration, 100, 3_600_000),
);
/** Below 1 MiB not even one message's ops fit; the upper bound is a slip of the pen. */
export const OUTBOX_MAX = within(parseSize, 1024 ** 2, 1024 ** 5);
/** Below a second nobody could ask for anything in between; the upper bound is a slip of the pen. */
export const IDLE_STOP = either(word("never", undefined), within(parseDuration, 1000, 7 * 24 * 3_600_000));
/** Below an hour nothing would be read by anybody; the upper bound is a slip of the pen. */
export const RETAIN = either(OFF, within(parseDuration, 3_600_000, 10_000 * 86_400_000));
/** Below 1 MiB not even one batch fits; the upper bound is a slip of the pen. */
export const BYTES_OR_OFF = either(OFF, within(parseSize, 1024 ** 2, 1024 ** 5));
export const COUNT_OR_OFF = either(OFF, within(number(/^[1-9]\d{0,8}$/), 1, 999_999_999));
export const SWITCH = either(word("off", false), word("on", true));
export const COMPRESS = either(word("auto", undefined), word("on", true), word("off", false));
/** Below a minute nothing would ever begin; the upper bound is a slip of the pen. */
export const MAX_AGE = within(parseDuration, 60_000, 10_000 * 86_400_000);

/** One of these words. */
export function oneOf<const Word extends string>(...words: readonly Word[]): Form<Word> {
	return either(...words.map((text) => word(text, text)));
}

export function nothing(): readonly string[] {
	return [];
}

export function none(): undefined {
	return undefined;
}

/** A glob of directories, its `~` expanded. */
export function glob(text: string, { env }: Place): Parsed<string> {
	const value = expandGlob(text, home(env));
	return directoryGlob(value) && { value };
}

export function regex(text: string): Parsed<string> {
	return Pattern.parse(text) && { value: text };
}

export function path(text: string, { base, env }: Place): Parsed<string> {
	return text === "" || text.includes("\0") ? undefined : { value: expandPath(text, base, env) };
}

/** A program's path, or a name that is looked for on PATH. */
export function program(text: string, place: Place): Parsed<string> {
	if (text.includes("/")) return path(text, place);
	return /^[\w.@+-]{1,100}$/.test(text) ? { value: text } : undefined;
}

/** An address as `URL_FORM` says, without a trailing slash. */
export function httpAddress(text: string): Parsed<string> {
	const trimmed = text.trim();
	// URL would also take http:example.com for an address.
	const url = /^https?:\/\//i.test(trimmed) ? URL.parse(trimmed) : null;
	if (url === null || url.username + url.password + url.search + url.hash !== "") return undefined;
	return { value: url.href.replace(/\/+$/, "") };
}

/** A client cannot be asked to wait longer than RETRY_AFTER_MS_MAX, ten minutes. */
const WINDOW = within(parseDuration, 100, 600_000);

/** So many in such a time. */
export const COUNT_RATE = rate(number(/^\d{1,9}$/));
export const COUNT_RATE_FORM = 'a number per duration of 100ms to 10m, like "600/1m", or off';
/** So many bytes in such a time. */
export const SIZE_RATE = rate(parseSize);
export const SIZE_RATE_FORM = 'a size per duration of 100ms to 10m, like "64MiB/1s", or off';

/** `AMOUNT/DURATION`, the amount read by `parse`; `off` and 0 are no limit. */
function rate(parse: (text: string) => number | undefined): Form<Rate | undefined> {
	return (text) => {
		if (text === "off" || text === "0") return { value: undefined };
		const [amount = "", window = "", more] = text.split("/");
		const parsed = parse(amount);
		if (parsed === undefined || more !== undefined) return undefined;
		if (parsed === 0) return { value: undefined };
		const ms = WINDOW(window);
		return ms && { value: { amount: parsed, ms: ms.value } };
	};
}

/** Reads a number of this form. */
function number(form: RegExp): (text: string) => number | undefined {
	return (text) => (form.test(text) ? Number(text) : undefined);
}

/** A number that `parse` finds in a text, within bounds. */
function within(parse: (text: string) => number | undefined, min: number, max: number): Form<number> {
	return (text) => {
		const value = parse(text);
		return value !== undefined && value >= min && value <= max ? { value } : undefined;
	};
}

function word<const Value>(meant: string, value: Value): Form<Value> {
	return (text) => (text === meant ? { value } : undefined);
}

/** What the first of these makes of a text that makes anything of it. */
function either<Value>(...forms: readonly Form<Value>[]): Form<Value> {
	return (text) => {
		for (const form of forms) {
			const parsed = form(text);
			if (parsed) return parsed;
		}
		return undefined;
	};
}
