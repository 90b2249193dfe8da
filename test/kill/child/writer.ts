import { setTimeout as delay } from "node:timers/promises";
import { say } from "../../outbox/child/say.ts";
import { OpencodeDatabase } from "../../source/opencode-database.ts";
import { Random } from "../random.ts";

/**
 * Writes sessions into the OpenCode database argv[2] without end, as OpenCode does: an event and what it projects in one
 * transaction. Goes on with what is there. argv[3] seeds its choices. Says `"open"`, then `begin` and `commit` around each
 * transaction, so that who kills it knows what was under way.
 */

/** Sessions that are there at once; with more of them each would have too little to do. */
const SESSIONS_MAX = 4;
/** Ops of one session: within the positions that the server's ledger remembers, so that all of them can be checked. */
const EVENTS_MAX = 3000;
/** Between two transactions, in ms; bursts have none. */
const PAUSE_MS = 40;
/** Transactions that last as on a slow disk, and for how long, in ms: a kill is to find some under way. */
const SLOW_SHARE = 0.2;
const SLOW_MS = 30;
const never = new Int32Array(new SharedArrayBuffer(4));

const [, , path = "", seed = "0"] = process.argv;
const random = new Random(Number(seed));
const database = await OpencodeDatabase.open(path);
const { sql } = database;
say('"open"');
for (let burst = 0; ; burst--) {
	say("begin");
	sql.transaction(() => {
		change();
		if (random.chance(SLOW_SHARE)) Atomics.wait(never, 0, 0, SLOW_MS);
	});
	say("commit");
	if (burst > 0) continue;
	await delay(random.below(PAUSE_MS));
	if (random.chance(0.05)) burst = random.below(40);
}

function change(): void {
	const all = sql
		.prepare<{ id: string; events: number }>(
			"SELECT id, seq + 1 AS events FROM session JOIN event_sequence ON aggregate_id = id",
		)
		.all();
	const open = all.filter(({ events }) => events < EVENTS_MAX);
	const chosen = random.pick(open);
	const isNew = chosen === undefined || (open.length < SESSIONS_MAX && random.chance(0.03));
	if (isNew) database.session(newId("ses"));
	else if (all.length > 2 && random.chance(0.005)) database.deleteSession(chosen.id);
	else changeSession(chosen.id);
}

function changeSession(sessionId: string): void {
	const messages = ids("SELECT id FROM message WHERE session_id = ? ORDER BY rowid", sessionId);
	const [latest, message] = [messages.at(-1), random.pick(messages)];
	const what = random.next();
	if (latest === undefined || message === undefined || what < 0.25) addMessage(sessionId);
	else if (what < 0.6) stream(sessionId, latest);
	else if (what < 0.7) database.message(sessionId, message, text());
	else if (what < 0.8) database.todo(sessionId, text(), Date.now());
	else if (what < 0.83) database.removeMessage(sessionId, message);
	else changePart(sessionId, message, what < 0.88);
}

function changePart(sessionId: string, message: string, isRemoved: boolean): void {
	const part = random.pick(ids("SELECT id FROM part WHERE message_id = ?", message));
	if (part !== undefined && isRemoved) database.removePart(sessionId, message, part);
	else database.part(sessionId, message, part ?? newId("prt"), text());
}

function addMessage(sessionId: string): void {
	const message = newId("msg");
	database.message(sessionId, message, text());
	for (let parts = random.below(3); parts >= 0; parts--) database.part(sessionId, message, newId("prt"), text());
}

/** One part that grows, as an answer does while it is written. */
function stream(sessionId: string, message: string): void {
	const part = ids("SELECT id FROM part WHERE message_id = ? ORDER BY rowid DESC LIMIT 1", message)[0];
	database.part(sessionId, message, part ?? newId("prt"), text());
}

function ids(query: string, of: string): string[] {
	return sql
		.prepare<{ id: string }>(query)
		.all(of)
		.map(({ id }) => id);
}

/** Never the same twice, and now and then as long as a pasted file. */
function text(): string {
	const length = random.chance(0.02) ? random.below(100_000) : random.below(400);
	return `${newId("txt")} ${"x".repeat(length)}`;
}

function newId(prefix: string): string {
	return `${prefix}_${Date.now().toString(36)}${process.pid.toString(36)}${random.below(2 ** 32).toString(36)}`;
}
