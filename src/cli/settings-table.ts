import { GLOB_FORM } from "../agent/directory-glob.ts";
import { DETECTOR_NAMES } from "../redaction/detectors.ts";
import { PATTERN_FORM } from "../redaction/pattern.ts";
import { DURATION_FORM } from "./duration.ts";
import { defaultDataDir, type Env } from "./paths.ts";
import {
	CHECKPOINT,
	COMPRESS,
	glob,
	httpAddress,
	IDLE_STOP,
	MAX_AGE,
	none,
	nothing,
	OUTBOX_MAX,
	oneOf,
	type Parsed,
	type Place,
	POLL,
	PORT,
	PORT_OR_OFF,
	path,
	program,
	regex,
	URL_FORM,
} from "./setting-forms.ts";
import { SERVER_FIELDS, SERVER_SETTINGS, type ServerSettings } from "./settings-of-server.ts";
import { SIZE_FORM } from "./size.ts";

export const LOG_LEVELS = ["fatal", "error", "warn", "info", "debug", "trace", "silent"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Everything that can be set, resolved and validated. */
export interface Settings extends ServerSettings {
	/** Absolute. */
	readonly dataDir: string;
	/** Absolute; undefined: found as OpenCode finds it. */
	readonly opencodeDb: string | undefined;
	/** OpenCode's own server, without a trailing slash. */
	readonly opencodeUrl: string | undefined;
	/** Where OpenCode's sessions are read from. */
	readonly source: "auto" | "database" | "server";
	/** OpenCode's program: a path, or a name on PATH. */
	readonly opencodeBin: string;
	/** A share server, without a trailing slash; undefined: the embedded one. */
	readonly server: string | undefined;
	/** Absolute. */
	readonly serverKeyFile: string | undefined;
	/** Whether what is sent is compressed; undefined: unless the share server is on this machine. */
	readonly compress: boolean | undefined;
	readonly share: "auto" | "manual";
	/** What becomes of the share of a session that OpenCode deletes. */
	readonly onDelete: "keep" | "delete";
	/** Which sessions are synced (agent/selection.ts). `~/` in globs stands for the home folder no more. */
	readonly include: readonly string[];
	readonly exclude: readonly string[];
	readonly includeTitle: readonly string[];
	readonly excludeTitle: readonly string[];
	readonly maxAgeMs: number | undefined;
	/** Names of detectors, or `all`. */
	readonly redact: readonly string[];
	readonly redactPattern: readonly string[];
	/** Of the embedded server; 0 takes any free one. */
	readonly port: number;
	/** Where Prometheus asks, on loopback; 0 takes any free one; undefined: nowhere. */
	readonly metricsPort: number | undefined;
	readonly pollMs: number;
	/** 0: text that streams is not put into the outbox. */
	readonly checkpointMs: number;
	/** What the outbox's files may take before capture pauses. */
	readonly outboxMaxBytes: number;
	/** How long an agent that nobody needs goes on; undefined: until it is stopped. */
	readonly idleStopMs: number | undefined;
	readonly logLevel: LogLevel;
}

export interface Setting<Value> {
	readonly field: keyof Settings;
	/**
	 * It is a list: its flag may be repeated, its key holds an array (or one text), its variable an item per line. `parse` is
	 * of one item.
	 */
	readonly list?: boolean;
	/** What stands for the value in a help text. */
	readonly hint: string;
	/** Completes "expected …". */
	readonly expected: string;
	readonly parse: (text: string, place: Place) => Parsed<Value extends readonly (infer Item)[] ? Item : Value>;
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
	source: "source",
	"opencode-bin": "opencodeBin",
	server: "server",
	"server-key-file": "serverKeyFile",
	compress: "compress",
	share: "share",
	"on-delete": "onDelete",
	include: "include",
	exclude: "exclude",
	"include-title": "includeTitle",
	"exclude-title": "excludeTitle",
	"max-age": "maxAgeMs",
	redact: "redact",
	"redact-pattern": "redactPattern",
	port: "port",
	"metrics-port": "metricsPort",
	...SERVER_FIELDS,
	poll: "pollMs",
	checkpoint: "checkpointMs",
	"outbox-max": "outboxMaxBytes",
	"idle-stop": "idleStopMs",
	"log-level": "logLevel",
} as const satisfies Record<string, keyof Settings>;

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
		doc: "OpenCode's own server: wakes the agent sooner, and tells what is in no table (diffs, models). OPENCODE_SERVER_PASSWORD as it has it.",
	},
	source: {
		...{ field: "source", hint: "auto|database|server", expected: "auto, database or server" },
		parse: oneOf("auto", "database", "server"),
		fallback: () => "auto",
		fallbackText: "auto",
		doc: "Where sessions are read from. server: from opencode-url alone, without OpenCode's files; auto: so if that is on another host.",
	},
	"opencode-bin": {
		...{ field: "opencodeBin", hint: "PROGRAM", expected: "a program's name or path" },
		parse: program,
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
	compress: {
		...{ field: "compress", hint: "auto|on|off", expected: "auto, on or off" },
		parse: COMPRESS,
		fallback: none,
		fallbackText: "auto",
		doc: "Compress what is sent. auto: unless the share server's address is this machine's own; on: there too, for a tunnel.",
	},
	share: {
		...{ field: "share", hint: "auto|manual", expected: "auto or manual" },
		parse: oneOf("auto", "manual"),
		fallback: () => "auto",
		fallbackText: "auto",
		doc: "auto shares every session, manual only those that `share` was asked for.",
	},
	"on-delete": {
		...{ field: "onDelete", hint: "keep|delete", expected: "keep or delete" },
		parse: oneOf("keep", "delete"),
		fallback: () => "keep",
		fallbackText: "keep",
		doc: "When OpenCode has deleted a session for certain: keep its share, marked as deleted, or delete that too.",
	},
	include: {
		...{ field: "include", list: true, hint: "DIR-GLOB", expected: GLOB_FORM, parse: glob, fallback: nothing },
		fallbackText: "every directory",
		doc: "Sync only sessions of these project directories and of what lies below them.",
	},
	exclude: {
		...{ field: "exclude", list: true, hint: "DIR-GLOB", expected: GLOB_FORM, parse: glob, fallback: nothing },
		fallbackText: "none",
		doc: "Leave out sessions of these project directories and of what lies below them; wins over include.",
	},
	"include-title": {
		...{ field: "includeTitle", list: true, hint: "REGEX", expected: PATTERN_FORM, parse: regex, fallback: nothing },
		fallbackText: "every title",
		doc: "Sync only sessions in whose title this regular expression (RE2's syntax) is found.",
	},
	"exclude-title": {
		...{ field: "excludeTitle", list: true, hint: "REGEX", expected: PATTERN_FORM, parse: regex, fallback: nothing },
		fallbackText: "none",
		doc: "Leave out sessions in whose title this regular expression is found; wins over include-title.",
	},
	"max-age": {
		...{ field: "maxAgeMs", hint: "DURATION", expected: `${DURATION_FORM}, from 1m to 10000d` },
		parse: MAX_AGE,
		fallback: none,
		fallbackText: "however old",
		doc: "Do not begin with sessions that were not touched for longer; what has begun goes on.",
	},
	redact: {
		...{ field: "redact", list: true, hint: "NAME|all", expected: `all, ${DETECTOR_NAMES.join(", ")}` },
		parse: oneOf("all", ...DETECTOR_NAMES),
		fallback: nothing,
		fallbackText: "none",
		doc: "Take out what this detector finds, before anything is stored; `redact list` shows them.",
	},
	"redact-pattern": {
		...{ field: "redactPattern", list: true, hint: "REGEX", expected: PATTERN_FORM, parse: regex, fallback: nothing },
		fallbackText: "none",
		doc: "Take out what this regular expression finds; of a named group, (?P<name>…), that part, as [redacted:name].",
	},
	port: {
		...{ field: "port", hint: "PORT", expected: "a port, 0-65535", parse: PORT },
		fallback: () => 4590,
		fallbackText: "4590",
		doc: "Port of the embedded server; 0 takes any free one.",
	},
	"metrics-port": {
		...{ field: "metricsPort", hint: "PORT|off", expected: "a port, 0-65535, or off" },
		parse: PORT_OR_OFF,
		fallback: none,
		fallbackText: "off",
		doc: "Answer Prometheus on http://127.0.0.1:PORT/metrics, and nowhere else; 0 takes any free port.",
	},
	...SERVER_SETTINGS,
	poll: {
		...{ field: "pollMs", hint: "DURATION", expected: `${DURATION_FORM}, from 10ms to 1h` },
		parse: POLL,
		fallback: () => 500,
		fallbackText: "500ms",
		doc: "How often OpenCode's database is looked at when nothing else wakes the agent.",
	},
	checkpoint: {
		...{ field: "checkpointMs", hint: "DURATION", expected: `${DURATION_FORM}, from 100ms to 1h, or off` },
		parse: CHECKPOINT,
		fallback: () => 2000,
		fallbackText: "2s",
		doc: "How much of an answer that is being written is lost at most when OpenCode is killed; off keeps only finished text.",
	},
	"outbox-max": {
		...{ field: "outboxMaxBytes", hint: "SIZE", expected: `${SIZE_FORM}, from 1MiB` },
		parse: OUTBOX_MAX,
		fallback: () => 2 * 1024 ** 3,
		fallbackText: "2GiB",
		doc: "What the outbox may take on the disk before capture pauses; OpenCode keeps the events meanwhile.",
	},
	"idle-stop": {
		...{ field: "idleStopMs", hint: "DURATION", expected: `never, or ${DURATION_FORM}, from 1s to 168h` },
		parse: IDLE_STOP,
		fallback: none,
		fallbackText: "never; 10m where the plugin started the agent",
		doc: "How long the agent goes on when no OpenCode is there, nothing changes, and nothing is left to send.",
	},
	"log-level": {
		...{ field: "logLevel", hint: "LEVEL", expected: LOG_LEVELS.join(", ") },
		parse: oneOf(...LOG_LEVELS),
		fallback: () => "info",
		fallbackText: "info for run and serve, else warn",
		doc: `What is logged on stderr, and everything above it: ${LOG_LEVELS.join(", ")}.`,
	},
};

export const SETTING_NAMES = Object.keys(SETTINGS) as SettingName[];

/** True for a flag that may be repeated. */
export function isList(flag: string): boolean {
	return SETTINGS[flag as SettingName]?.list === true;
}

/** The environment variable of a setting. */
export function variableOf(name: SettingName): string {
	return `OPENCODE_OUTBOX_${name.toUpperCase().replaceAll("-", "_")}`;
}
