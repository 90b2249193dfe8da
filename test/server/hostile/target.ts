import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { discard } from "../../evidence/folder.ts";
import { startCli } from "../../fixture/cli.ts";
import type { Report } from "./bystander.ts";

const MIB = 1024 * 1024;

/** The built `serve` as a process of its own, under attack. */
export interface Target {
	readonly url: string;
	readonly port: number;
	readonly key: string;
	readonly database: string;
	/** What the process holds now, and the most since `forgetPeak`, in MiB; undefined where there is no /proc. */
	memory(): { readonly now: number; readonly peak: number } | undefined;
	forgetPeak(): void;
	/** What it printed to stderr. */
	log(): string;
	isAlive(): Promise<boolean>;
	/** Starts a well-behaved client beside the attack. */
	bystander(): Promise<{ stop(): Promise<Report> }>;
	stop(): Promise<number | NodeJS.Signals>;
	/** Ends what was started for it, and removes its folder. */
	dispose(): Promise<void>;
}

export async function startTarget(): Promise<Target> {
	const home = mkdtempSync(join(tmpdir(), "outbox-hostile-"));
	const dataDir = join(home, "data");
	const env = { HOME: home, PATH: process.env.PATH ?? "" };
	const serve = startCli(["serve", "--json", "--port", "0", "--data-dir", dataDir], env);
	const children: ChildProcess[] = [];
	const { url, pid, key_file } = await serve.ready<{ url: string; pid: number; key_file: string }>();
	const key = readFileSync(key_file, "utf8").trim();
	return {
		...{ url, port: Number(new URL(url).port), key, database: join(dataDir, "server", "share.db") },
		memory() {
			if (!existsSync(`/proc/${pid}/status`)) return undefined;
			const status = readFileSync(`/proc/${pid}/status`, "utf8");
			const mib = (name: string) =>
				Math.round((Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1]) * 1024) / MIB);
			return { now: mib("VmRSS"), peak: mib("VmHWM") };
		},
		forgetPeak() {
			if (existsSync(`/proc/${pid}/clear_refs`)) writeFileSync(`/proc/${pid}/clear_refs`, "5");
		},
		log: () => serve.stderr(),
		isAlive: () => fetch(`${url}/health`).then(({ ok }) => ok),
		bystander: () => startBystander(url, key_file, children),
		stop: () => serve.stop(),
		async dispose() {
			for (const child of children) child.kill("SIGKILL");
			await serve.kill();
			discard(home);
		},
	};
}

async function startBystander(
	url: string,
	keyFile: string,
	children: ChildProcess[],
): Promise<{ stop(): Promise<Report> }> {
	const script = fileURLToPath(new URL("bystander.ts", import.meta.url));
	const child: ChildProcess = spawn(process.execPath, [script, url, keyFile], { stdio: ["pipe", "pipe", "inherit"] });
	children.push(child);
	if (!child.stdout) throw new Error("the bystander's output is not piped");
	const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
	const ready = await lines.next();
	if (ready.value !== "ready") throw new Error(`the bystander did not start: ${ready.value}`);
	return {
		async stop() {
			child.stdin?.end();
			const { value } = await lines.next();
			if (value === undefined) throw new Error("the bystander ended without a report");
			return JSON.parse(value) as Report;
		},
	};
}
