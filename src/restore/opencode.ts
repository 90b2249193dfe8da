import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { messageOf, OutboxError } from "../model/errors.ts";
import type { ReplayEvent } from "./events.ts";

export interface OpencodeOptions {
	/** The program: a path, or a name that is looked for on PATH. */
	readonly bin: string;
	readonly env: Readonly<Record<string, string | undefined>>;
	/** The database that it must write to; undefined: the one that it finds by itself. */
	readonly database: string | undefined;
}

/** A project as OpenCode knows it. */
export interface Project {
	readonly id: string;
	readonly worktree: string;
}

/** A cold start takes 2 s on an idle machine, migrations of a large database much longer. In ms. */
const START_MS_MAX = 120_000;
const STOP_MS_MAX = 5000;
/** One call; a full chunk of events takes a second or two. In ms. */
const CALL_MS_MAX = 120_000;
/** What is kept of what it prints, in characters, for when it does not start. */
const PRINTED_CHARS_MAX = 4000;

/**
 * Runs a program for as long as somebody holds the other end of its input, so that it does not outlive a `restore` that is
 * killed. The shell gives up its own output, so that its end tells that the program has ended.
 */
const UNTIL_LET_GO = '"$@" </dev/null & child=$!; exec >&- 2>&-; read -r _; kill "$child" 2>/dev/null; wait "$child"';

/**
 * OpenCode itself, started for the time of a restore, on loopback and behind a password that is nobody's: the only one who
 * writes to its database. Without plugins, updates and its own share.
 */
export class Opencode {
	readonly #child: ChildProcess;
	readonly #url: string;
	readonly #authorization: string;
	readonly #gone: Promise<unknown>;
	readonly #projects = new Map<string, Project>();

	/** @throws OutboxError no_opencode when it is not there or does not start. */
	static async start({ bin, env, database }: OpencodeOptions): Promise<Opencode> {
		const password = randomBytes(24).toString("base64url");
		const child = spawn("sh", ["-c", UNTIL_LET_GO, "sh", bin, "serve", "--hostname", "127.0.0.1", "--port", "0"], {
			env: {
				...env,
				...(database === undefined ? {} : { OPENCODE_DB: database }),
				...{ OPENCODE_SERVER_USERNAME: "restore", OPENCODE_SERVER_PASSWORD: password },
				...{ OPENCODE_PURE: "1", OPENCODE_DISABLE_SHARE: "1", OPENCODE_DISABLE_AUTOUPDATE: "1" },
			},
			stdio: ["pipe", "pipe", "pipe"],
		});
		const gone = once(child, "close").catch(() => undefined);
		// It may be gone when it is let go of.
		child.stdin?.on("error", () => undefined);
		try {
			const url = await listening(child, bin);
			return new Opencode(child, url, `Basic ${Buffer.from(`restore:${password}`).toString("base64")}`, gone);
		} catch (error) {
			await end(child, gone);
			throw error;
		}
	}

	private constructor(child: ChildProcess, url: string, authorization: string, gone: Promise<unknown>) {
		this.#child = child;
		this.#url = url;
		this.#authorization = authorization;
		this.#gone = gone;
	}

	/** The project of a directory; OpenCode takes it up if it has not seen it before. */
	async project(directory: string): Promise<Project> {
		const known = this.#projects.get(directory);
		if (known) return known;
		const { id, worktree } = (await this.#call("GET", "/project/current", directory)) as Partial<Project>;
		if (typeof id !== "string" || typeof worktree !== "string")
			throw new OutboxError("no_opencode", `OpenCode does not tell the project of ${directory}.`);
		const project = { id, worktree };
		this.#projects.set(directory, project);
		return project;
	}

	/**
	 * Has OpenCode take events of one session into its log and its tables; those it has already are no news to it.
	 *
	 * @throws Error when it refuses them; those before the refused one stay.
	 */
	async replay(directory: string, events: readonly ReplayEvent[]): Promise<void> {
		await this.#call("POST", "/sync/replay", directory, { directory, events });
	}

	/** Ends it, and waits until it is gone. */
	close(): Promise<void> {
		return end(this.#child, this.#gone);
	}

	async #call(method: "GET" | "POST", path: string, directory: string, body?: unknown): Promise<unknown> {
		const url = new URL(path, this.#url);
		url.searchParams.set("directory", directory);
		const response = await fetch(url, {
			method,
			headers: { authorization: this.#authorization, "content-type": "application/json" },
			...(body === undefined ? {} : { body: JSON.stringify(body) }),
			signal: AbortSignal.timeout(CALL_MS_MAX),
		});
		const text = await response.text();
		if (response.status === 404)
			throw new OutboxError("no_opencode", `This OpenCode has no ${path}.`, {
				hint: "Restoring needs OpenCode 1.17 or newer. Name another one with --opencode-bin.",
			});
		if (!response.ok) throw new Error(`it answered ${response.status}: ${text.slice(0, 300)}`);
		return JSON.parse(text);
	}
}

/** Waits until it listens, and returns where. */
async function listening(child: ChildProcess, bin: string): Promise<string> {
	let printed = "";
	const { promise, resolve, reject } = Promise.withResolvers<string>();
	const refuse = (what: string) => {
		const said = printed.trim() === "" ? "" : ` It said: ${printed.trim().slice(-500)}`;
		const hint = "Install OpenCode, or name its program with --opencode-bin.";
		reject(new OutboxError("no_opencode", `${bin} serve ${what}.${said}`, { hint }));
	};
	const read = (text: Buffer) => {
		printed = `${printed}${text}`.slice(-PRINTED_CHARS_MAX);
		const url = /listening on (http:\/\/\S+)/.exec(printed)?.[1];
		if (url !== undefined) resolve(url);
	};
	child.stdout?.on("data", read);
	child.stderr?.on("data", read);
	child.once("error", (error) => refuse(`could not be started: ${messageOf(error)}`));
	child.stdout?.once("close", () => refuse("ended before it was of use"));
	const late = setTimeout(() => refuse(`did not listen within ${START_MS_MAX} ms`), START_MS_MAX);
	try {
		return await promise;
	} finally {
		clearTimeout(late);
	}
}

async function end(child: ChildProcess, gone: Promise<unknown>): Promise<void> {
	if (child.pid === undefined) return;
	child.stdin?.end();
	const late = setTimeout(() => child.kill("SIGKILL"), STOP_MS_MAX);
	await gone;
	clearTimeout(late);
}
