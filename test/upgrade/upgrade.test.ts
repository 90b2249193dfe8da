import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { Flusher } from "../../src/agent/flusher.ts";
import { systemClock } from "../../src/model/clock.ts";
import { createKeysOf } from "../../src/model/identity.ts";
import { digestOf } from "../../src/model/json.ts";
import { OUTBOX_KIND } from "../../src/outbox/kind.ts";
import { openOutbox } from "../../src/outbox/outbox.ts";
import { openReport } from "../../src/outbox/report.ts";
import { SHARE_DATABASE, startShareServer } from "../../src/server/node.ts";
import { openDatabase } from "../../src/sqlite/database.ts";
import { lastMigration, newestMigration } from "../../src/sqlite/schema-version.ts";
import { capnwebTransport } from "../../src/transport/capnweb.ts";
import { firstLine, machine } from "../cli/lab.ts";
import { eventually } from "../fixture/cli.ts";
import { rowsOf, tamper, tempFolder } from "../outbox/fixture.ts";
import { recordingLogger } from "../server/host.ts";
import { makeAt, schemasOf } from "./released.ts";

/** What the frozen rows were made with. */
const SERVER_KEY = "server-key-of-the-tests-0123456789abcdef";
const IDENTITY = "identity-of-the-tests-0123456789abcdefghij";

const text = (id: string, text: string) => JSON.stringify({ id, text });

/** What OpenCode has of the session that was half-way. */
const TRUTH = {
	entities: [
		{ type: "message", key: "message/msg_h1", payload: text("msg_h1", "changed") },
		{ type: "message", key: "message/msg_h3", payload: text("msg_h3", "applied, reply lost") },
		{ type: "message", key: "message/msg_h4", payload: text("msg_h4", "sealed") },
		{ type: "part", key: "part/msg_h3/prt_3", payload: text("prt_3", "its part") },
	],
	unreadable: new Set<string>(),
	removed: ["message/msg_h2"],
	watermark: { seq: 7, event_id: "evt_ses_half_7" },
} as const;

const OUTBOXES = schemasOf(OUTBOX_KIND);
const SHARES = schemasOf(SHARE_DATABASE);
/** Every outbox with the newest server, every server with the newest outbox, and the two oldest together. */
const PAIRS = [
	...OUTBOXES.map((outbox) => [outbox, SHARES.at(-1)] as const),
	...SHARES.slice(0, -1).map((share) => [OUTBOXES.at(-1), share] as const),
	[OUTBOXES[0], SHARES[0]] as const,
];

describe("an outbox and a share server of every schema that there ever was", () => {
	for (const [outboxAt, shareAt] of PAIRS)
		test(`${outboxAt} drains into ${shareAt}: once, in order`, async () => {
			const folder = tempFolder();
			const [outboxPath, sharePath] = [join(folder, "outbox.db"), join(folder, "share.db")];
			await makeAt(outboxPath, OUTBOX_KIND, outboxAt ?? "");
			await makeAt(sharePath, SHARE_DATABASE, shareAt ?? "");
			const log = recordingLogger();
			const server = await startShareServer({
				...{ databasePath: sharePath, serverKeys: [SERVER_KEY], port: 0, logger: log, clock: systemClock },
			});
			onTestFinished(() => server.close(0));
			const outbox = await openOutbox(outboxPath);
			onTestFinished(() => outbox.close());
			expect(outbox.session("ses_half")).toMatchObject({ acked_cursor: 2, sealed_cursor: 5, pending: 5 });
			const reader = await openReport(outboxPath);
			expect(reader?.read(Date.now()).totals).toMatchObject({ pending: 6, sealed: 3, dead: 1 });
			reader?.close();

			const flusher = new Flusher({
				...{ outbox, mode: "auto", owner: "upgraded", clock: systemClock, random: () => 0.01, log },
				transport: capnwebTransport({ url: server.url, clock: systemClock }),
				server: { id: "server", key: () => SERVER_KEY },
				createKey: createKeysOf(IDENTITY),
				truth: async (id) => (id === "ses_half" ? TRUTH : undefined),
			});
			const stop = new AbortController();
			const done = flusher.run(stop.signal);
			await eventually("everything to be sent", () => flusher.idle(), { also: () => log.lines.slice(-5) });
			stop.abort();
			await done;

			const shares = await rowsOf(sharePath, "SELECT session_id, cursor FROM share ORDER BY session_id");
			expect(shares).toEqual([
				{ session_id: "ses_done", cursor: 3 },
				{ session_id: "ses_half", cursor: 7 },
				{ session_id: "ses_new", cursor: 1 },
			]);
			// A server that did not note the last batch yet cannot prove whose its cursor is: that share is compared, once.
			const isCompared = shareAt === SHARES[0];
			const applied = await rowsOf<{ op_id: string }>(
				sharePath,
				"SELECT op_id FROM ledger JOIN share USING (share_id) WHERE session_id = 'ses_half' ORDER BY position",
			);
			const ops = [4, 5, 6, 7, 8, 9, 10].map((n) => `evt_${String(n).padStart(4, "0")}`);
			if (isCompared) expect(applied.slice(0, 4).map(({ op_id }) => op_id)).toEqual(ops.slice(0, 4));
			else expect(applied.map(({ op_id }) => op_id)).toEqual(ops);
			const held = await rowsOf<{ key: string; digest: string | null }>(
				sharePath,
				"SELECT key, digest FROM entity JOIN share USING (share_id) WHERE session_id = 'ses_half' ORDER BY key",
			);
			expect(held).toEqual([
				{ key: "message/msg_h1", digest: digestOf(text("msg_h1", "changed")) },
				{ key: "message/msg_h2", digest: null },
				{ key: "message/msg_h3", digest: digestOf(text("msg_h3", "applied, reply lost")) },
				{ key: "message/msg_h4", digest: digestOf(text("msg_h4", "sealed")) },
				{ key: "part/msg_h3/prt_3", digest: digestOf(text("prt_3", "its part")) },
			]);
			expect(outbox.deadLetters()).toHaveLength(1);
			const trouble = log.lines.filter(({ level }) => level === "warn" || level === "error");
			expect(trouble.map(({ message }) => message)).toEqual(isCompared ? ["comparing the share with OpenCode"] : []);
			const [counted] = await rowsOf(sharePath, "SELECT bytes, shares FROM owner");
			const [summed] = await rowsOf(
				sharePath,
				"SELECT sum(bytes) AS bytes, count(DISTINCT share_id) AS shares FROM entity",
			);
			expect(counted).toEqual(summed);
			expect(await rowsOf(sharePath, "SELECT count(*) AS n FROM audit WHERE event = 'refused'")).toEqual([{ n: 0 }]);
		});
});

