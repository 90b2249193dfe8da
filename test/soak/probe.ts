import { appendFileSync } from "node:fs";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/**
 * Loaded into the agent by `--import`: tells once a minute what is still alive on its heap after a full collection. Without
 * one the resident set tells no leak from garbage, which V8 lets lie by its own rules while there is memory. One JSON object
 * per line in `HEAP_FILE`.
 */
const EVERY_MS = 60_000;

const file = process.env.HEAP_FILE;
if (file !== undefined && process.argv[2] === "run") {
	setFlagsFromString("--expose-gc");
	const collect = runInNewContext("gc") as () => void;
	const tell = () => {
		collect();
		const { heapUsed, external } = process.memoryUsage();
		appendFileSync(file, `${JSON.stringify({ at: Date.now(), value: heapUsed + external })}\n`);
	};
	setInterval(tell, EVERY_MS).unref();
}
