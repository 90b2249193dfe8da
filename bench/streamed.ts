import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { laneAddress } from "../src/source/lane-address.ts";
import { eventually, startCli } from "../test/fixture/cli.ts";
import { startProxy } from "../test/fixture/proxy.ts";
import { OpencodeDatabase } from "../test/source/opencode-database.ts";
import type { Context } from "./figure.ts";
import { target } from "./wire.ts";

/** A tool's output grows to this many characters; OpenCode cuts it there. */
const OUTPUT_CHARS = 30_000;

/**
 * Bytes that a tool call costs whose output grows: what OpenCode logs of it (each update holds all of it so far), and what
 * leaves for the server, connecting included.
 *
 * @param way whether the agent comes when it is over, or is there and hears the plugin's rings.
 */
export async function streamed(
	context: Context,
	updates: number,
	way: "behind" | "live",
	pauseMs: number,
): Promise<{ sent: number; logged: number }> {
	const folder = join(context.folder, randomUUID());
	const dataDir = join(folder, "data");
	mkdirSync(folder, { recursive: true });
	const server = await target(context);
	const proxy = await startProxy({ targetPort: Number(new URL(server.url).port) });
	writeFileSync(join(folder, "key"), server.key, { mode: 0o600 });
	const opencode = await OpencodeDatabase.open(join(folder, "opencode.db"));
	opencode.sql.transaction(() => {
		opencode.session("ses_1");
		opencode.message("ses_1", "msg_1");
	});
	const args = ["--data-dir", dataDir, "--opencode-db", opencode.path, "--server", proxy.url];
	const env = { PATH: process.env.PATH ?? "", HOME: folder };
	const withKey = [...args, "--server-key-file", join(folder, "key"), "--compress", "on"];
	const agent = way === "live" ? startCli(["run", "--json", ...withKey], env) : undefined;
	await agent?.ready();
	if (agent) await eventually("the lane to be open", () => existsSync(laneAddress(dataDir)));
	const lane = agent && connect(laneAddress(dataDir));
	for (let n = 1; n <= updates; n++) {
		const output = "line of output\n".repeat((n * OUTPUT_CHARS) / updates / 15);
		opencode.sql.transaction(() => opencode.part("ses_1", "msg_1", "prt_1", output));
		lane?.write('{"ring":{"session_id":"ses_1"}}\n');
		if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs));
	}
	const flush = startCli(["flush", ...withKey], env);
	if ((await flush.ended) !== 0) throw new Error(`flush failed: ${flush.stderr()}`);
	await agent?.stop();
	lane?.destroy();
	const sum = "SELECT sum(octet_length(data)) AS bytes FROM event";
	const logged = opencode.sql.prepare<{ bytes: number }>(sum).get()?.bytes ?? 0;
	const sent = proxy.traffic.to_server;
	opencode.sql.close();
	await proxy.close();
	await server.stop();
	return { sent, logged };
}
