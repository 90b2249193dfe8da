import { type Logger as PinoLogger, pino } from "pino";
import type { LogLevel } from "./settings-table.ts";
import { painter, printable } from "./terminal.ts";

export interface LoggerOptions {
	readonly level: LogLevel;
	/** Default: stderr. stdout is for what was asked for. */
	readonly stream?: { write(line: string): unknown; readonly isTTY?: boolean };
	/** Default: `text` on a terminal, else `json` (one object per line). */
	readonly format?: "text" | "json";
}

/** Members that hold secrets, however deep; compared without case, `-` and `_`. */
const SECRET_NAMES = new Set(
	"secret nextsecret createkey serverkey serverkeys authorization cookie setcookie password token apikey credential credentials".split(
		" ",
	),
);
/** What our own secrets look like: 32 bytes as base64url. Ids, slugs and digests have other lengths. */
const SECRET_FORM = /(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])/g;
const STRUCK = "[redacted]";
/** Deeper than anything that is logged; ends cycles too. */
const DEPTH_MAX = 8;

/**
 * The program's log: pino on stderr.
 *
 * No secret gets into it (G8): members with a secret's name and texts with a secret's form are struck out, at any depth,
 * in errors and messages too.
 */
export function createLogger(options: LoggerOptions): PinoLogger {
	const { level, stream = process.stderr, format = stream.isTTY ? "text" : "json" } = options;
	const paint = painter(stream, process.env);
	const write = (line: string): void => void stream.write(format === "json" ? line : readable(line, paint));
	return pino(
		{
			level,
			base: { pid: process.pid },
			timestamp: pino.stdTimeFunctions.isoTime,
			// Ours do it, for every member: pino's own would copy an error's properties first.
			serializers: { err: (error: unknown) => error },
			formatters: { level: (label) => ({ level: label }), log: (facts) => clean(facts, 0) as Record<string, unknown> },
			hooks: {
				logMethod(args, method) {
					method.apply(
						this,
						withMessage(args).map((arg) => (typeof arg === "string" ? strike(arg) : arg)) as typeof args,
					);
				},
			},
		},
		{ write },
	);
}

/** pino takes an error's message for a missing one, past every hook; so that none is missing. */
function withMessage([facts, ...rest]: readonly unknown[]): unknown[] {
	const error = facts instanceof Error ? facts : (facts as { err?: unknown } | null)?.err;
	return rest.length === 0 && error instanceof Error ? [{ err: error }, error.message] : [facts, ...rest];
}

function clean(value: unknown, depth: number): unknown {
	if (typeof value === "string") return strike(value);
	if (typeof value === "bigint") return String(value);
	if (typeof value !== "object" || value === null) return value;
	if (depth > DEPTH_MAX) return "…";
	if (ArrayBuffer.isView(value)) return `${value.byteLength} bytes`;
	if (Array.isArray(value)) return value.map((item) => clean(item, depth + 1));
	if (value instanceof Date) return value;
	const members = Object.entries(value instanceof Error ? errorFacts(value) : value);
	return Object.fromEntries(members.map(([name, member]) => [name, cleanMember(name, member, depth)]));
}

function cleanMember(name: string, member: unknown, depth: number): unknown {
	const isSecret = SECRET_NAMES.has(name.toLowerCase().replaceAll(/[-_]/g, ""));
	return isSecret && member !== null && member !== undefined ? STRUCK : clean(member, depth + 1);
}

/** An error's own properties first, so that none of them can pose as its message. */
function errorFacts(error: Error): object {
	const { name, message, stack, cause } = error;
	return { ...error, type: name, message, stack, ...(cause === undefined ? {} : { cause }) };
}

function strike(text: string): string {
	return text.replace(SECRET_FORM, STRUCK);
}

/** One line for a person: time, level, message, facts. */
function readable(line: string, paint: ReturnType<typeof painter>): string {
	const { time, level, msg, pid: _pid, ...facts } = JSON.parse(line) as Record<string, unknown>;
	const clock = new Date(String(time)).toTimeString().slice(0, 8);
	const label = String(level).padEnd(5);
	const style = level === "error" || level === "fatal" ? "red" : level === "warn" ? "yellow" : "dim";
	const told = Object.entries(facts).map(([name, fact]) => `${name}=${factText(fact)}`);
	return `${paint("dim", clock)} ${paint(style, label)} ${printable([String(msg ?? ""), ...told].join(" "))}\n`;
}

function factText(fact: unknown): string {
	if (typeof fact === "object" && fact !== null && "message" in fact) return String(fact.message);
	return typeof fact === "string" && /^\S+$/.test(fact) ? fact : JSON.stringify(fact);
}
