import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, watch, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { SHARE_DATABASE } from "../../src/server/share-database.ts";
import { openDatabase } from "../../src/sqlite/database.ts";
import { type Lab, messageDigests, openLab } from "../agent/lab.ts";
import { type Machine, machine } from "../cli/lab.ts";
import { after, rowsOf, tempFolder } from "../outbox/fixture.ts";

const SESSIONS = ["ses_1", "ses_2", "ses_3"];

interface Scene {
	readonly home: Machine;
	readonly lab: Lab;
	readonly database: string;
	readonly file: string;
	/** The messages of each session, as OpenCode has them. */
	say(sessionId: string): void;
	level(): Promise<void>;
}

/** A server whose file lies where the commands look for it, and an agent's flusher that sends to it. */
async function scene(): Promise<Scene> {
	const [home, lab] = [machine(), await openLab()];
	const database = join(home.dataDir, "server", "share.db");
	mkdirSync(dirname(database), { recursive: true });
	await lab.stopServer();
	await lab.startServer(database);
	const texts = new Map(SESSIONS.map((id) => [id, [] as string[]]));
	return {
		...{ home, lab, database, file: join(home.home, "backup.db") },
		say(sessionId) {
			const said = texts.get(sessionId) ?? [];
			said.push(`${said.length} ${"x".repeat(500)}`);
			lab.capture(sessionId, said.slice(-1));
		},
		async level() {
			await lab.drained();
			for (const [id, said] of texts) expect(await lab.digests(id)).toEqual(messageDigests(said));
		},
	};
}

test("a backup is made while ops are appended, and put back; the agent goes on, and every share ends equal", async () => {
	const { home, lab, database, file, say, level } = await scene();
	for (const id of SESSIONS) for (let n = 0; n < 200; n++) say(id);
	lab.start();
	await lab.drained();
	let isCopying = true;
	const copying = home.cli(["backup", file, "--json"]).finally(() => {
		isCopying = false;
	});
	let appended = 0;
	while (isCopying) {
		for (const id of SESSIONS) say(id);
		appended++;
		await lab.drained();
	}
	const { code, stdout, stderr } = await copying;
	expect([code, stderr]).toEqual([0, ""]);
	expect(JSON.parse(stdout)).toMatchObject({ file, shares: SESSIONS.length, bytes: statSync(file).size });
	expect(appended).toBeGreaterThan(1);
	expect(statSync(file).mode & 0o777).toBe(0o600);
	expect(readdirSync(home.home).filter((name) => name.startsWith("backup.db"))).toEqual(["backup.db"]);
	for (const id of SESSIONS) for (let n = 0; n < 20; n++) say(id);
	await level();

	const busy = await home.cli(["restore-server", file]);
	expect([busy.code, busy.stderr]).toEqual([75, expect.stringContaining("A share server")]);
	const epochs = () => rowsOf<{ epoch: number }>(database, "SELECT capability_epoch AS epoch FROM share");
	const before = (await epochs()).map(({ epoch }) => epoch);
	await lab.stopServer();
	const back = await home.cli(["restore-server", file, "--json"]);
	expect([back.code, back.stderr]).toEqual([0, ""]);
	const { former } = JSON.parse(back.stdout) as { former: string };
	const cursors = "SELECT sum(cursor) AS n FROM share";
	const [kept, put] = await Promise.all([former, database].map((path) => rowsOf<{ n: number }>(path, cursors)));
	expect(put?.[0]?.n).toBeLessThan(kept?.[0]?.n ?? 0);
	for (const { epoch } of await epochs()) expect(epoch).toBeGreaterThan(Math.max(...before, Date.now() - 60_000));
	await lab.startServer(database);
	for (const id of SESSIONS) say(id);
	await level();
});

test("a backup that is killed leaves no file of its name, and the next one removes what it left", async () => {
	const home = machine();
	const database = join(home.dataDir, "server", "share.db");
	const sqlite = await openDatabase(database, SHARE_DATABASE);
	after(() => sqlite.close());
	sqlite.transaction(() => {
		const insert = sqlite.prepare(
			"INSERT INTO entity (share_id, key, type, payload, bytes, position) VALUES ('s', ?, 'part', hex(randomblob(4000)), 8000, ?)",
		);
		for (let n = 0; n < 4000; n++) insert.run(`part/${n}`, n);
	});
	const folder = tempFolder();
	const file = join(folder, "backup.db");
	const seen = Promise.withResolvers<void>();
	const watcher = watch(folder, (_, name) => {
		if (name?.startsWith("backup.db.partial-") && statSync(join(folder, name), { throwIfNoEntry: false })?.size)
			seen.resolve();
	});
	after(() => watcher.close());
	const child = home.start(["backup", file]);
	await seen.promise;
	child.kill("SIGKILL");
	expect((await once(child, "exit"))[1]).toBe("SIGKILL");
	expect(existsSync(file)).toBe(false);
	expect(readdirSync(folder)[0]).toMatch(/^backup\.db\.partial-\d+$/);
	expect((await home.cli(["backup", file])).code).toBe(0);
	expect(readdirSync(folder)).toEqual(["backup.db"]);
});

test("what is there is not overwritten unawares, and what is no share database neither copied nor put back", async () => {
	const home = machine();
	const file = join(home.home, "backup.db");
	const nothing = await home.cli(["backup", file]);
	expect([nothing.code, nothing.stderr]).toEqual([66, expect.stringContaining("no share database")]);
	const database = join(home.dataDir, "server", "share.db");
	(await openDatabase(database, SHARE_DATABASE)).close();
	writeFileSync(file, "mine");
	const taken = await home.cli(["backup", file]);
	expect([taken.code, taken.stderr]).toEqual([77, expect.stringContaining("--force")]);
	expect(readFileSync(file, "utf8")).toBe("mine");
	const foreign = await home.cli(["restore-server", file]);
	expect([foreign.code, foreign.stderr]).toEqual([65, expect.stringContaining(file)]);
	expect((await home.cli(["backup", file, "--force"])).code).toBe(0);
	expect((await home.cli(["backup", database, "--force"])).code).toBe(77);
	const damaged = readFileSync(file);
	damaged.fill(0xff, 4096, 3 * 4096);
	writeFileSync(file, damaged);
	const before = readFileSync(database);
	const broken = await home.cli(["restore-server", file]);
	expect([broken.code, broken.stderr]).toEqual([65, expect.stringMatching(/damaged/)]);
	expect(readFileSync(database).equals(before)).toBe(true);
});
