import { isLocked } from "../../../src/sqlite/lock.ts";
import { say } from "./say.ts";

/** Probes the lock at argv[2] without a pause, until it is killed. */
for (let n = 1; ; n++) {
	await isLocked(process.argv[2] ?? "");
	if (n % 100 === 0) say(String(n));
}
