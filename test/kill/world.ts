import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { freePort } from "../e2e/lab.ts";
import { discard } from "../evidence/folder.ts";
import { BUN, type CliProcess, type CliResult, runCli, startCli, startProcess } from "../fixture/cli.ts";
import { type FaultProxy, startProxy } from "../fixture/proxy.ts";
import type { Files } from "./files.ts";

const WRITER = fileURLToPath(new URL("./child/writer.ts", import.meta.url));

/** `embedded`: the agent's own server; `remote`: a server beside it; `http`: the same behind a proxy without upgrades. */
export type Shape = "remote" | "embedded" | "http";

/** One machine: OpenCode's database with who writes it, an outbox, a share server, all of them processes below a folder. */
export class World {
	readonly root = mkdtempSync(join(tmpdir(), "outbox-kill-"));
	readonly shape: Shape;
	readonly files: Files;
	readonly #dataDir = join(this.root, "data");
	readonly #serverDir = join(this.root, "server");
	readonly #keyFile = join(this.root, "key");
	readonly #processes = new Set<CliProcess>();
	#env: Record<string, string> = {};
	#port = 0;
	#proxy: FaultProxy | undefined;

	static async make(shape: Shape): Promise<World> {
		const world = new World(shape);
		await world.#make();
		return world;
	}

	private constructor(shape: Shape) {
		this.shape = shape;
		this.files = {
			opencode: join(this.root, "opencode.db"),
			outbox: join(this.#dataDir, "outbox.db"),
			shares: join(shape === "embedded" ? this.#dataDir : this.#serverDir, "server/share.db"),
		};
	}

	async #make(): Promise<void> {
		this.#port = await freePort();
		writeFileSync(this.#keyFile, "server-key-of-the-kills-0123456789abcdef\n", { mode: 0o600 });
		mkdirSync(join(this.root, "home"));
		if (this.shape === "http") {
			this.#proxy = await startProxy({ targetPort: this.#port });
			this.#proxy.faults.refuseUpgrades = true;
		}
		const remote = {
			OPENCODE_OUTBOX_SERVER: this.#proxy?.url ?? `http://127.0.0.1:${this.#port}`,
			OPENCODE_OUTBOX_SERVER_KEY_FILE: this.#keyFile,
		};
		this.#env = {
			PATH: process.env.PATH ?? "",
			HOME: join(this.root, "home"),
			OPENCODE_OUTBOX_DATA_DIR: this.#dataDir,
			OPENCODE_OUTBOX_OPENCODE_DB: this.files.opencode,
			OPENCODE_OUTBOX_POLL: "20ms",
			...(this.shape === "embedded" ? { OPENCODE_OUTBOX_PORT: String(this.#port) } : remote),
		};
	}

	get agentLock(): string {
		return join(this.#dataDir, "agent.lock");
	}

	startAgent(runtime: string, ...flags: string[]): CliProcess {
		return this.#own(startCli(["run", "--json", ...flags], this.#env, runtime));
	}

	startServer(runtime: string): CliProcess {
		const args = ["serve", "--json", "--port", String(this.#port), "--server-key-file", this.#keyFile];
		return this.#own(startCli([...args, "--data-dir", this.#serverDir], this.#env, runtime));
	}

	startWriter(seed: number): CliProcess {
		return this.#own(startProcess("writer", [BUN, WRITER, this.files.opencode, String(seed)], this.#env));
	}

	cli(...args: string[]): Promise<CliResult> {
		return runCli(args, this.#env, BUN);
	}

	/** Everything ends at once, and its files go unless `keep`. */
	async close(keep = false): Promise<void> {
		await Promise.all([...this.#processes].map((process) => process.kill()));
		await this.#proxy?.close();
		if (!keep) discard(this.root);
	}

	#own(process: CliProcess): CliProcess {
		this.#processes.add(process);
		void process.ended.then(() => this.#processes.delete(process));
		return process;
	}
}
