import { mkdtempSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "vitest";
import type { Status } from "../../src/cli/status-facts.ts";
import type { SessionReport } from "../../src/outbox/report.ts";
import { openSqlite, type SqlValue } from "../../src/sqlite/driver.ts";
import { discard } from "../evidence/folder.ts";
import { secret } from "../evidence/record.ts";
import {
	type CliProcess,
	type CliResult,
	eventually,
	openToOthers,
	runCli,
	secretsIn,
	secretsTold,
	startCli,
} from "../fixture/cli.ts";
import { type ScriptedModel, startModel } from "../fixture/model.ts";
import {
	type Opencode,
	type OpencodeHome,
	type OpencodeOptions,
	prepareOpencode,
	startOpencode,
} from "../fixture/opencode.ts";
import { type FaultProxy, startProxy } from "../fixture/proxy.ts";

export interface RunFacts {
	readonly pid: number;
	readonly data_dir: string;
	readonly server_url: string;
	readonly opencode_db: string;
}
export interface FlushFacts {
	readonly drained: boolean;
	readonly elapsed_ms: number;
	readonly pending: number;
	readonly dead: number;
	readonly parked: readonly string[];
	readonly error: { readonly code: string; readonly message: string; readonly hint: string } | null;
}
export interface VerifyFacts {
	readonly clean: boolean;
	readonly sessions: readonly {
		readonly session_id: string;
		readonly clean: boolean;
		readonly compared: number;
		readonly missing: readonly string[];
		readonly different: readonly string[];
		readonly extra: readonly string[];
		readonly note: string | null;
	}[];
}
export interface ShareFacts {
	readonly session_id: string;
	readonly share_id: string;
	readonly slug: string;
	readonly url: string;
	readonly pending: number;
}

/** Everything that one test file starts: the real OpenCode with the scripted model, the built CLI, servers and proxies. */
export class Lab {
	readonly root = mkdtempSync(join(tmpdir(), "outbox-e2e-"));
	readonly #closing: (() => unknown)[] = [];
	readonly #dataDirs: string[] = [];
	readonly #secrets: string[] = [];
	#model: ScriptedModel | undefined;

	path(...names: string[]): string {
		return join(this.root, ...names);
	}

	async model(): Promise<ScriptedModel> {
		if (this.#model === undefined) {
			this.#model = await startModel();
			this.#closing.push(() => this.#model?.close());
		}
		return this.#model;
	}

	/** Starts OpenCode in its own folder below this lab; again with the same name, it goes on there. */
	async opencode(name = "opencode", options: Partial<OpencodeOptions> = {}): Promise<Opencode> {
		const opencode = await startOpencode({ root: this.path(name), model: await this.model(), ...options });
		this.#closing.push(() => opencode.kill());
		return opencode;
	}

	/** An OpenCode that is installed and was never started. */
	async home(name: string): Promise<OpencodeHome> {
		return prepareOpencode({ root: this.path(name), model: await this.model() });
	}

	/** A share server as a process of its own: `opencode-outbox serve`. Again with the same name, it goes on there. */
	async server(name = "server", port = 0, ...args: string[]): Promise<Server> {
		const dataDir = this.path(name);
		const env = (await this.home("of-the-server")).env;
		const process = startCli(["serve", "--json", "--port", String(port), "--data-dir", dataDir, ...args], env);
		this.#own(process, dataDir);
		const { url, key_file } = await process.ready<{ url: string; key_file: string }>();
		return { process, url, port: Number(new URL(url).port), keyFile: key_file, database: `${dataDir}/server/share.db` };
	}

	async proxy(targetPort: number): Promise<FaultProxy> {
		const proxy = await startProxy({ targetPort });
		this.#closing.push(() => proxy.close());
		return proxy;
	}

	/** A data folder beside an OpenCode; `server` is what it replays to, its own embedded server unless given. */
	machine(
		name: string,
		home: Pick<OpencodeHome, "env">,
		server?: { url: string; keyFile: string },
		settings: Record<string, string> = {},
	): Machine {
		const dataDir = this.path(name);
		const env = {
			...home.env,
			OPENCODE_OUTBOX_DATA_DIR: dataDir,
			OPENCODE_OUTBOX_PORT: "0",
			OPENCODE_OUTBOX_POLL: "50ms",
			...(server ? { OPENCODE_OUTBOX_SERVER: server.url, OPENCODE_OUTBOX_SERVER_KEY_FILE: server.keyFile } : {}),
			...settings,
		};
		this.#dataDirs.push(dataDir);
		const remember = async () => this.#secrets.push(...(await secretsIn(dataDir)));
		return new Machine(dataDir, env, (process) => this.#own(process, dataDir), remember);
	}

	/** To be called at a file's end: what no test of it may have left behind or told. */
	async expectNothingTold(): Promise<void> {
		const secrets = [...this.#secrets];
		for (const dataDir of this.#dataDirs) secrets.push(...(await secretsIn(dataDir)));
		expect(secrets.length).toBeGreaterThan(0);
		expect(secretsTold(secrets).length, "secrets in the output of the processes of this file").toBe(0);
		expect(this.#dataDirs.flatMap(openToOthers)).toEqual([]);
	}

	/** A secret that no output may hold, beside those in the data folders of the machines. */
	secret(told: string): void {
		secret("share secret", told);
		this.#secrets.push(told);
	}

	async close(): Promise<void> {
		for (const close of this.#closing.reverse()) await close();
		discard(this.root);
	}

	#own(process: CliProcess, dataDir: string): void {
		if (!this.#dataDirs.includes(dataDir)) this.#dataDirs.push(dataDir);
		this.#closing.push(() => process.kill());
	}
}

export interface Server {
	readonly process: CliProcess;
	readonly url: string;
	readonly port: number;
	readonly keyFile: string;
	readonly database: string;
}

/** The CLI with one data folder. */
export class Machine {
	readonly dataDir: string;
	readonly env: Record<string, string>;
	readonly #own: (process: CliProcess) => void;
	readonly #rememberSecrets: () => Promise<unknown>;

	constructor(
		dataDir: string,
		env: Record<string, string>,
		own: (process: CliProcess) => void,
		rememberSecrets: () => Promise<unknown>,
	) {
		this.dataDir = dataDir;
		this.env = env;
		this.#own = own;
		this.#rememberSecrets = rememberSecrets;
	}

	/** Starts a command that stays. */
	start(...args: string[]): CliProcess {
		const process = startCli(args, this.env);
		this.#own(process);
		return process;
	}

	/** Starts the agent and waits until it runs. */
	async run(...args: string[]): Promise<CliProcess & { facts: RunFacts }> {
		const process = this.start("run", "--json", ...args);
		return Object.assign(process, { facts: await process.ready<RunFacts>() });
	}

	/** Runs a command to its end. */
	cli(...args: string[]): Promise<CliResult> {
		return runCli(args, this.env);
	}

	async flush(...args: string[]): Promise<FlushFacts & { code: CliResult["code"] }> {
		const result = await this.cli("flush", "--json", ...args);
		return { ...result.json<FlushFacts>(), code: result.code };
	}

	async status(): Promise<Status> {
		return (await this.cli("status", "--json")).json<Status>();
	}

	async session(sessionId: string): Promise<SessionReport | undefined> {
		return (await this.status()).sessions.find((session) => session.session_id === sessionId);
	}

	async share(sessionId: string): Promise<ShareFacts> {
		const result = await this.cli("share", "--json", sessionId);
		expect(result.code, result.stdout + result.stderr).toBe(0);
		// Unsharing forgets them, and what was printed before stays printed.
		await this.#rememberSecrets();
		return result.json<ShareFacts>();
	}

	verify(...sessions: string[]): Promise<VerifyFacts> {
		return this.cli("verify", "--json", ...sessions).then((result) => result.json<VerifyFacts>());
	}

	/** Everything of these sessions is on the share, and equal to OpenCode. */
	async expectEqual(...sessions: string[]): Promise<VerifyFacts> {
		const verdict = await this.verify(...sessions);
		expect(verdict.sessions.filter(({ clean }) => !clean)).toEqual([]);
		expect(verdict.sessions.length).toBeGreaterThanOrEqual(Math.max(1, sessions.length));
		for (const { compared } of verdict.sessions) expect(compared).toBeGreaterThan(0);
		return verdict;
	}

	/** Rows of the outbox as they lie in its file. */
	rows<Row = Record<string, SqlValue>>(sql: string, ...values: SqlValue[]): Promise<Row[]> {
		return rowsOf<Row>(`${this.dataDir}/outbox.db`, sql, ...values);
	}

	/** Waits until a query of the outbox's file answers with something. */
	async until<Row>(what: string, sql: string, ...values: SqlValue[]): Promise<Row[]> {
		let rows: Row[] = [];
		await eventually(
			what,
			async () => {
				rows = await this.rows<Row>(sql, ...values).catch(noneYet);
				return rows.length > 0;
			},
			{ also: () => this.cli("status").then((result) => result.stdout) },
		);
		return rows;
	}

	/**
	 * Waits until everything that OpenCode has by now is captured and on the share server, as both files say, and there is
	 * something. A session's own time tells of what is in no event.
	 */
	async untilSent(): Promise<void> {
		const inOpencode = await rowsOf<{ id: string; seq: number | null; time: number }>(
			`${this.env.XDG_DATA_HOME}/opencode/opencode.db`,
			"SELECT id, seq, time_updated AS time FROM session LEFT JOIN event_sequence ON aggregate_id = id",
		);
		await this.until(
			"everything to be sent",
			`SELECT 1 FROM session WHERE acked_cursor > 0
				AND NOT EXISTS (SELECT 1 FROM op, session s WHERE op.session_id = s.session_id AND op.id > s.acked_id)
				AND NOT EXISTS (
					SELECT 1 FROM json_each(?) o LEFT JOIN session s ON s.session_id = o.value ->> 'id'
					WHERE s.session_id IS NULL OR s.updated_at < o.value ->> 'time' OR s.watermark_seq < o.value ->> 'seq')`,
			JSON.stringify(inOpencode),
		);
	}
}

export async function rowsOf<Row>(path: string, sql: string, ...values: SqlValue[]): Promise<Row[]> {
	const sqlite = await openSqlite(path, { readonly: true, mustExist: true });
	try {
		return sqlite.prepare<Row>(sql).all(...values);
	} finally {
		sqlite.close();
	}
}

/** No rows while there is no outbox, or none with tables. */
function noneYet(error: unknown): [] {
	if (/unable to open|no such table/.test(String(error))) return [];
	throw error;
}

export async function freePort(): Promise<number> {
	const server = createServer();
	await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
	const address = server.address();
	await new Promise((resolve) => server.close(resolve));
	if (address === null || typeof address === "string") throw new Error("no free port");
	return address.port;
}

/** The most memory that a process has held, in bytes; Linux alone tells. */
export function peakOf(pid: number): number {
	const [, kB] = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
	return Number(kB) * 1024;
}
