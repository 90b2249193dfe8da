import { Queue, Worker } from "bunqueue/client";
import { op } from "./ops.ts";

// Runs on Bun: passes jobs through bunqueue and prints the seconds that it took (rivals.ts).

const [path = "", count = ""] = process.argv.slice(2);
const jobs = Array.from({ length: Number(count) }, (_, n) => op("ses_1", n).payload);
const queue = new Queue<{ payload: string }>("op", { embedded: true, dataPath: path });

const startedAt = performance.now();
for (const payload of jobs) await queue.add("op", { payload }, { durable: true, removeOnComplete: true });
let done = 0;
await new Promise<void>((resolve) => {
	const worker = new Worker<{ payload: string }>("op", async () => {}, { embedded: true, concurrency: 1 });
	worker.on("completed", () => {
		if (++done === jobs.length) resolve();
	});
});
console.log((performance.now() - startedAt) / 1000);
process.exit(0);
