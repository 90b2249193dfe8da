import { createInterface } from "node:readline";
import { OpencodeDatabase } from "../../../source/opencode-database.ts";

/**
 * Has an OpenCode database open as another process has it, and writes as OpenCode does: `PATH SESSION`; each line on
 * stdin is SQL, or else the text of a message. Answers each with a line.
 */
const [, , path = "", session = ""] = process.argv;
const opencode = await OpencodeDatabase.open(path);
process.stdout.write("open\n");
for await (const line of createInterface({ input: process.stdin })) {
	if (/^(PRAGMA|BEGIN|COMMIT|UPDATE|DELETE)/.test(line)) opencode.sql.exec(line);
	else opencode.message(session, `msg_${process.pid}_${opencode.lastEvent ?? ""}`, line);
	process.stdout.write("done\n");
}
opencode.sql.close();
