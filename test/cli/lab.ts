import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { text } from "node:stream/consumers";
import { type Outbox, openOutbox } from "../../src/outbox/outbox.ts";
import { MAIN } from "../fixture/cli.ts";
import { after, tempFolder } from "../outbox/fixture.ts";

export interface Ended {
	readonly code: number | null;
	readonly stdout: string;
	readonly stderr: string;
}

/** A machine of its own: home, config and data below one folder, nothing of the environment but PATH. */
export interface Machine {
	readonly home: string;
	readonly dataDir: string;
	readonly configFile: string;
	readonly env: Record<string, string>;
	/** Runs a command to its end. */
	cli(args: readonly string[], env?: Record<string, string>): Promise<Ended>;
	/** Starts a command; it is killed with the test. */
	start(args: readonly string[], env?: Record<string, string>): ChildProcess;
	writeConfig(text: string): void;
	openOutbox(): Promise<Outbox>;
}

export function machine(): Machine {
	const home = tempFolder();
	const dataDir = join(home, "data", "opencode-outbox");
	const configFile = join(home, "config", "opencode-outbox", "config.json");
	const env = {
		...{ HOME: home, XDG_CONFIG_HOME: join(home, "config"), XDG_DATA_HOME: join(home, "data") },
		PATH: process.env.PATH ?? "",
	};
	const start = (args: readonly string[], more: Record<string, string> = {}) => {
		const child = spawn(process.execPath, [MAIN, ...args], { env: { ...env, ...more }, cwd: home });
		after(() => void child.kill("SIGKILL"));
		return child;
	};
	return {
		...{ home, dataDir, configFile, env, start },
		cli: (args, more) => ended(start(args, more)),
		writeConfig(config) {
			mkdirSync(dirname(configFile), { recursive: true });
			writeFileSync(configFile, config);
		},
		async openOutbox() {
			const outbox = await openOutbox(join(dataDir, "outbox.db"));
			after(() => outbox.close());
			return outbox;
		},
	};
}

export async function ended(child: ChildProcess): Promise<Ended> {
	const { stdout, stderr } = child;
	if (!stdout || !stderr) throw new Error("the child's output is not piped");
	const [out, err, [code]] = await Promise.all([text(stdout), text(stderr), once(child, "close")]);
	return { code: code as number | null, stdout: out, stderr: err };
}

/** The first line that a child writes to stdout. Rejects with its stderr when it ends before. */
export async function firstLine(child: ChildProcess): Promise<string> {
	let [out, err] = ["", ""];
	child.stderr?.on("data", (chunk) => {
		err += chunk;
	});
	return await new Promise((resolve, reject) => {
		child.once("exit", (code) => reject(new Error(`exit ${code}: ${err}`)));
		child.stdout?.on("data", (chunk) => {
			out += chunk;
			const end = out.indexOf("\n");
			if (end >= 0) resolve(out.slice(0, end));
		});
	});
}
