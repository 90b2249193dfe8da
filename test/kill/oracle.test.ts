import { copyFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { tamper, tempFolder } from "../outbox/fixture.ts";
import { OpencodeDatabase } from "../source/opencode-database.ts";
import type { Files } from "./files.ts";
import { checkDrained } from "./oracle.ts";
import { World } from "./world.ts";

/** An oracle that finds nothing proves nothing: here it is shown what it must find. */

/** The ledger's op ids in the opposite order. */
const REVERSED = "UPDATE ledger SET position = (SELECT cursor FROM share) - 1 - position";
const SHARE = `owner, session_id, secret_hash, capability_epoch, cursor, last_batch_id, last_op_id, source_seq, source_event_id,
	created_at, deleted_at`;
const SECOND_SHARE = `INSERT INTO share (share_id, create_key_hash, slug, ${SHARE})
	SELECT 'shr_2', 'other', 'other', ${SHARE} FROM share`;
const DEAD_LETTER = `INSERT INTO dead (session_id, op_id, type, key, bytes, code, reason, buried_at)
	VALUES ('ses_1', 'x', 'message', 'message/x', 0, 'too_large', 'too large', 0)`;

let world: World;
beforeAll(async () => {
	world = await World.make("embedded");
	const opencode = await OpencodeDatabase.open(world.files.opencode);
	opencode.session("ses_1");
	for (let n = 0; n < 5; n++) {
		opencode.message("ses_1", `msg_${n}`, `message ${n}`);
		opencode.part("ses_1", `msg_${n}`, `prt_${n}`, `part ${n}`);
	}
	opencode.sql.close();
	expect(await world.cli("flush", "--json")).toMatchObject({ code: 0 });
});
afterAll(() => world?.close());

test("the oracle has nothing to say of what a flush has sent", async () => {
	expect(await checkDrained(world.files, new Map())).toMatchObject({ faults: [], sessions: 1, compared: 10 });
});

test.each<[what: string, file: keyof Files, sql: string, fault: RegExp]>([
	["a lost op", "shares", "DELETE FROM ledger WHERE position = 3", /gaps/],
	["another op as the last one", "shares", "UPDATE share SET last_op_id = 'evt_0'", /is not its last op/],
	["a cursor before what is acknowledged", "shares", "UPDATE share SET cursor = cursor - 1", /are acknowledged/],
	["a fenced share", "shares", "UPDATE share SET capability_epoch = 2", /fenced/],
	["a missing share", "shares", "DELETE FROM share", /does not have the share/],
	["an op out of order", "shares", REVERSED, /comes after a later one|appears after/],
	["another payload", "shares", "UPDATE entity SET payload = '{}' WHERE key = 'message/msg_2'", /digest|bytes|differ/],
	["a missing entity", "shares", "DELETE FROM entity WHERE key = 'part/msg_1/prt_1'", /missing on the share/],
	["an op from nowhere", "shares", "UPDATE ledger SET op_id = 'evt_0' WHERE position = 4", /is not in OpenCode's log/],
	["a watermark that claims less", "shares", "UPDATE share SET source_seq = 2", /covered up to 2/],
	["a watermark that claims more", "shares", "UPDATE share SET source_seq = 99", /covered up to 99, OpenCode is at 10/],
	["a share without a watermark", "shares", "UPDATE share SET source_seq = NULL", /covered up to null/],
	["a second share", "shares", SECOND_SHARE, /two shares/],
	["a change that was not captured", "opencode", "UPDATE message SET data = '{}' WHERE id = 'msg_4'", /differ/],
	["a dead letter", "outbox", DEAD_LETTER, /1 dead letters/],
])("the oracle sees %s", async (_, file, sql, fault) => {
	const folder = tempFolder();
	const files = { ...world.files, [file]: `${folder}/tampered.db` };
	copyFileSync(world.files[file], files[file]);
	for (const statement of sql.split(";")) await tamper(files[file], statement);
	expect((await checkDrained(files, new Map())).faults.join("\n")).toMatch(fault);
});

test("the oracle has nothing to say of an event that repeats another, which makes no op and moves no watermark", async () => {
	const world = await World.make("embedded");
	try {
		const opencode = await OpencodeDatabase.open(world.files.opencode);
		const flush = async () => expect(await world.cli("flush", "--json")).toMatchObject({ code: 0 });
		const faults = async () => (await checkDrained(world.files, new Map())).faults;
		opencode.session("ses_1");
		opencode.message("ses_1", "msg_0", "once");
		opencode.part("ses_1", "msg_0", "prt_0", "a part");
		await flush();
		opencode.message("ses_1", "msg_0", "once");
		await flush();
		expect(await faults()).toEqual([]);
		// The same event with something to say that nobody has captured.
		opencode.message("ses_1", "msg_0", "twice");
		opencode.sql.close();
		expect((await faults()).join("\n")).toMatch(/covered up to 2, and event 4 of OpenCode changes message\/msg_0/);
	} finally {
		await world.close();
	}
});

test("the oracle sees that an applied op has got another position since the last check", async () => {
	const ledgers = new Map<string, readonly string[]>();
	await checkDrained(world.files, ledgers);
	const [shareId = "", ops = []] = [...ledgers][0] ?? [];
	ledgers.set(shareId, [...ops].reverse());
	expect((await checkDrained(world.files, ledgers)).faults.join("\n")).toMatch(/another position than before/);
});
