import { asOutboxError, type OutboxError } from "../model/errors.ts";
import { asStorageError } from "../sqlite/errors.ts";
import { jsonLine, printableLines } from "./terminal.ts";

/**
 * The one place where what was thrown meets a person: what happened and what to do on stderr, or with `--json` an object
 * on stdout. Never a stack; under `OPENCODE_OUTBOX_LOG_LEVEL=debug` the log has it.
 *
 * @returns the exit code.
 */
export function complain(thrown: unknown, argv: readonly string[]): number {
	const error = asPersonsError(thrown);
	const message = printableLines(error.message).trim();
	const { code, hint, exitCode } = error;
	if (code === "internal" && /^(debug|trace)$/.test(process.env.OPENCODE_OUTBOX_LOG_LEVEL ?? ""))
		process.stderr.write(`${JSON.stringify({ level: "debug", msg: "defect", stack: stackOf(error) })}\n`);
	if (wantsJson(argv)) process.stdout.write(jsonLine({ error: { code, message, hint } }));
	else process.stderr.write(`error: ${message}\n  ${printableLines(hint).trim()}\n`);
	return exitCode;
}

export function wantsJson(argv: readonly string[]): boolean {
	const end = argv.indexOf("--");
	return (end < 0 ? argv : argv.slice(0, end)).includes("--json");
}

function asPersonsError(thrown: unknown): OutboxError {
	if (!(thrown instanceof Error)) return asOutboxError(thrown);
	// Errors of the file system name their file; SQLite's do not, where they come from a statement.
	const { path } = thrown as { path?: unknown };
	return asOutboxError(asStorageError(thrown, typeof path === "string" ? path : "The outbox"));
}

function stackOf(error: OutboxError): string {
	return String(error.cause instanceof Error ? error.cause.stack : error.stack);
}
