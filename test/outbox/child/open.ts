import { openDatabase } from "../../../src/sqlite/database.ts";
import { kindNamed } from "./kinds.ts";
import { say } from "./say.ts";

/**
 * Opens databases argv[2]0.db, argv[2]1.db ... argv[3] times, saying each before it is opened. Then says `done`.
 *
 * argv[4] names the kind, `outbox` unless given.
 */
const [, , prefix = "", times = "1", name = "outbox"] = process.argv;
for (let n = 0; n < Number(times); n++) {
	say(String(n));
	(await openDatabase(`${prefix}${n}.db`, kindNamed(name))).close();
}
say("done");
