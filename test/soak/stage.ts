import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { openReport, type ReportReader } from "../../src/outbox/report.ts";
import { type CliProcess, type CliResult, eventually, runCli, startCli } from "../fixture/cli.ts";
import { type OpencodeHome, prepareOpencode } from "../fixture/opencode.ts";
import { type Sample, sampleOf } from "./sample.ts";
import type { Workload, Written } from "./writer.ts";

const WRITER = fileURLToPath(new URL("./writer.ts", import.meta.url));
const PROBE = new URL("./probe.ts", import.meta.url).href;

/**
 * What the soak runs, all of it processes of their own on files of their own:
 *
 *     writer -> opencode.db <- agent (`run`) -> share server (`serve`), restarted again and again
 */
export class Stage {
	readonly folder = mkdtempSync(join(tmpdir(), "outbox-soak-"));
	readonly restarts = { SIGTERM: 0, SIGKILL: 0 };
	/** From the signal until it listens again, in ms. */
	readonly outagesMs: number[] = [];
	readonly #home: OpencodeHome = prepareOpencode({ root: join(this.folder, "machine") });
	readonly #database = join(this.folder, "opencode.db");
	#written: Written | undefined;
	#writer: ChildProcess | undefined;
	#server: { readonly process: CliProcess; readonly url: string; readonly since: number } | undefined;
	#keyFile = "";
	#agent: CliProcess | undefined;
	#report: ReportReader | undefined;

	/** What the writer has committed, as far as it has told. */
	get written(): Written {
		return there(this.#written);
	}

	get agent(): CliProcess {
		return there(this.#agent);
	}

	get serverLog(): string {
		return there(this.#server).process.stderr();
	}

	async start(workload: Omit<Workload, "path">): Promise<void> {
		this.#writer = fork(WRITER, [JSON.stringify({ ...workload, path: this.#database })], { stdio: "inherit" });
		this.#writer.on("message", (written) => {
			this.#written = written as Written;
		});
		await eventually("the first events", () => this.#written !== undefined);
		await this.#serve("0");
		const probe = { NODE_OPTIONS: `--import ${PROBE}`, HEAP_FILE: this.#heapFile };
		this.#agent = startCli(["run", "--json"], { ...this.#env, ...probe });
		await this.#agent.ready();
		this.#report = there(await openReport(join(this.#dataDir, "outbox.db")));
	}

	/** Ends the share server as `signal` does, and starts it again at once: same port, same data. */
	async restartServer(signal: "SIGTERM" | "SIGKILL"): Promise<void> {
		const { process, url } = there(this.#server);
		const startedAt = performance.now();
		process.signal(signal);
		await process.ended;
		await this.#serve(new URL(url).port);
		this.outagesMs.push(performance.now() - startedAt);
		this.restarts[signal]++;
	}

	sample(): Sample {
		const server = there(this.#server);
		return sampleOf({
			agent: this.agent.pid,
			server: { pid: server.process.pid, ageMs: performance.now() - server.since },
			outbox: join(this.#dataDir, "outbox.db"),
			share: join(this.folder, "server", "server", "share.db"),
			opencode: this.#database,
			report: there(this.#report).read(Date.now()),
			events: this.written.events,
		});
	}

	/** What was alive on the agent's heap, minute by minute (probe.ts). */
	heap(): { at: number; value: number }[] {
		if (!existsSync(this.#heapFile)) return [];
		const lines = readFileSync(this.#heapFile, "utf8").trimEnd().split("\n");
		return lines.map((line) => JSON.parse(line));
	}

	/** Returns what was written in all, once it is committed. */
	async stopWriter(): Promise<Written> {
		const writer = there(this.#writer);
		const ended = once(writer, "exit");
		writer.send("stop");
		const [code] = await ended;
		if (code !== 0) throw new Error(`the writer ended with ${code}`);
		return this.written;
	}

	/** A command beside the agent. */
	command(...args: string[]): Promise<CliResult> {
		return runCli(args, this.#env);
	}

	/** Ends every process and removes the folder. Safe at any point. */
	async clear(): Promise<void> {
		this.#report?.close();
		this.#writer?.kill("SIGKILL");
		await Promise.allSettled([this.#agent?.kill(), this.#server?.process.kill()]);
		rmSync(this.folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
	}

	get #dataDir(): string {
		return join(this.folder, "agent");
	}

	get #heapFile(): string {
		return join(this.folder, "heap.jsonl");
	}

	get #env(): Record<string, string> {
		return {
			...this.#home.env,
			OPENCODE_OUTBOX_DATA_DIR: this.#dataDir,
			OPENCODE_OUTBOX_OPENCODE_DB: this.#database,
			OPENCODE_OUTBOX_SERVER: there(this.#server).url,
			OPENCODE_OUTBOX_SERVER_KEY_FILE: this.#keyFile,
		};
	}

	async #serve(port: string): Promise<void> {
		const args = ["serve", "--json", "--port", port, "--data-dir", join(this.folder, "server")];
		const process = startCli(args, this.#home.env);
		const { url, key_file } = await process.ready<{ url: string; key_file: string }>();
		this.#keyFile = key_file;
		this.#server = { process, url, since: performance.now() };
	}
}

function there<T>(thing: T | undefined): T {
	if (thing === undefined) throw new Error("the stage is not set yet");
	return thing;
}
