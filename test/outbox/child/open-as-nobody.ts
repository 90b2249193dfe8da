import { OutboxError } from "../../../src/model/errors.ts";
import { openOutbox } from "../../../src/outbox/outbox.ts";
import { say } from "./say.ts";

/** Opens argv[2] without root's right to ignore modes, and says the code of what it throws. */
const NOBODY = 65534;
// Before the rights go: a module that is loaded later may lie where nobody else may read.
await openOutbox(process.argv[3] ?? "").then((outbox) => outbox.close());
if (process.getuid?.() === 0) {
	process.setgroups?.([]);
	process.setgid?.(NOBODY);
	process.setuid?.(NOBODY);
}
try {
	await openOutbox(process.argv[2] ?? "");
	say(`opened as ${process.getuid?.()}`);
} catch (error) {
	say(error instanceof OutboxError ? error.code : String(error));
}
