import { afterAll, describe, expect, test, vi } from "vitest";
import { eventually } from "../../fixture/cli.ts";
import { OpencodeDatabase } from "../../source/opencode-database.ts";
import { Lab, type Machine, peakOf } from "../lab.ts";
import { PATIENCE_MS, rowOf } from "./share.ts";

/** Everything at the size that was reported by people; CI takes a part of it. `npm run test:life` */
const LONG = process.env.LIFE === "long";
/** What an agent may take, in bytes: some 230 MB of it are Node, SQLite and the embedded server at rest. */
const RSS_MAX = 300_000_000;
const SESSIONS = LONG ? 3000 : 500;
/** Of one row, in bytes: three times what is ever loaded, at least. */
const ROW_BYTES = LONG ? 300_000_000 : 100_000_000;
/** Of one session without a log, in parts of a MB. */
const BULK_PARTS = LONG ? 300 : 40;
const UPDATES = 3000;

/** Longer than CI has time for: `npm run test:life`. */
const it = test.skipIf(process.env.LIFE === undefined);

vi.setConfig({ testTimeout: PATIENCE_MS, hookTimeout: PATIENCE_MS });

const lab = new Lab();
const inform = (facts: object) => process.stderr.write(`${JSON.stringify(facts)}\n`);

afterAll(() => lab.close());

/** A machine beside a handmade database. */
async function machineOn(name: string, server?: { url: string; keyFile: string }) {
	const opencode = await OpencodeDatabase.open(lab.path(`${name}.db`));
	const env = { OPENCODE_OUTBOX_OPENCODE_DB: opencode.path };
	return { opencode, machine: lab.machine(name, await lab.home(`${name}-home`), server, env) };
}

describe.skipIf(process.platform !== "linux")("what is large (the peak of a process is told by Linux alone)", () => {
	let machine: Machine;
	let opencode: OpencodeDatabase;

	it("rows of hundreds of MB are set aside with their size, unloaded; a session of as much is read in parts", async () => {
		const server = await lab.server();
		const proxy = await lab.proxy(server.port);
		({ opencode, machine } = await machineOn("large", { url: proxy.url, keyFile: server.keyFile }));
		const text = (bytes: number) => {
			const pieces = Array.from({ length: Math.ceil(bytes / 100_000_000) }, () => "printf('%.*c', 100000000, 'x')");
			return `'{"type":"text","role":"user","text":"' || ${pieces.join(" || ")} || '"}'`;
		};
		opencode.sql.exec("PRAGMA synchronous = OFF");
		opencode.session("ses_rows");
		for (const id of ["msg_1", "msg_2", "msg_3"]) opencode.message("ses_rows", id, "small");
		for (const id of ["prt_1", "prt_2"]) opencode.part("ses_rows", "msg_1", id, "small");
		opencode.sql.exec(`UPDATE message SET data = ${text(ROW_BYTES)} WHERE id = 'msg_2'`);
		opencode.sql.exec(`UPDATE part SET data = ${text(ROW_BYTES)} WHERE id = 'prt_2'`);
		opencode.sql.exec(`UPDATE event SET data = ${text(ROW_BYTES)} WHERE data LIKE '%"part":{"id":"prt_2"%'`);
		opencode.sql.exec(`UPDATE session SET metadata = ${text(ROW_BYTES)} WHERE id = 'ses_rows'`);
		opencode.session("ses_wiped", false);
		opencode.message("ses_wiped", "msg_4", "small", false);
		opencode.message("ses_wiped", "msg_5", "small", false);
		opencode.part("ses_wiped", "msg_4", "prt_3", "small", false);
		opencode.sql.exec(`UPDATE part SET data = ${text(ROW_BYTES)} WHERE id = 'prt_3'`);
		opencode.sql.exec(`UPDATE message SET data = ${text(ROW_BYTES)} WHERE id = 'msg_5'`);

		opencode.session("ses_bulk", false);
		opencode.message("ses_bulk", "msg_bulk", "", false);
		for (let n = 0; n < BULK_PARTS; n++)
			opencode.part("ses_bulk", "msg_bulk", `prt_bulk_${n}`, `${n} ${"y".repeat(1_000_000)}`, false);

		const agent = await machine.run();
		const at = performance.now();
		await rowOf(
			machine,
			`SELECT 1 WHERE (SELECT count(*) FROM entity WHERE session_id = 'ses_bulk') >= ${BULK_PARTS + 2}`,
		);
		const bulk_captured_ms = performance.now() - at;
		expect(await machine.flush("--timeout", "4m")).toMatchObject({ code: 65, drained: true, pending: 0, dead: 4 });
		const peak = peakOf(agent.facts.pid);
		inform({ row_bytes: ROW_BYTES, bulk_bytes: BULK_PARTS * 1_000_000, bulk_captured_ms, peak_rss: peak });

		const letters = await machine.rows<{ session_id: string; key: string; code: string; reason: string }>(
			"SELECT session_id, key, code, reason FROM dead ORDER BY session_id, key",
		);
		expect(letters.map(({ session_id, key, code }) => `${session_id} ${key} ${code}`)).toEqual([
			"ses_rows session too_large",
			expect.stringMatching(/^ses_rows unknown\/evt_\w+ too_large$/),
			"ses_wiped message/msg_5 too_large",
			"ses_wiped part/msg_4/prt_3 too_large",
		]);
		for (const { reason } of letters) expect(reason).toMatch(/ is \d{9} bytes; at most 33554432 are read$/);
		expect(peak).toBeLessThan(RSS_MAX);
		await agent.stop();
	});

	it("a tool that streams thousands of updates costs what it said last", async () => {
		opencode.session("ses_stream");
		opencode.message("ses_stream", "msg_s");
		const from =
			opencode.sql.prepare<{ bytes: number }>("SELECT sum(length(data)) AS bytes FROM event").get()?.bytes ?? 0;
		let said = "";
		opencode.sql.transaction(() => {
			for (let n = 0; n < UPDATES; n++) {
				said += `line ${n}\n`;
				opencode.part("ses_stream", "msg_s", "prt_s", said);
			}
		});
		const logged =
			(opencode.sql.prepare<{ bytes: number }>("SELECT sum(length(data)) AS bytes FROM event").get()?.bytes ?? 0) -
			from;
		expect((await machine.flush("--timeout", "4m")).drained).toBe(true);
		const [sent] = await machine.rows<{ ops: number; bytes: number }>(
			"SELECT count(*) AS ops, sum(bytes) AS bytes FROM op WHERE session_id = 'ses_stream'",
		);
		inform({ updates: UPDATES, bytes_logged: logged, ops_sent: sent?.ops, bytes_sent: sent?.bytes });
		expect(sent?.bytes).toBeLessThan(logged / 100);
		await machine.expectEqual("ses_stream");
	});
});

