import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { onTestFinished } from "vitest";

/** Another process that has an OpenCode database open and writes into one session of it. */
export interface Writer {
	/** Commits a message with that text; or runs it, where it is SQL. */
	says(line: string): Promise<void>;
	/** Ends it as SIGKILL does: what is in the WAL stays there. */
	kill(): Promise<void>;
	/** Ends it in order. */
	close(): Promise<void>;
}

export async function startWriter(path: string, sessionId: string): Promise<Writer> {
	const script = fileURLToPath(new URL("child/writer.ts", import.meta.url));
	const child = spawn(process.execPath, [script, path, sessionId], { stdio: ["pipe", "pipe", "inherit"] });
	const gone = once(child, "exit");
	const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
	const answered = async () => {
		if ((await lines.next()).done === true) throw new Error("the writer has ended");
	};
	const kill = async () => {
		child.kill("SIGKILL");
		await gone;
	};
	onTestFinished(kill);
	await answered();
	return {
		async says(line) {
			child.stdin.write(`${line}\n`);
			await answered();
		},
		kill,
		async close() {
			child.stdin.end();
			await gone;
		},
	};
}
