import { randomUUID } from "node:crypto";
import { appendFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { inspect } from "node:util";
import type { Logger } from "../../src/model/logger.ts";

/**
 * What a run of the tests leaves for the scanner (scan.ts): every secret that came to be, and everything that came out.
 *
 * The folder is named in the environment, so that the processes which the tests start add to it as well. Where it is not
 * set (`npm run demo`, Bun), nothing is recorded.
 */
export const EVIDENCE = "OUTBOX_TEST_EVIDENCE";

/** Shorter ones cannot be told from ordinary text. */
export const SECRET_CHARS_MIN = 12;

/** In 32 random characters of 64 there are some 25; fewer than this have come by hand. */
const DISTINCT_CHARS_MIN = 4;

/** Of one HTTP body, log line or error: enough for every sentence of ours, too little to fill a disk. */
const OUTPUT_CHARS_MAX = 1 << 20;

export type SecretKind = "server key" | "create key" | "share secret" | "identity key" | "password";

export interface SecretRecord {
	readonly kind: SecretKind;
	readonly value: string;
}

export interface OutputRecord {
	/** Below `out/` in the evidence folder. */
	readonly file: string;
	/** What a person knows it by: which process, which test file. */
	readonly label: string;
	/** Kinds of secrets that it may hold, because they are put there on purpose. */
	readonly allows: readonly SecretKind[];
}

/** Something that came out bit by bit. */
export interface Output {
	add(bytes: string | Uint8Array): void;
}

const id = randomUUID();
let outputs = 0;
let testFile = "";
const byLabel = new Map<string, Output>();
const known = new Set<string>();

export function isRecording(): boolean {
	return folder() !== undefined;
}

/** Said once per test file, for the labels. */
export function inTestFile(path: string): void {
	testFile = path;
}

/** No output of this run may hold `value`. */
export function secret(kind: SecretKind, value: string): void {
	const at = folder();
	if (at === undefined || known.has(value)) return;
	if (value.length < SECRET_CHARS_MIN) throw new Error(`a ${kind} of the tests is too short to be looked for`);
	known.add(value);
	// Nothing that anybody could have drawn: a placeholder, which in hexadecimal is any text that repeats itself.
	if (new Set(value).size < DISTINCT_CHARS_MIN) return;
	append(join(at, `${id}.secrets`), `${JSON.stringify({ kind, value } satisfies SecretRecord)}\n`);
}

/** A new output; what is added to it is looked through as one piece. */
export function output(label: string, allows: readonly SecretKind[] = []): Output {
	const at = folder();
	if (at === undefined) return { add: () => undefined };
	const file = `${id}.${outputs++}`;
	const record: OutputRecord = { file, label: testFile === "" ? label : `${label} (${testFile})`, allows };
	append(join(at, `${id}.outputs`), `${JSON.stringify(record)}\n`);
	return { add: (bytes) => append(join(at, "out", file), bytes) };
}

/** One line of the output `label`, which all such lines of this process share. */
export function line(label: string, text: string): void {
	if (!isRecording()) return;
	const shared = byLabel.get(label) ?? output(label);
	byLabel.set(label, shared);
	shared.add(`${text.slice(0, OUTPUT_CHARS_MAX)}\n`);
}

/** An error as a log without any care would show it: message, stack, cause and own properties. */
export function errorLine(error: unknown): void {
	line("errors", inspect(error, { depth: 8 }));
}

/** `logger`, whose lines are outputs too: as they were told, before the program's own log strikes anything out. */
export function recorded(logger: Logger): Logger {
	if (!isRecording()) return logger;
	const told = (level: keyof Logger) => (facts: object, message: string) => {
		line("log of this process", `${level} ${message} ${inspect(facts, { depth: 8, breakLength: Infinity })}`);
		logger[level](facts, message);
	};
	return { debug: told("debug"), info: told("info"), warn: told("warn"), error: told("error") };
}

function folder(): string | undefined {
	return process.env[EVIDENCE] || undefined;
}

function append(path: string, bytes: string | Uint8Array): void {
	try {
		appendFileSync(path, bytes, { mode: 0o600 });
	} catch (error) {
		if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
		mkdirSync(join(path, ".."), { recursive: true, mode: 0o700 });
		appendFileSync(path, bytes, { mode: 0o600 });
	}
}
