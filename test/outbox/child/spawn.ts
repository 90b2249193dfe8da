import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { bundled } from "../../fixture/script.ts";
import { after } from "../fixture.ts";

/** A real child process on the runtime that runs the tests; it speaks in lines, and is gone when the test ends. */
export class Child {
	readonly #process: ChildProcess;
	readonly #lines: string[] = [];
	#rest = "";
	#heard = Promise.withResolvers<void>();
	#stderr = "";
	#ended = false;
	readonly exited: Promise<void>;

	/** @param script beside this file, without `.ts`. */
	constructor(script: string, ...args: readonly (string | number)[]) {
		const path = bundled(fileURLToPath(new URL(`./${script}.ts`, import.meta.url)));
		this.#process = spawn(process.execPath, [path, ...args.map(String)], { stdio: ["pipe", "pipe", "pipe"] });
		this.exited = once(this.#process, "close").then(() => {
			this.#ended = true;
			this.#heard.resolve();
		});
		this.#process.stdout?.on("data", (data) => this.#hear(String(data)));
		this.#process.stderr?.on("data", (data) => {
			this.#stderr += String(data);
		});
		after(() => this.kill("SIGKILL"));
	}

	get pid(): number {
		return this.#process.pid ?? 0;
	}

	/** Lines said and not yet taken. */
	get said(): readonly string[] {
		return this.#lines;
	}

	/** Takes the next line, waiting for it. Rejects when the child ends without one. */
	async next(): Promise<string> {
		for (;;) {
			const line = this.#lines.shift();
			if (line !== undefined) return line;
			if (this.#ended) throw new Error(`the child ended without a word: ${this.#stderr}`);
			await this.#heard.promise;
		}
	}

	kill(signal: NodeJS.Signals): void {
		this.#process.kill(signal);
	}

	/** Kills it as `kill -9` does and waits until it is gone. */
	async murder(): Promise<void> {
		this.kill("SIGKILL");
		await this.exited;
	}

	#hear(text: string): void {
		const lines = (this.#rest + text).split("\n");
		this.#rest = lines.pop() ?? "";
		this.#lines.push(...lines);
		this.#heard.resolve();
		this.#heard = Promise.withResolvers<void>();
	}
}
