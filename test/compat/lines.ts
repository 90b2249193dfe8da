import { INSTALLED } from "./binary.ts";

/** A line of OpenCode's versions that keeps its sessions in its own way, and the version of it that is run. */
export interface Line {
	readonly version: string;
	/** What it keeps: `files` (JSON), `tables` (without a log), `log`. */
	readonly keeps: "files" | "tables" | "log";
	/** False where its API cannot delete a message: it sends the call on to a server elsewhere. */
	readonly deletesMessages: boolean;
}

export const LINES: readonly Line[] = [
	{ version: "1.1.65", keeps: "files", deletesMessages: false },
	{ version: "1.2.27", keeps: "tables", deletesMessages: true },
	{ version: "1.3.2", keeps: "tables", deletesMessages: true },
	{ version: "1.14.48", keeps: "tables", deletesMessages: true },
	{ version: "1.15.13", keeps: "tables", deletesMessages: true },
	{ version: "1.17.18", keeps: "log", deletesMessages: true },
	{ version: INSTALLED, keeps: "log", deletesMessages: true },
];

/** A way in: how the agent gets at OpenCode's sessions. */
export interface Way {
	readonly name: string;
	/** Settings for the agent and all commands. */
	settings(opencodeUrl: string): Record<string, string>;
}

export const LOCAL: Way = { name: "its files, polled", settings: () => ({}) };

/** `opencode serve` over HTTP only, without its files. */
const SERVER: Way = {
	name: "its server, over HTTP only",
	settings: (url) => ({ OPENCODE_OUTBOX_SOURCE: "server", OPENCODE_OUTBOX_OPENCODE_URL: url }),
};

const ALL = LINES.flatMap((line) => [LOCAL, SERVER].map((way) => ({ line, way })));

/** Every line in every way with COMPAT=all; else the installed one over HTTP, as all other tests read its files. */
export const TRIED: readonly { readonly line: Line; readonly way: Way }[] = ALL.filter(
	({ line: { version }, way }) => process.env.COMPAT === "all" || (version === INSTALLED && way === SERVER),
);
