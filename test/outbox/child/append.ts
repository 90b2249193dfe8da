import { openOutbox } from "../../../src/outbox/outbox.ts";
import { capture, message } from "../items.ts";
import { say } from "./say.ts";

/**
 * Appends one op after the other to session argv[3] of the outbox argv[2], each once it has been read where the
 * watermark is, and says each position once it is in. Ends at position argv[4].
 */
const [, , path = "", session = "", last = "0"] = process.argv;
const outbox = await openOutbox(path);
say("open");
for (;;) {
	const from = outbox.session(session)?.watermark?.seq ?? null;
	const seq = (from ?? 0) + 1;
	if (seq > Number(last)) break;
	const id = `${process.pid}-${seq}`;
	const result = outbox.append(capture(from, seq, [message(`e${seq}`, `m${seq}`, id)], session), seq);
	if (result.outcome === "appended") say(String(seq));
}
outbox.close();
