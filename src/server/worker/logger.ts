import { messageOf } from "../../model/errors.ts";
import type { Logger } from "../../model/logger.ts";

/** One JSON line each, as Workers Logs takes them. */
export const consoleLogger: Logger = {
	debug: () => undefined,
	info: (facts, message) => console.log(lineOf(facts, message)),
	warn: (facts, message) => console.warn(lineOf(facts, message)),
	error: (facts, message) => console.error(lineOf(facts, message)),
};

function lineOf(facts: object, message: string): string {
	return JSON.stringify({ message, ...facts }, (_name, value) => (value instanceof Error ? messageOf(value) : value));
}
