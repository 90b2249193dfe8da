import { spawn } from "node:child_process";
import { appendFile, mkdir, open, rename, stat, unlink } from "node:fs/promises";
import { join } from "node:path";
import { pathsIn } from "../cli/paths.ts";
import { IS_BUILT, PACKAGE_FOLDER } from "../model/package.ts";
import { runtimes } from "./runtime.ts";
import type { PluginSettings } from "./settings.ts";

/** Another OpenCode that starts an agent is given this long, in ms, before it counts as dead. */
const CLAIM_MS = 10_000;
/** Between two starts after one that failed, in ms, doubling up to the second. */
const BACKOFF_MS = 2000;
const BACKOFF_MS_MAX = 300_000;
/** The exit code of an agent that found another one at work. */
const OWNED = 75;
/** Of agent.log, in bytes, before it becomes agent.log.1. */
const LOG_BYTES_MAX = 1024 * 1024;

/** This package's command. */
const MAIN = join(PACKAGE_FOLDER, IS_BUILT ? "dist/cli/main.js" : "src/cli/main.ts");

/**
 * Starts the agent of a data directory, in a process of its own that outlives OpenCode.
 *
 * Several OpenCodes may try at once: whoever makes `agent.starting` goes ahead, and should two do, the outbox's lock lets
 * one through. What fails stands in agent.log, and is tried again later and later. Never throws.
 */
export class Starter {
	readonly #settings: PluginSettings;
	#failures = 0;
	#nextAt = 0;
	/** The last one that was started has not ended. */
	#runs = false;

	constructor(settings: PluginSettings) {
		this.#settings = settings;
	}

	/** An agent answers: whatever kept another start back is over, but for what makes starts fail. */
	answered(): void {
		this.#nextAt = Math.min(this.#nextAt, Date.now() + BACKOFF_MS * 2 ** this.#failures);
	}

	/** The agent that answered has proved itself. */
	succeeded(): void {
		this.#failures = 0;
		this.#nextAt = 0;
	}

	/** Starts one, unless it is too early for that. Tells whose is on its way: this OpenCode's, or another's; or undefined. */
	async start(): Promise<"ours" | "theirs" | undefined> {
		if (this.#runs || Date.now() < this.#nextAt) return undefined;
		this.#failures++;
		this.#waitLonger();
		try {
			await mkdir(this.#settings.dataDir, { recursive: true, mode: 0o700 });
			if (!(await claim(join(this.#settings.dataDir, "agent.starting")))) {
				// It is theirs to fail.
				this.#nextAt = Date.now() + CLAIM_MS / 4;
				this.#failures--;
				return "theirs";
			}
			return (await this.#spawn()) ? "ours" : undefined;
		} catch (error) {
			await this.#note(`no agent could be started: ${error instanceof Error ? error.message : error}`);
			return undefined;
		}
	}

	async #spawn(): Promise<boolean> {
		const { dataDir, env } = this.#settings;
		const { log } = pathsIn(dataDir);
		const able = await runtimes(env, dataDir);
		// One that keeps failing may do so for its runtime's sake.
		const runtime = able[(this.#failures - 1) % Math.max(1, able.length)];
		if (runtime === undefined) {
			await this.#note("no agent could be started: there is no Node 22.14 or newer on the PATH");
			return false;
		}
		if (((await stat(log).catch(() => undefined))?.size ?? 0) > LOG_BYTES_MAX) await rename(log, `${log}.1`);
		const file = await open(log, "a", 0o600);
		try {
			const child = spawn(runtime.command, [MAIN, "run", "--background"], {
				cwd: dataDir,
				env: { ...env, ...runtime.env },
				detached: true,
				stdio: ["ignore", file.fd, file.fd],
				windowsHide: true,
			});
			child.unref();
			this.#runs = child.pid !== undefined;
			child.once("error", (error) => void this.#note(`no agent could be started: ${error.message}`));
			child.once("exit", (code, signal) => {
				this.#runs = false;
				if (code === 0) return;
				this.#waitLonger();
				if (code === OWNED) this.#nextAt = Date.now() + BACKOFF_MS_MAX;
				else void this.#note(`the agent ended (${code ?? signal}) on ${runtime.command}`);
			});
			return this.#runs;
		} finally {
			await file.close();
		}
	}

	/** From now on, by as many failures as there were; an attempt is counted as one before it is made. */
	#waitLonger(): void {
		this.#nextAt = Date.now() + Math.min(BACKOFF_MS * 2 ** (this.#failures - 1), BACKOFF_MS_MAX);
	}

	/** Where a person looks for it. */
	async #note(what: string): Promise<void> {
		const next = Math.max(0, Math.round((this.#nextAt - Date.now()) / 1000));
		const facts = { level: "error", time: new Date().toISOString(), pid: process.pid, next_attempt_s: next };
		const line = JSON.stringify({ ...facts, msg: `OpenCode's plugin: ${what}` });
		await appendFile(pathsIn(this.#settings.dataDir).log, `${line}\n`, { mode: 0o600 }).catch(() => undefined);
	}
}

/** Makes the file at `path`, unless another has just done so. A file in the way that is old belongs to nobody. */
async function claim(path: string): Promise<boolean> {
	for (const isLast of [false, true]) {
		try {
			const file = await open(path, "wx", 0o600);
			await file.close();
			return true;
		} catch (error) {
			if ((error as NodeJS.ErrnoException).code !== "EEXIST" || isLast) throw error;
		}
		const age = Date.now() - (await stat(path)).mtimeMs;
		if (age >= 0 && age < CLAIM_MS) return false;
		await unlink(path);
	}
	return false;
}