describe("a first start with thousands of sessions", () => {
	it("captures and sends the newest first, in little memory, while status answers", async () => {
		const { opencode, machine } = await machineOn("many");
		opencode.sql.transaction(() => {
			for (let n = 0; n < SESSIONS; n++) {
				const id = `ses_${String(n).padStart(4, "0")}`;
				opencode.session(id);
				opencode.message(id, `msg_${n}`, "a question");
				for (const part of ["a", "b", "c"]) opencode.part(id, `msg_${n}`, `prt_${n}${part}`, "an answer ".repeat(50));
				opencode.sql.prepare("UPDATE session SET time_updated = ? WHERE id = ?").run(n + 2, id);
			}
		});
		const startedAt = performance.now();
		const since = () => Math.round(performance.now() - startedAt);
		const agent = await machine.run();
		const ready_ms = since();
		const sent = "SELECT count(*) AS sent FROM session WHERE acked_cursor > 0";
		const acked = "SELECT last_acked_at AS at FROM session WHERE session_id = ? AND acked_cursor > 0";
		const newest = `ses_${String(SESSIONS - 1).padStart(4, "0")}`;
		await rowOf(machine, acked, newest);
		const newest_sent_ms = since();
		const [{ sent: before } = { sent: 0 }] = await machine.rows<{ sent: number }>(sent);
		const status = await machine.cli("status", "--json");
		const status_ms = Math.round(status.elapsedMs);
		await rowOf(machine, `SELECT 1 WHERE (SELECT count(*) FROM session) = ${SESSIONS}`);
		const captured_ms = since();
		await eventually("all to be sent", async () => (await machine.rows<{ sent: number }>(sent))[0]?.sent === SESSIONS, {
			withinMs: PATIENCE_MS,
		});
		const all_sent_ms = since();
		const peak_rss = process.platform === "linux" ? peakOf(agent.facts.pid) : null;
		inform({
			sessions: SESSIONS,
			ready_ms,
			newest_sent_ms,
			sent_before_it: before,
			status_ms,
			captured_ms,
			all_sent_ms,
			peak_rss,
		});
		// The last one in line is the one that was touched longest ago.
		const order = await machine.rows<{ session_id: string }>("SELECT session_id FROM share ORDER BY rowid LIMIT 100");
		const last100 = new Set(Array.from({ length: 100 }, (_, n) => `ses_${String(SESSIONS - 1 - n).padStart(4, "0")}`));
		expect(order.filter(({ session_id }) => !last100.has(session_id))).toEqual([]);
		if (peak_rss !== null) expect(peak_rss).toBeLessThan(RSS_MAX);
		expect((await machine.verify()).clean).toBe(true);
	});

	it("and tells no secret", () => lab.expectNothingTold());
});
