import type { Span } from "./pattern.ts";

const WORDS =
	"password|passwd|passphrase|pwd|secret|token|credential|(?:api|access|auth|private|encryption|signing|secret|account)[_-]?key";
/** SECRET_KEY_BASE, TOKEN_PROD, DB_PASSWORD_2. */
const TAIL = String.raw`(?:[_-](?:key|base|value|access|prod|production|dev|test|staging|\d{1,3})){0,3}`;
/**
 * A name, its closing quote if it has one, and what assigns; or a flag of a command line. The runtime's own engine is some
 * hundred times quicker here than an automaton, and as safe: every repetition has a small bound.
 */
const ASSIGNMENT = new RegExp(
	String.raw`(?:${WORDS})${TAIL}["'\x60\\]{0,6}\s{0,4}(?::=|=>|==?|:)\s{0,4}|--[a-z-]{0,30}(?:${WORDS})${TAIL}\s{1,4}`,
	"gi",
);
/** Names of members whose text is a secret. */
const MEMBER = new RegExp(`(?:${WORDS})$`, "i");
const HINT = new RegExp(WORDS, "i");

const OPENING = /\\*["'`]/y;
const BARE = /[^\s"'`\\,;&|)}\]<>]{1,300}/y;
/** Longer ones are text, in characters. */
const SECRET_CHARS_MAX = 1000;
const SECRET_CHARS_MIN = 4;
/** What stands where a secret would: masks, variables, types. */
const NO_SECRET =
	/^(?:[*.•x_-]+|<.*|\$\{.*|\$\(.*|\$[A-Z_]+|%.+%|\{\{.*|\[.*|(?:process\.env|os\.environ|import\.meta)\b.*|null|none|nil|undefined|true|false|string|number|boolean|unknown|any|object|str|bytes|text|optional|required)$/is;
/** Where code takes a value from. */
const FROM_CODE =
	/[({[]|^(?:this|self|process|os|config|env|req|request|res|response|data|options|opts|params|args|props|state|user|session|settings|ctx|context)\./;

/** What is assigned to a name that says that it is secret, in the form of a rule (detectors.ts). */
export const assignedSecrets = {
	source: [ASSIGNMENT.source, MEMBER.source, BARE.source, NO_SECRET.source, FROM_CODE.source].join("\n"),
	hint: HINT,
	isSecretMember: (name: string, text: string) => MEMBER.test(name) && isSecret(text.trim()),
	find(text: string): Span[] {
		return [...text.matchAll(ASSIGNMENT)].flatMap(({ index, 0: found }) => {
			const assignment = { start: index, end: index + found.length };
			return quoted(text, assignment.end) ?? bare(text, assignment) ?? [];
		});
	},
};

function isSecret(value: string): boolean {
	return value.length >= SECRET_CHARS_MIN && !NO_SECRET.test(value);
}

/** Between a quote and the next one that is escaped as often: JSON inside a string escapes its quotes. */
function quoted(text: string, at: number): Span | undefined {
	const quote = matchAt(OPENING, text, at);
	if (quote === undefined) return undefined;
	const start = at + quote.length;
	const limit = Math.min(text.length, start + SECRET_CHARS_MAX);
	let end = text.indexOf(quote, start);
	while (end >= 0 && end < limit && text[end - 1] === "\\") end = text.indexOf(quote, end + 1);
	// Without its end it was cut off: what is left of the line.
	if (end < 0 || end > limit) end = limit;
	const line = text.slice(start, end).split(/[\r\n]/, 1)[0] ?? "";
	return isSecret(line) ? { start, end: start + line.length } : undefined;
}

/**
 * Up to the next space or mark. Right behind a `=` (environment, addresses, flags) it is a secret; anything else may as well
 * be code or prose, and needs a digit and a letter.
 */
function bare(text: string, assignment: Span): Span | undefined {
	const start = assignment.end;
	const value = matchAt(BARE, text, start);
	if (value === undefined || !isSecret(value) || FROM_CODE.test(value)) return undefined;
	const isTight = /[^=:\s]=$|^--\S+\s+$/.test(text.slice(assignment.start, start));
	if (!isTight && !(/\d/.test(value) && /[a-z]/i.test(value))) return undefined;
	return { start, end: start + value.length };
}

function matchAt(pattern: RegExp, text: string, at: number): string | undefined {
	pattern.lastIndex = at;
	return pattern.exec(text)?.[0];
}
