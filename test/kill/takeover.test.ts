import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openSqlite, type Sqlite } from "../../src/sqlite/driver.ts";
import type { RunFacts } from "../e2e/lab.ts";
import { BUN } from "../fixture/cli.ts";
import { OpencodeDatabase } from "../source/opencode-database.ts";
import { World } from "./world.ts";

/** `npm run test:kills` takes over as often as the figures of README were measured with, and so does `QUIET=1`. */
const TIMES = (process.env.KILLS ?? process.env.QUIET) === undefined ? 6 : 30;
const EMBEDDED_TIMES = 6;
/** On a machine with nothing else to do; elsewhere the time is told, and held only below what a lease or a retry would take. */
const MEDIAN_MS_MAX = process.env.QUIET ? 100 : 10_000;
/** Between a standby's word that it waits and the kill: twice a look of its, and a different moment of it each time. */
const SETTLE_MS = 100;

let world: World;
let opencode: OpencodeDatabase;
let shares: Sqlite;
beforeAll(async () => {
	world = await World.make("remote");
	opencode = await OpencodeDatabase.open(world.files.opencode);
	opencode.session("ses_1");
	await world.startServer(BUN).ready();
	shares = await openSqlite(world.files.shares, { readonly: true });
});
afterAll(async () => {
	opencode?.sql.close();
	shares?.close();
	await world?.close();
});

const TITLE = `a standby has sent what was written after SIGKILL of the owner within ${MEDIAN_MS_MAX} ms (median of ${TIMES})`;
test(TITLE, { timeout: 180_000 }, async () => {
	let owner = world.startAgent(process.execPath);
	await owner.ready();
	await applied("session");
	const tookMs: number[] = [];
	for (let n = 0; n < TIMES; n++) {
		const standby = world.startAgent(n % 5 === 0 ? process.execPath : BUN, "--standby");
		await standby.says("Standing by to take over.");
		await delay(SETTLE_MS * (1 + n / TIMES));
		const killedAt = performance.now();
		owner.signal("SIGKILL");
		opencode.message("ses_1", `msg_${n}`, "written after the kill");
		await applied(`message/msg_${n}`);
		tookMs.push(Math.round(performance.now() - killedAt));
		await owner.ended;
		owner = standby;
	}
	tookMs.sort((a, b) => a - b);
	const median = tookMs[TIMES / 2] ?? Number.NaN;
	console.log(
		`from SIGKILL to the standby's op at the server: median ${median} ms, max ${tookMs.at(-1)} ms (${tookMs.join(" ")})`,
	);
	expect(median).toBeLessThan(MEDIAN_MS_MAX);
});

/** Resolves when the server has an entity. */
async function applied(key: string): Promise<void> {
	const row = shares.prepare("SELECT 1 FROM entity WHERE key = ?");
	for (const end = performance.now() + 30_000; row.get(key) === undefined; await delay(1))
		if (performance.now() > end) throw new Error(`${key} did not arrive`);
}

// The kernel frees what a killed process had one after the other: its lock was seen free while its port was not yet.
test("a standby takes over the embedded server's port as well", { timeout: 180_000 }, async () => {
	const embedded = await World.make("embedded");
	try {
		let owner = embedded.startAgent(BUN);
		await owner.ready();
		const tookMs: number[] = [];
		for (let n = 0; n < EMBEDDED_TIMES; n++) {
			const standby = embedded.startAgent(BUN, "--standby");
			await standby.says("Standing by to take over.");
			await delay(SETTLE_MS * (n / EMBEDDED_TIMES));
			const killedAt = performance.now();
			owner.signal("SIGKILL");
			expect(await standby.ready<RunFacts>(), standby.stderr()).toMatchObject({ pid: standby.pid });
			tookMs.push(Math.round(performance.now() - killedAt));
			owner = standby;
		}
		console.log(`from SIGKILL to a standby's embedded server: ${tookMs.sort((a, b) => a - b).join(" ")} ms`);
	} finally {
		await embedded.close();
	}
});
