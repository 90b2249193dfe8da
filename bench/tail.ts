import { randomUUID } from "node:crypto";
import { join } from "node:path";
import Database from "better-sqlite3";
import { Capture } from "../src/agent/capture.ts";
import { systemClock } from "../src/model/clock.ts";
import { silent } from "../src/model/logger.ts";
import { openOutbox } from "../src/outbox/outbox.ts";
import { DatabaseSource } from "../src/source/database.ts";
import { findOpencodeDatabase } from "../src/source/discovery.ts";
import type { Choose } from "../src/source/source.ts";
import { OpencodeDatabase } from "../test/source/opencode-database.ts";
import type { Context } from "./figure.ts";
import { seconds } from "./measure.ts";

/** An OpenCode's database with a log of `events` parts of 1 KiB. */
export async function loggedDatabase({ folder }: Context, events: number): Promise<string> {
	const opencode = await OpencodeDatabase.open(join(folder, `opencode-${randomUUID()}.db`));
	opencode.sql.transaction(() => {
		opencode.session("ses_1");
		opencode.message("ses_1", "msg_1");
		for (let n = 0; n < events; n++) opencode.part("ses_1", "msg_1", `prt_${n}`, "x".repeat(800));
	});
	opencode.sql.close();
	return opencode.path;
}

const takeAll: Choose = (sessions) => new Set(sessions.map(({ session_id }) => session_id));

/** Events per second that the source turns into changes, a bounded read at a time. */
export async function tailed(path: string, events: number): Promise<number> {
	const source = await DatabaseSource.open(findOpencodeDatabase({}, path));
	let changes = 0;
	const took = await seconds(async () => {
		for await (const read of source.read(new Map(), takeAll, new AbortController().signal))
			if (read.kind === "log") changes += read.changes.length;
	});
	source.close();
	if (changes < events) throw new Error(`${changes} changes of ${events} events`);
	return events / took;
}

/** The same, and into an outbox. */
export async function captured({ folder }: Context, path: string, events: number): Promise<number> {
	const source = await DatabaseSource.open(findOpencodeDatabase({}, path));
	const outbox = await openOutbox(join(folder, `capture-${randomUUID()}.db`));
	const capture = new Capture({ outbox, mode: "auto", clock: systemClock, log: silent });
	const took = await seconds(() => capture.pass(source, new AbortController().signal));
	source.close();
	outbox.close();
	return events / took;
}

/** Rows per second of the log, read and thrown away. */
export async function rowsRead(path: string, events: number): Promise<number> {
	const db = new Database(path, { readonly: true });
	const rows = db.prepare("SELECT aggregate_id, seq, id, type, data FROM event WHERE aggregate_id = ? ORDER BY seq");
	const took = await seconds(() => {
		for (const row of rows.iterate("ses_1")) void row;
	});
	db.close();
	return events / took;
}
