import { z } from "zod";
import { DURATION_FORM, durationSchema } from "./duration.ts";
import { defaultDataDir, type Env, expandPath } from "./paths.ts";
import { SIZE_FORM, sizeSchema } from "./size.ts";

export const LOG_LEVELS = ["fatal", "error", "warn", "info", "debug", "trace", "silent"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Everything that can be set, resolved and validated. */
export interface Settings {
	/** Absolute. */
	readonly dataDir: string;
	/** Absolute; undefined: found as OpenCode finds it. */
	readonly opencodeDb: string | undefined;
	/** OpenCode's own server, without a trailing slash. */
	readonly opencodeUrl: string | undefined;
	/** OpenCode's program: a path, or a name on PATH. */
	readonly opencodeBin: string;
	/** A share server, without a trailing slash; undefined: the embedded one. */
	readonly server: string | undefined;
	/** Absolute. */
	readonly serverKeyFile: string | undefined;
	readonly share: "auto" | "manual";
	/** Of the embedded server; 0 takes any free one. */
	readonly port: number;
	readonly pollMs: number;
	/** What the outbox's files may take before capture pauses. */
	readonly outboxMaxBytes: number;
	readonly logLevel: LogLevel;
}

/** Where a value was found: relative paths in it are below `base`. */
export interface Place {
	readonly base: string;
	readonly env: Env;
}

export interface Setting<Value> {
	readonly field: keyof Settings;
	/** What stands for the value in a help text. */
	readonly hint: string;
	/** Completes "expected …". */
	readonly expected: string;
	readonly parse: (text: string, place: Place) => z.ZodSafeParseResult<Value>;
	readonly fallback: (env: Env) => Value;
	/** The default, for people. */
	readonly fallbackText: string;
	/** One line, for `--help` and the README. */
	readonly doc: string;
}

type Table = { readonly [Name in SettingName]: Setting<Settings[(typeof FIELDS)[Name]]> };
export type SettingName = keyof typeof FIELDS;

/** Setting to field. The setting's name is its flag, its key in the config file and, in capitals, its variable. */
const FIELDS = {
	"data-dir": "dataDir",
	"opencode-db": "opencodeDb",
	"opencode-url": "opencodeUrl",
	"opencode-bin": "opencodeBin",
	server: "server",
	"server-key-file": "serverKeyFile",
	share: "share",
	port: "port",
	poll: "pollMs",
	"outbox-max": "outboxMaxBytes",
	"log-level": "logLevel",
} as const satisfies Record<string, keyof Settings>;

export const URL_FORM = "an http:// or https:// address without user, query or fragment";
const PORT = z
	.string()
	.regex(/^\d{1,5}$/)
	.transform(Number)
	.pipe(z.number().max(65_535));
/** A name that is looked for on PATH. */
const PROGRAM = z.string().regex(/^[\w.@+-]{1,100}$/);
/** Below 10 ms a poll costs more than it tells; above an hour it is a mistake. */
const POLL = durationSchema(10, 3_600_000);
/** Below 1 MiB not even one message's ops fit; the upper bound is a slip of the pen. */
const OUTBOX_MAX = sizeSchema(1024 ** 2, 1024 ** 5);

export const SETTINGS: Table = {
	"data-dir": {
		...{ field: "dataDir", hint: "DIR", expected: "a directory", parse: path },
		fallback: defaultDataDir,
		fallbackText: "$XDG_DATA_HOME/opencode-outbox, else ~/.local/share/opencode-outbox",
		doc: "Where the outbox, the embedded server's database and its key lie.",
	},
	"opencode-db": {
		...{ field: "opencodeDb", hint: "PATH", expected: "a path", parse: path, fallback: none },
		fallbackText: "found as OpenCode finds it",
		doc: "OpenCode's database. Only ever read.",
	},
	"opencode-url": {
		...{ field: "opencodeUrl", hint: "URL", expected: URL_FORM, parse: httpAddress, fallback: none },
		fallbackText: "none",
		doc: "OpenCode's own server: wakes the agent sooner, and tells what is in no table (diffs, models).",
	},
	"opencode-bin": {
		...{ field: "opencodeBin", hint: "PROGRAM", expected: "a program's name or path" },
		parse: (text, place) => (text.includes("/") ? path(text, place) : PROGRAM.safeParse(text)),
		fallback: () => "opencode",
		fallbackText: "opencode, as PATH finds it",
		doc: "OpenCode's program, which `restore` starts for as long as it writes.",
	},
	server: {
		...{ field: "server", hint: "URL", expected: URL_FORM, parse: httpAddress, fallback: none },
		fallbackText: "one of its own, on loopback",
		doc: "The share server to replay to. Needs server-key-file.",
	},
	"server-key-file": {
		...{ field: "serverKeyFile", hint: "FILE", expected: "a path", parse: path, fallback: none },
		fallbackText: "none; the embedded server makes its own key",
		doc: "A file, mode 0600, that holds the share server's key.",
	},
	share: {
		...{ field: "share", hint: "auto|manual", expected: "auto or manual" },
		parse: (text) => z.enum(["auto", "manual"]).safeParse(text),
		fallback: () => "auto",
		fallbackText: "auto",
		doc: "auto shares every session, manual only those that `share` was asked for.",
	},
	port: {
		...{ field: "port", hint: "PORT", expected: "a port, 0-65535", parse: (text) => PORT.safeParse(text) },
		fallback: () => 4590,
		fallbackText: "4590",
		doc: "Port of the embedded server; 0 takes any free one.",
	},
	poll: {
		...{ field: "pollMs", hint: "DURATION", expected: `${DURATION_FORM}, from 10ms to 1h` },
		parse: (text) => POLL.safeParse(text),
		fallback: () => 500,
		fallbackText: "500ms",
		doc: "How often OpenCode's database is looked at when nothing else wakes the agent.",
	},
	"outbox-max": {
		...{ field: "outboxMaxBytes", hint: "SIZE", expected: `${SIZE_FORM}, from 1MiB` },
		parse: (text) => OUTBOX_MAX.safeParse(text),
		fallback: () => 2 * 1024 ** 3,
		fallbackText: "2GiB",
		doc: "What the outbox may take on the disk before capture pauses; OpenCode keeps the events meanwhile.",
	},
	"log-level": {
		...{ field: "logLevel", hint: "LEVEL", expected: LOG_LEVELS.join(", ") },
		parse: (text) => z.enum(LOG_LEVELS).safeParse(text),
		fallback: () => "info",
		fallbackText: "info for run and serve, else warn",
		doc: `What is logged on stderr, and everything above it: ${LOG_LEVELS.join(", ")}.`,
	},
};

export const SETTING_NAMES = Object.keys(SETTINGS) as SettingName[];

/** The environment variable of a setting. */
export function variableOf(name: SettingName): string {
	return `OPENCODE_OUTBOX_${name.toUpperCase().replaceAll("-", "_")}`;
}

function none(): undefined {
	return undefined;
}

function path(text: string, { base, env }: Place): z.ZodSafeParseResult<string> {
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
