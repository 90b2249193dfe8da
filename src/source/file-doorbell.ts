import { watch, writeFileSync } from "node:fs";
import { messageOf } from "../model/errors.ts";
import { type Doorbell, type Ring, RingBox } from "./doorbell.ts";

/** Name of the doorbell's file in the data directory. The plugin touches it from inside OpenCode (plugin.ts). */
export const DOORBELL_FILE = "doorbell";

/** A file that rings when it is touched: for a TUI and `opencode run`, which open no port. */
export class FileDoorbell implements Doorbell {
	readonly #path: string;
	#connected = false;
	#problem: string | undefined;

	constructor(path: string) {
		this.#path = path;
	}

	get connected(): boolean {
		return this.#connected;
	}

	get problem(): string | undefined {
		return this.#problem;
	}

	/** Ends at once where files cannot be watched; the poll remains. */
	async *rings(signal: AbortSignal): AsyncGenerator<Ring, void, void> {
		const box = new RingBox();
		const close = () => box.close();
		signal.addEventListener("abort", close, { once: true });
		try {
			writeFileSync(this.#path, "", { mode: 0o600, flag: "a" });
			using watcher = disposable(watch(this.#path, { persistent: false }, () => box.add({ settled: false })));
			watcher.onError((error) => {
				this.#problem = messageOf(error);
				box.close();
			});
			this.#connected = true;
			yield* box.heard();
		} catch (error) {
			this.#problem = messageOf(error);
		} finally {
			this.#connected = false;
			signal.removeEventListener("abort", close);
		}
	}
}

function disposable(watcher: ReturnType<typeof watch>) {
	return {
		onError: (listener: (error: Error) => void) => void watcher.on("error", listener),
		[Symbol.dispose]: () => watcher.close(),
	};
}
