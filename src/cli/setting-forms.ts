import * as z from "zod";
import { directoryGlob, expandGlob } from "../agent/directory-glob.ts";
import { Pattern } from "../redaction/pattern.ts";
import { durationSchema, parseDuration } from "./duration.ts";
import { type Env, expandPath, home } from "./paths.ts";
import { parseSize, sizeSchema } from "./size.ts";

/** Where a value was found: relative paths in it are below `base`. */
export interface Place {
	readonly base: string;
	readonly env: Env;
}

export const URL_FORM = "an http:// or https:// address without user, query or fragment";
export const PORT = z
	.string()
	.regex(/^\d{1,5}$/)
	.transform(Number)
	.pipe(z.number().max(65_535));
/** A port, or none at all. */
export const PORT_OR_OFF = z.union([z.literal("off").transform(() => undefined), PORT]);
/** A name that is looked for on PATH. */
export const PROGRAM = z.string().regex(/^[\w.@+-]{1,100}$/);
/** Below 10 ms a poll costs more than it tells; above an hour it is a mistake. */
export const POLL = durationSchema(10, 3_600_000);
/** Below 100 ms it would be most of what the outbox writes. */
export const CHECKPOINT = z.union([
	z.enum(["off", "0"]).transform(() => 0),
	durationSchema(0, 0),
	durationSchema(100, 3_600_000),
]);
/** Below 1 MiB not even one message's ops fit; the upper bound is a slip of the pen. */
export const OUTBOX_MAX = sizeSchema(1024 ** 2, 1024 ** 5);

/** Below a second nobody could ask for anything in between; the upper bound is a slip of the pen. */
export const IDLE_STOP = durationSchema(1000, 7 * 24 * 3_600_000);
const OFF = z.literal("off").transform(() => undefined);
/** Below an hour nothing would be read by anybody; the upper bound is a slip of the pen. */
export const RETAIN = z.union([OFF, durationSchema(3_600_000, 10_000 * 86_400_000)]);
/** Below 1 MiB not even one batch fits; the upper bound is a slip of the pen. */
export const BYTES_OR_OFF = z.union([OFF, sizeSchema(1024 ** 2, 1024 ** 5)]);
export const COUNT_OR_OFF = z.union([
	OFF,
	z
		.string()
		.regex(/^[1-9]\d{0,8}$/)
		.transform(Number),
]);
export const SWITCH = z.enum(["off", "on"]).transform((text) => text === "on");
export const COMPRESS = z
	.enum(["auto", "on", "off"])
	.transform((text) => (text === "auto" ? undefined : text === "on"));
export const NEVER = z.literal("never").transform(() => undefined);
/** Below a minute nothing would ever begin; the upper bound is a slip of the pen. */
export const MAX_AGE = durationSchema(60_000, 10_000 * 86_400_000);

export function nothing(): readonly string[] {
	return [];
}

/** A glob of directories, its `~` expanded. */
export function glob(text: string, { env }: Place): z.ZodSafeParseResult<string> {
	return z
		.string()
		.transform((value) => expandGlob(value, home(env)))
		.refine((value) => directoryGlob(value) !== undefined)
		.safeParse(text);
}

export function regex(text: string): z.ZodSafeParseResult<string> {
	return z
		.string()
		.refine((value) => Pattern.parse(value) !== undefined)
		.safeParse(text);
}

export function none(): undefined {
	return undefined;
}

export function path(text: string, { base, env }: Place): z.ZodSafeParseResult<string> {
	const schema = z
		.string()
		.min(1)
		.refine((value) => !value.includes("\0"));
	return schema.transform((value) => expandPath(value, base, env)).safeParse(text);
}

/** An address as `URL_FORM` says, without a trailing slash. */
export function httpAddress(text: string): z.ZodSafeParseResult<string> {
	return z
		.url({ protocol: /^https?$/ })
		.transform((value) => new URL(value))
		.refine((value) => value.username + value.password + value.search + value.hash === "")
		.transform((value) => value.href.replace(/\/+$/, ""))
		.safeParse(text);
}

/** A client cannot be asked to wait longer than RETRY_AFTER_MS_MAX, ten minutes. */
const WINDOW = durationSchema(100, 600_000);

/** `AMOUNT/DURATION`, the amount read by `parse`; `off` and 0 are no limit. */
function rateSchema(parse: (text: string) => number | undefined) {
	return z.string().transform((text, context) => {
		if (text === "off" || text === "0") return undefined;
		const [amount, window, more] = text.split("/");
		const [parsed, ms] = [parse(amount ?? ""), parseDuration(window ?? "")];
		if (parsed === 0 && more === undefined) return undefined;
		if (parsed !== undefined && ms !== undefined && more === undefined && WINDOW.safeParse(window).success)
			return { amount: parsed, ms };
		context.addIssue({ code: "custom", message: "no rate within the bounds" });
		return z.NEVER;
	});
}

/** So many in such a time. */
export const COUNT_RATE = rateSchema((text) => (/^\d{1,9}$/.test(text) ? Number(text) : undefined));
export const COUNT_RATE_FORM = 'a number per duration of 100ms to 10m, like "600/1m", or off';
/** So many bytes in such a time. */
export const SIZE_RATE = rateSchema(parseSize);
export const SIZE_RATE_FORM = 'a size per duration of 100ms to 10m, like "64MiB/1s", or off';
