import { acquireLock } from "../../../src/sqlite/lock.ts";
import { say, stay } from "./say.ts";

/** Takes the lock at argv[2], says how it went, and keeps it. */
const result = await acquireLock(process.argv[2] ?? "");
say("release" in result ? "acquired" : `owned ${result.pid}`);
stay();
