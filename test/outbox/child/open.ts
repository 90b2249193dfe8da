import { openOutbox } from "../../../src/outbox/outbox.ts";
import { say } from "./say.ts";

/** Opens new outboxes argv[2]0.db, argv[2]1.db ... argv[3] times, saying each before it is opened. Then says `done`. */
const [, , prefix = "", times = "1"] = process.argv;
for (let n = 0; n < Number(times); n++) {
	say(String(n));
	(await openOutbox(`${prefix}${n}.db`)).close();
}
say("done");