for (const kind of [OUTBOX_KIND, SHARE_DATABASE])
	test(`an upgraded ${kind.migrations} database has the tables of a new one`, async () => {
		const folder = tempFolder();
		const schemaOf = async (path: string) => {
			const sqlite = await openDatabase(path, kind);
			expect(lastMigration(sqlite)).toBe(newestMigration(kind.migrations));
			const columns =
				"SELECT m.name AS tbl, c.* FROM sqlite_schema m, pragma_table_info(m.name) c WHERE m.type = 'table'";
			const rows = sqlite.prepare<{ tbl: string; name: string }>(columns).all();
			const indexes = sqlite.prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'index' ORDER BY name").all();
			sqlite.close();
			return { indexes, columns: rows.map(({ tbl, name }) => `${tbl}.${name}`).sort() };
		};
		const fresh = await schemaOf(join(folder, "fresh.db"));
		for (const schema of schemasOf(kind)) {
			await makeAt(join(folder, `${schema}.db`), kind, schema);
			expect(await schemaOf(join(folder, `${schema}.db`))).toEqual(fresh);
		}
	});

test("commands that only look say that an older version has written it, and change nothing; the agent brings it up to date", async () => {
	const home = machine();
	mkdirSync(home.dataDir, { recursive: true, mode: 0o700 });
	const path = join(home.dataDir, "outbox.db");
	await makeAt(path, OUTBOX_KIND, OUTBOXES[0] ?? "");
	const before = readFileSync(path);
	for (const command of [["status"], ["status", "--watch"], ["uninstall"], ["sessions"]]) {
		const { code, stderr } = await home.cli(command);
		expect([code, stderr]).toEqual([
			75,
			expect.stringMatching(/^error: .* an older version .*\n {2}Start `opencode-outbox run`/),
		]);
	}
	const { code, stdout } = await home.cli(["doctor", "--quick"]);
	expect([code, stdout]).toEqual([0, expect.stringContaining("warn  outbox")]);
	expect(readFileSync(path).equals(before)).toBe(true);
	const agent = home.start(["run", "--port", "0", "--json"]);
	await firstLine(agent);
	const status = await home.cli(["status", "--json"]);
	expect(JSON.parse(status.stdout)).toMatchObject({ agent: { pid: agent.pid }, outbox: { dead: 1 } });
	expect(JSON.parse(status.stdout).sessions).toHaveLength(3);
}, 60_000);

test("a database of a newer version is refused by whatever would open it, and left as it is", async () => {
	const home = machine();
	(await home.openOutbox()).close();
	const path = join(home.dataDir, "outbox.db");
	await tamper(path, "INSERT INTO __drizzle_migrations (hash, created_at) VALUES ('x', 9e12)");
	const before = readFileSync(path);
	for (const command of [
		["status"],
		["run", "--port", "0"],
		["flush"],
		["dead", "list"],
		["dead", "export", "--all"],
	]) {
		const { code, stderr } = await home.cli(command);
		expect([command[0], code]).toEqual([command[0], 78]);
		expect(stderr).toMatch(/error: .* newer version of opencode-outbox\.\n {2}Upgrade opencode-outbox/);
	}
	expect(readFileSync(path).equals(before)).toBe(true);

	const shares = join(home.home, "serve");
	mkdirSync(join(shares, "server"), { recursive: true, mode: 0o700 });
	const share = join(shares, "server", "share.db");
	(await openDatabase(share, SHARE_DATABASE)).close();
	await tamper(share, "INSERT INTO __drizzle_migrations (hash, created_at) VALUES ('x', 9e12)");
	const { code, stderr } = await home.cli(["serve", "--port", "0", "--data-dir", shares]);
	expect([code, stderr]).toEqual([78, expect.stringContaining("newer version")]);
}, 60_000);
