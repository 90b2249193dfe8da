import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { LIMITS } from "../src/protocol/limits.ts";
import { rowsOf } from "../test/e2e/lab.ts";
import { eventually, startCli } from "../test/fixture/cli.ts";
import { startProxy } from "../test/fixture/proxy.ts";
import { OpencodeDatabase } from "../test/source/opencode-database.ts";
import { fill } from "./backlog.ts";
import { type Bench, type Context, plain } from "./figure.ts";
import { PAYLOAD_BYTES } from "./ops.ts";
import { envIn, peakRssOf } from "./process.ts";

const PENDING = 100_000;
const SLOW_BYTES_PER_SECOND = 10_000;
const MONTH_MS = 30 * 24 * 3600 * 1000;
const RSS_MB = 150;
/** How long each agent is looked at. */
const LOOK_MS = 20_000;

/** What an agent has resident while its server does not keep up. */
export const slow: Bench = {
	name: "slow",
	about: `an agent with ${PENDING.toLocaleString("en-US")} pending ops of 1 KiB whose server is slow, stopped or gone; and one huge op`,
	async *run(context) {
		const pending = context.isQuick ? PENDING / 100 : PENDING;
		const largest = context.isQuick ? LIMITS.op_bytes / 100 : LIMITS.op_bytes - 1024;
		const all: readonly [name: string, Trouble, note?: string][] = [
			["nothing to send", {}],
			["server at 10 KB/s", { pending, bytesPerSecond: SLOW_BYTES_PER_SECOND }],
			["server stopped", { pending, stopped: true }],
			["server gone for a month", { pending, gone: true }, "the backlog was captured a month ago"],
			["one op of the largest size", { largest }, `${(largest / 2 ** 20).toFixed(1)} MiB of text, captured and sent`],
		];
		for (const [name, trouble, note] of context.isQuick ? all.slice(-2) : all)
			yield plain(`memory, ${name}`, "MB", [await memoryOf(context, trouble)], { atMost: RSS_MB }, note);
	},
};

interface Trouble {
	readonly pending?: number;
	readonly bytesPerSecond?: number;
	/** The server takes connections and answers nothing. */
	readonly stopped?: boolean;
	/** Nothing listens there. */
	readonly gone?: boolean;
	/** Bytes of a part that OpenCode has. */
	readonly largest?: number;
}

/** The most that an agent has resident in that trouble, in MB, its server being a process of its own. */
async function memoryOf(context: Context, trouble: Trouble): Promise<number> {
	const folder = mkdtempSync(join(context.folder, "slow-"));
	const [database, dataDir] = [join(folder, "opencode.db"), join(folder, "data")];
	const opencode = await OpencodeDatabase.create(database);
	if (trouble.largest !== undefined)
		opencode.sql.transaction(() => {
			opencode.session("ses_large");
			opencode.message("ses_large", "msg_1");
			opencode.part("ses_large", "msg_1", "prt_1", "x".repeat(trouble.largest ?? 0));
		});
	const capturedAt = Date.now() - (trouble.gone ? MONTH_MS : 0);
	if (trouble.pending !== undefined)
		await fill(join(dataDir, "outbox.db"), trouble.pending, 1, PAYLOAD_BYTES, capturedAt);

	const serve = ["serve", "--json", "--port", "0", "--data-dir", join(folder, "server")];
	const server = startCli(serve, envIn(folder));
	const { url, key_file } = await server.ready<{ url: string; key_file: string }>();
	const proxy = await startProxy({ targetPort: Number(new URL(url).port) });
	if (trouble.bytesPerSecond !== undefined) proxy.faults.bytesPerSecond = trouble.bytesPerSecond;
	proxy.faults.refuse = trouble.gone ?? false;
	const options = ["--opencode-db", database, "--data-dir", dataDir, "--server", proxy.url, "--compress", "on"];
	const agent = startCli(["run", "--json", ...options, "--server-key-file", key_file], envIn(folder));
	try {
		if (trouble.stopped) server.signal("SIGSTOP");
		await agent.ready();
		await delay(context.isQuick ? 500 : LOOK_MS);
		if (trouble.largest !== undefined)
			await eventually("the op to be there", () => isAllThere(join(dataDir, "outbox.db")), {
				withinMs: 60_000,
				also: agent.stderr,
			});
		return peakRssOf(agent.pid);
	} finally {
		await agent.kill();
		await server.kill();
		await proxy.close();
		opencode.sql.close();
	}
}

/** True when an outbox has ops, and its server has them all; their bytes tell nothing, compressed as they leave. */
async function isAllThere(outbox: string): Promise<boolean> {
	const pending = "SELECT 1 FROM op JOIN session USING (session_id) WHERE id > acked_id";
	return (await rowsOf(outbox, `SELECT 1 FROM op WHERE NOT EXISTS (${pending}) LIMIT 1`)).length > 0;
}
