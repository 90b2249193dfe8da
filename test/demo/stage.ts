import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { discard } from "../evidence/folder.ts";
import { type CliProcess, type CliResult, runCli, startCli } from "../fixture/cli.ts";
import { type ScriptedModel, startModel } from "../fixture/model.ts";
import { type Opencode, startOpencode } from "../fixture/opencode.ts";
import { type OpencodeShareServer, startOpencodeShareServer } from "../fixture/opencode-share-server.ts";
import { type FaultProxy, startProxy } from "../fixture/proxy.ts";

/** What `serve --json` says. */
interface Serving {
	readonly url: string;
	readonly key_file: string;
}

/**
 * Everything that the demo runs, in a temporary folder:
 *
 *     scripted model <- OpenCode -> (its database) <- agent -> fault proxy -> share server
 *                           +----------------------------> fault proxy -> a share server of OpenCode's own kind
 *
 * OpenCode, the agent and the share server are processes of their own, so that they can be killed.
 */
export class Stage {
	readonly folder = mkdtempSync(join(tmpdir(), "opencode-outbox-demo-"));
	#model: ScriptedModel | undefined;
	#theirs: { readonly server: OpencodeShareServer; readonly proxy: FaultProxy } | undefined;
	#opencode: Opencode | undefined;
	#server: { readonly process: CliProcess; readonly facts: Serving } | undefined;
	#proxy: FaultProxy | undefined;
	#agent: CliProcess | undefined;

	get opencode(): Opencode {
		return there(this.#opencode);
	}

	/** Pause after each word of an answer, in ms. */
	set wordMs(ms: number) {
		there(this.#model).pauseMs = ms;
	}

	/** Between the agent and the share server. */
	get proxy(): FaultProxy {
		return there(this.#proxy);
	}

	get agent(): CliProcess {
		return there(this.#agent);
	}

	/** The share server itself, past the proxy. */
	get serverUrl(): string {
		return there(this.#server).facts.url;
	}

	/** Where the agent keeps its outbox. */
	get dataDir(): string {
		return join(there(this.opencode.env.XDG_DATA_HOME), "opencode-outbox");
	}

	/** What OpenCode's own share has sent where. */
	get theirs(): OpencodeShareServer {
		return there(this.#theirs).server;
	}

	/** OpenCode with its model, and the server that its own share sends to. */
	async startOpencode(): Promise<void> {
		this.#model = await startModel();
		const server = await startOpencodeShareServer();
		const proxy = await startProxy({ targetPort: Number(new URL(server.url).port) });
		this.#theirs = { server, proxy };
		this.#opencode = await startOpencode({
			root: join(this.folder, "laptop"),
			model: this.#model,
			config: { share: "manual", enterprise: { url: proxy.url } },
		});
	}

	/** The share server, behind the proxy. Again after a kill: on the same port and the same data. */
	async startServer(): Promise<void> {
		const port = this.#server === undefined ? "0" : new URL(this.serverUrl).port;
		const args = ["serve", "--json", "--port", port, "--data-dir", join(this.folder, "server")];
		const process = startCli(args, this.opencode.env);
		const facts = await process.ready<Serving>();
		this.#server = { process, facts };
		this.#proxy ??= await startProxy({ targetPort: Number(new URL(facts.url).port) });
		there(this.#theirs).proxy.faults.refuse = false;
	}

	/** SIGKILL; for OpenCode's own share the network is away at the same moment. */
	async killServer(): Promise<void> {
		const { proxy } = there(this.#theirs);
		proxy.faults.refuse = true;
		proxy.dropConnections();
		await there(this.#server).process.kill();
	}

	async startAgent(): Promise<void> {
		const { url, databasePath, env } = this.opencode;
		const opencode = ["--opencode-url", url, "--opencode-db", databasePath];
		const server = ["--server", this.proxy.url, "--server-key-file", there(this.#server).facts.key_file];
		this.#agent = startCli(["run", "--json", ...server, ...opencode], env);
		await this.#agent.ready();
	}

	/** Runs a command as a person beside the agent would: the settings are in the environment. */
	command(...args: string[]): Promise<CliResult> {
		return runCli(args, {
			...this.opencode.env,
			OPENCODE_OUTBOX_SERVER: this.proxy.url,
			OPENCODE_OUTBOX_SERVER_KEY_FILE: there(this.#server).facts.key_file,
		});
	}

	/** The last lines of what the processes logged, for a failure. */
	logs(): string {
		const tail = (name: string, text: string | undefined) =>
			text === undefined ? [] : [`--- ${name}:`, ...text.trimEnd().split("\n").slice(-12)];
		return [
			...tail("agent", this.#agent?.stderr()),
			...tail("share server", this.#server?.process.stderr()),
			...tail("OpenCode", this.#opencode?.output()),
		].join("\n");
	}

	/** Ends every process and removes the folder. Safe at any point, and to repeat. */
	async clear(): Promise<void> {
		await Promise.allSettled([
			this.#agent?.kill(),
			this.#server?.process.kill(),
			this.#opencode?.kill(),
			this.#proxy?.close(),
			this.#theirs?.proxy.close(),
			this.#theirs?.server.close(),
			this.#model?.close(),
		]);
		// A tool that OpenCode had started may still write for a moment.
		discard(this.folder);
	}
}

function there<T>(thing: T | undefined): T {
	if (thing === undefined) throw new Error("the stage is not set yet");
	return thing;
}
